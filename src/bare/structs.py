"""Struct and Wire: classes whose instances are bytes with the layout compiled code uses.

A Struct instance is a reference: an allocation and an offset. Fields become properties of the
class that read and write those bytes, so one object can be handed to compiled code or to a device
model without marshalling. A field whose type is a Struct is inline; reading it gives a reference
to the part, the same object every time.

A class that names one defined later is laid out at its first use.
"""

import contextlib
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, dataclass_transform, get_origin

from bare.allocation import Allocation, copy_refs
from bare.codec import Codec, build, codec, reference
from bare.descriptors import (
    ArrayType,
    AtomicType,
    BigEndianType,
    Descriptor,
    IntType,
    is_struct,
    normalize,
    show,
    substitute,
)
from bare.trap import trap

if TYPE_CHECKING:
    from bare.memory import Bytes

NO_DEFAULT = object()
_LAID_OUT = frozenset(("_fields_", "_size_", "_align_", "_image_", "_writers_"))


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its type, place and default."""

    name: str
    type: Descriptor
    offset: int
    size: int
    default: Any
    has_default: bool


@dataclass(frozen=True, slots=True)
class ArrayLength:
    """What `array(n)` leaves in the class body."""

    count: int


def array(count: int, *, init: Literal[False] = False) -> Any:
    """Give an `Array` field its length."""
    return ArrayLength(count)


class StructMeta(type):
    """Turns annotated names into fields."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any
    ) -> Any:
        """Take the defaults out of the class body; keep instances free of a `__dict__`."""
        if "_origin_" not in namespace and any(getattr(base, "_names_", ()) for base in bases):
            raise TypeError(f"{name}: a Struct has no base but Struct; make the other a field")
        annotations = _annotated_names(namespace)
        defaults = {key: namespace.pop(key) for key in annotations if key in namespace}
        namespace.setdefault("__slots__", ())
        namespace["_defaults_"] = defaults
        namespace["_names_"] = annotations
        cls: Any = super().__new__(mcs, name, bases, namespace, **keywords)
        if cls._origin_ is None and not cls.__dict__.get("__type_params__", ()) and annotations:
            with contextlib.suppress(NameError):  # A quoted name that comes later:
                lay_out(cls)  # laid out at first use.
        return cls

    def __getattr__(cls, name: str) -> Any:
        """Lay the class out when its layout is first asked for."""
        if name in _LAID_OUT:
            lay_out(cls)
            return cls.__dict__[name]
        raise AttributeError(f"{cls.__name__} has no attribute {name!r}")


def _annotated_names(namespace: dict[str, Any]) -> list[str]:
    if sys.version_info >= (3, 14):
        import annotationlib

        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is None:
            return []
        found = annotationlib.call_annotate_function(annotate, annotationlib.Format.STRING)
        return list(found)
    return list(namespace.get("__annotations__", ()))


def _field_types(cls: Any) -> dict[str, Descriptor]:
    """Normalize the annotations of a class body (of the generic class, for `Ring[u32]`)."""
    source = cls._origin_ or cls
    parameters = source.__dict__.get("__type_params__", ())
    names = {**vars(sys.modules[source.__module__]), source.__name__: source}
    names.update({parameter.__name__: parameter for parameter in parameters})
    mapping = dict(zip(parameters, cls._arguments_, strict=True)) if cls._origin_ else {}
    result = {}
    for name, annotation in source.__annotations__.items():
        if get_origin(annotation) is ClassVar or name in _LAID_OUT or name.startswith("__"):
            continue
        kind = substitute(normalize(annotation, names), mapping)
        default = source._defaults_.get(name)
        if isinstance(default, ArrayLength):
            if not isinstance(kind, ArrayType):
                raise TypeError(f"{source.__name__}.{name}: only an Array has = array(n)")
            kind = ArrayType(kind.element, default.count)
        result[name] = kind
    return result


def lay_out(cls: Any) -> None:
    """Place the fields and install a property for each."""
    if cls.__dict__.get("_placing_"):
        raise TypeError(f"{cls.__name__} contains itself: use {cls.__name__} | None")
    cls._placing_ = True
    try:
        types = _field_types(cls)
        packed = cls._packed_
        offset, whole_align, fields = 0, 1, {}
        codecs: dict[str, Codec] = {}
        defaults = (cls._origin_ or cls)._defaults_
        for name, kind in types.items():
            found = codecs[name] = codec(kind, True)
            align = 1 if packed else found.align
            offset = -(-offset // align) * align
            whole_align = max(whole_align, align)
            default = defaults.get(name, NO_DEFAULT)
            has_default = default is not NO_DEFAULT and not isinstance(default, ArrayLength)
            fields[name] = Field(
                name, kind, offset, found.size, default if has_default else None, has_default
            )
            offset += found.size
    finally:
        cls._placing_ = False
    cls._fields_ = fields
    cls._writers_ = {name: (fields[name].offset, codecs[name].write) for name in fields}
    cls._align_ = whole_align
    cls._size_ = -(-offset // whole_align) * whole_align
    for field in fields.values():
        setattr(cls, field.name, _property(field, codecs[field.name]))
    cls._image_ = _image(cls, codecs)


def _image(cls: Any, codecs: dict[str, Codec]) -> Allocation | None:
    """Make what a new instance starts as; None where that is all zeros."""
    image = Allocation.new(cls._size_, cls._align_)
    for field in cls._fields_.values():
        inner = field.type
        count = 1
        if isinstance(inner, ArrayType):
            count, inner = inner.count, inner.element
        if field.has_default:
            codecs[field.name].write(image, field.offset, field.default)
        elif is_struct(inner) and inner._image_ is not None:
            for index in range(count):
                paste(inner, image, field.offset + index * inner._size_)
    return image if image.refs or any(image.buffer) else None


def paste(cls: Any, allocation: Allocation, offset: int) -> None:
    """Set storage to the defaults of `cls`, zero where there is none."""
    size = cls._size_
    image = cls._image_
    if image is None:
        allocation.buffer[offset : offset + size] = bytes(size)
    else:
        allocation.buffer[offset : offset + size] = image.buffer
        copy_refs(image, 0, allocation, offset, size)


def _property(field: Field, found: Codec) -> property:
    """Make the accessor of a field."""
    kind = field.type
    if found.format and (isinstance(kind, BigEndianType) or _is_plain(kind)):
        return _number_property(field, found)
    if is_struct(kind) or isinstance(kind, ArrayType | AtomicType):
        return _part_property(field, found)
    return _value_property(field, found)


def _is_plain(kind: Descriptor) -> bool:
    """Tell the integers whose range `struct` itself checks."""
    return isinstance(kind, IntType) and kind.mask.bit_length() == kind.bits


def _number_property(field: Field, found: Codec) -> property:
    """Skip every layer but `struct`: most fields are these."""
    offset = field.offset
    packer = struct.Struct(found.format)
    unpack, pack = packer.unpack_from, packer.pack_into

    def get(self: Any) -> Any:
        return unpack(self._view_, offset)[0]

    def set_(self: Any, value: Any) -> None:
        try:
            pack(self._view_, offset, value)
        except struct.error:
            trap(f"value {value!r} does not fit in {show(field.type)} {field.name}")
        except TypeError:
            _read_only(self)
            raise

    return property(get, set_)


def _part_property(field: Field, found: Codec) -> property:
    """Give a reference to inline storage, the same object each time; it cannot be assigned."""
    offset, read = field.offset, found.read

    def get(self: Any) -> Any:
        try:
            return self._parts_[offset]
        except KeyError:
            part = self._parts_[offset] = read(self._allocation_, self._offset_ + offset)
            return part

    return property(get)


def _value_property(field: Field, found: Codec) -> property:
    offset, read, write = field.offset, found.read, found.write

    def get(self: Any) -> Any:
        return read(self._allocation_, self._offset_ + offset)

    def set_(self: Any, value: Any) -> None:
        try:
            write(self._allocation_, self._offset_ + offset, value)
        except TypeError:
            _read_only(self)
            raise

    return property(get, set_)


def _read_only(instance: Any) -> None:
    if instance._view_.readonly:
        trap("these bytes are read-only")


@dataclass_transform(eq_default=False, field_specifiers=(array,))
class Struct(metaclass=StructMeta):
    """A record in memory, always used by reference. Assignment never copies."""

    __slots__ = ("__weakref__", "_allocation_", "_offset_", "_parts_", "_view_")

    if not TYPE_CHECKING:
        _is_struct_ = True
        _packed_ = False
        _origin_ = None
        _arguments_ = ()

        def __init__(self, *values: Any, **fields: Any) -> None:
            """Set fields in declaration order or by name; the rest take defaults, else zero."""
            cls = type(self)
            allocation = Allocation.new(cls._size_, cls._align_)
            self._allocation_ = allocation
            self._offset_ = 0
            self._view_ = allocation.buffer
            self._parts_ = {}
            image = cls._image_
            if image is not None:
                allocation.buffer[:] = image.buffer
                if image.refs:
                    allocation.refs.update(image.refs)
            if values:
                fields = _by_name(cls, values, fields)
            for name, value in fields.items():
                place = cls._writers_.get(name)
                if place is None:
                    raise TypeError(f"{cls.__name__} has no field {name!r}")
                offset, write = place
                write(allocation, offset, value)

        def __class_getitem__(cls, arguments: Any) -> Any:
            """Give the generic Struct with its parameters filled in; the same class each time."""
            if not isinstance(arguments, tuple):
                arguments = (arguments,)
            if len(arguments) != len(cls.__dict__.get("__type_params__", ())):
                raise TypeError(f"{cls.__name__} does not take {len(arguments)} parameters")
            arguments = tuple(normalize(argument) for argument in arguments)
            made = _specialised.get((cls, arguments))
            if made is None:
                name = f"{cls.__name__}[{', '.join(show(a) for a in arguments)}]"
                namespace = {
                    "_origin_": cls,
                    "_arguments_": arguments,
                    "__module__": cls.__module__,
                    "__doc__": cls.__doc__,
                }
                made = _specialised[cls, arguments] = StructMeta(name, (cls,), namespace)
            return made

    @classmethod
    def zeroed(cls, *values: Any, **fields: Any) -> Self:
        """Construct with any of the fields; the rest take defaults, else zero."""
        return cls(*values, **fields)

    @classmethod
    def _at_(cls, allocation: Allocation, offset: int) -> Self:
        self: Any = object.__new__(cls)
        self._allocation_ = allocation
        self._offset_ = offset
        self._view_ = allocation.buffer[offset : offset + self._size_]
        self._parts_ = {}
        return self  # type: ignore[no-any-return]

    @property
    def _address_(self) -> int:
        here: Any = self
        return here._allocation_.address + here._offset_  # type: ignore[no-any-return]

    def assign(self, source: Self) -> None:
        """Copy every byte of `source`."""
        here: Any = self
        there: Any = source
        if type(here) is not type(there):
            raise TypeError(f"expected {type(here).__name__}, found {there!r}")
        size = type(here)._size_
        copy_refs(there._allocation_, there._offset_, here._allocation_, here._offset_, size)
        here._view_[:] = bytes(there._view_)

    def __eq__(self, other: object) -> bool:
        """Structs are the same when they are the same storage."""
        return type(self) is type(other) and self._address_ == other._address_

    def __hash__(self) -> int:
        return hash((type(self), self._address_))

    def __repr__(self) -> str:
        cls: Any = type(self)
        parts = []
        for name in cls._fields_:
            try:
                value = getattr(self, name)
            except Exception as error:
                value = error
            # Pointers may go round in circles: name their targets only.
            pointer = isinstance(value, Struct) and not is_struct(cls._fields_[name].type)
            parts.append(f"{name}=<{type(value).__name__}>" if pointer else f"{name}={value!r}")
        return f"{cls.__name__}({', '.join(parts)})"


def _by_name(cls: Any, values: tuple[Any, ...], fields: dict[str, Any]) -> dict[str, Any]:
    if len(values) > len(cls._fields_):
        raise TypeError(f"{cls.__name__} has {len(cls._fields_)} fields")
    named = dict(zip(cls._fields_, values, strict=False))
    for name in named.keys() & fields.keys():
        raise TypeError(f"{cls.__name__}.{name} is given twice")
    return named | fields


_specialised: dict[tuple[Any, tuple[Any, ...]], Any] = {}


class Wire(Struct):
    """A packed record overlaid on bytes. Plain integers are little endian, be16 and so on big."""

    if not TYPE_CHECKING:
        _packed_ = True

    @classmethod
    def view(cls, data: "Bytes") -> Self | None:
        """Overlay the first bytes of `data`; None where it is too short."""
        from bare.memory import as_slice

        size: int = cls._size_
        if len(data) < size:
            return None
        source = as_slice(data)
        return cls._at_(source._allocation_, source._offset_)


@build.register
def _(descriptor: StructMeta, inline: bool) -> Codec:
    kind: Any = descriptor
    if not inline:
        return reference(kind, nullable=False)

    def read_part(allocation: Allocation, offset: int) -> Any:
        return kind._at_(allocation, offset)

    def write_part(allocation: Allocation, offset: int, value: Any) -> None:
        kind._at_(allocation, offset).assign(value)

    return Codec(kind._size_, kind._align_, read_part, write_part)
