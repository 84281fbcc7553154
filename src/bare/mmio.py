"""Device registers: every `read()` and `write()` is one access of the register's own width.

`Registers` describes where the registers of a device lie; `BitField` describes the bits of one.
A BitField value is immutable: read it, or make one by naming the bits that are set.
"""

import enum
import sys
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, dataclass_transform

from bare.allocation import Allocation
from bare.codec import ADDRESS, Codec, build, codec
from bare.descriptors import Composite, Descriptor, IntType, normalize, show
from bare.ints import u32
from bare.structs import _annotated_names
from bare.trap import trap

# Where `registers_at` goes under CPython: `read(address, size)` and `write(address, size, value)`.
bus: Any = None


class Bits(NamedTuple):
    """Where a field of a BitField lies; `type` is filled in by the class."""

    low: int
    width: int
    type: Descriptor = None


class RegisterField(NamedTuple):
    """Where a register lies and how it may be used: "read", "write" or "read-write"."""

    offset: int
    access: str
    type: Descriptor


class At(NamedTuple):
    """What `at(offset)` leaves in the class body."""

    offset: int


def at(offset: int) -> Any:
    """Place a register at `offset` bytes from the start of the device."""
    return At(offset)


def bits(low: int, width: int = 1) -> Any:
    """Place a field at bits `low` to `low + width - 1`."""
    return Bits(low, width)


def _annotations(cls: Any) -> dict[str, Descriptor]:
    names = vars(sys.modules[cls.__module__])
    return {name: normalize(kind, names) for name, kind in cls.__annotations__.items()}


@dataclass_transform(kw_only_default=True, frozen_default=True)
class BitField:
    """The value of a register, by name; `class X(BitField, storage=u16)` where it is not u32."""

    __slots__ = ("raw",)
    raw: int

    _bits_: ClassVar[dict[str, Bits]] = {}
    _storage_: ClassVar[Any] = u32

    def __init_subclass__(cls, storage: type[int] = u32) -> None:
        """Place the fields; `storage` is the register's width."""
        kind: Any = storage
        cls._storage_ = kind
        cls._bits_ = {}
        taken = 0
        for name, field_type in _annotations(cls).items():
            where = cls.__dict__[name]._replace(type=field_type)
            mask = ((1 << where.width) - 1) << where.low
            if mask & taken or where.low + where.width > kind.bits:
                raise TypeError(f"{cls.__name__}.{name} overlaps another field or the end")
            taken |= mask
            cls._bits_[name] = where
            setattr(cls, name, _bit_property(where))

    if not TYPE_CHECKING:

        def __init__(self, **fields: Any) -> None:
            raw = 0
            for name, value in fields.items():
                where = type(self)._bits_.get(name)
                if where is None:
                    raise TypeError(f"{type(self).__name__} has no field {name!r}")
                number = value.value if isinstance(value, enum.Enum) else int(value)
                if not 0 <= number < 1 << where.width:
                    trap(f"value {number} does not fit in {where.width} bits of {name}")
                raw |= number << where.low
            object.__setattr__(self, "raw", raw)

    @classmethod
    def from_raw(cls, value: int) -> Self:
        """Interpret a register value."""
        self = object.__new__(cls)
        object.__setattr__(self, "raw", cls._storage_(value))
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} values do not change")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.raw:#x})"


def _bit_property(where: Bits) -> property:
    low, mask, kind = where.low, (1 << where.width) - 1, where.type

    def get(self: Any) -> Any:
        value = (self.raw >> low) & mask
        if kind is bool:
            return value != 0
        if isinstance(kind, type):
            try:
                return kind(value)
            except ValueError:
                trap(f"{value} is not a member of {kind.__name__}")
        return value

    return property(get)


class RegisterType(Composite):
    """`ReadOnly[T]` and so on: parts are the element and the access."""

    __slots__ = ()

    @property
    def access(self) -> str:
        """One of "read", "write", "read-write"."""
        return str(self.parts[1])

    def map(self, change: Any) -> Self:
        """Change the element; the access stays."""
        return type(self)(change(self.parts[0]), self.parts[1])


class _Register:
    """One register of one device."""

    __slots__ = ("_device", "_kind", "_offset", "_size")

    def __init__(self, device: Any, offset: int, kind: Descriptor) -> None:
        self._device = device
        self._offset = offset
        self._kind = kind
        self._size = codec(kind).size

    def _read(self) -> Any:
        value = self._device.read(self._offset, self._size)
        if isinstance(self._kind, type) and issubclass(self._kind, BitField):
            return self._kind.from_raw(value)
        return self._kind(value)

    def _write(self, value: Any) -> None:
        storage = self._kind
        if isinstance(storage, type) and issubclass(storage, BitField):
            if not isinstance(value, storage):
                raise TypeError(f"expected {storage.__name__}, found {value!r}")
            value = value.raw
        elif isinstance(storage, IntType):
            value = storage(value)
        else:
            value = storage(value).value
        self._device.write(self._offset, self._size, int(value))


class ReadOnly[T](_Register):
    """A register the device sets."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __class_getitem__(cls, element: Any) -> RegisterType:
            return RegisterType(element, "read")

    def read(self) -> T:
        """Read once."""
        return self._read()  # type: ignore[no-any-return]


class WriteOnly[T](_Register):
    """A register that cannot be read back."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __class_getitem__(cls, element: Any) -> RegisterType:
            return RegisterType(element, "write")

    def write(self, value: T) -> None:
        """Write once."""
        self._write(value)


class ReadWrite[T](_Register):
    """A register both sides use."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __class_getitem__(cls, element: Any) -> RegisterType:
            return RegisterType(element, "read-write")

    def read(self) -> T:
        """Read once."""
        return self._read()  # type: ignore[no-any-return]

    def write(self, value: T) -> None:
        """Write once."""
        self._write(value)


_ACCESS: dict[str, Any] = {"read": ReadOnly, "write": WriteOnly, "read-write": ReadWrite}


class _RegistersMeta(type):
    """Turns `name: ReadWrite[T] = at(offset)` into register accessors."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        places = {key: namespace.pop(key) for key in _annotated_names(namespace)}
        namespace.setdefault("__slots__", ())
        cls: Any = super().__new__(mcs, name, bases, namespace)
        cls._fields_ = {}
        for key, kind in (_annotations(cls) if places else {}).items():
            if not isinstance(kind, RegisterType):
                raise TypeError(f"{name}.{key}: expected a register, found {show(kind)}")
            field = RegisterField(places[key].offset, kind.access, kind.element)
            cls._fields_[key] = field
            setattr(cls, key, _register_property(key, field))
        return cls


def _register_property(name: str, field: RegisterField) -> property:
    def get(self: Any) -> Any:
        found = self._registers_.get(name)
        if found is None:
            made = _ACCESS[field.access](self._device_, field.offset, field.type)
            found = self._registers_[name] = made
        return found

    return property(get)


class Registers(metaclass=_RegistersMeta):
    """The registers of a device, by name; a reference, also as a field of a Struct."""

    __slots__ = ("_address_", "_device_", "_registers_")

    @classmethod
    def over(cls, device: Any, address: int = 0) -> Self:
        """See a device model: `read(offset, size)` and `write(offset, size, value)`."""
        self: Any = object.__new__(cls)
        self._device_ = device
        self._address_ = address or id(device)
        self._registers_ = {}
        return self  # type: ignore[no-any-return]


@build.register
def _(descriptor: _RegistersMeta, _inline: bool) -> Codec:
    kind: Any = descriptor

    def read_registers(allocation: Allocation, offset: int) -> Any:
        (address,) = ADDRESS.unpack_from(allocation.buffer, offset)
        found = allocation.refs.get(offset)
        if found is not None and found._address_ == address:
            return found
        if address == 0:
            trap(f"{kind.__name__} was never set")
        from bare.unsafe import registers_at

        return registers_at(kind, address)

    def write_registers(allocation: Allocation, offset: int, value: Any) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"expected {kind.__name__}, found {value!r}")
        ADDRESS.pack_into(allocation.buffer, offset, value._address_)
        allocation.refs[offset] = value

    return Codec(8, 8, read_registers, write_registers)
