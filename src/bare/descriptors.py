"""Type descriptors: what the names in annotations are at run time.

To a type checker `u8` is `int` and `Slice[u8]` a generic class. At run time both are objects of
this module, so that the compiler and the CPython meaning of the language read the widths and the
layout off the same annotation. Composite descriptors are interned: equal means identical.

`normalize` turns any annotation (unions, aliases, strings, generics) into one hashable form:

    bool, Enum, Struct and frozen dataclass classes    themselves
    numbers                                            IntType, FloatType, BigEndianType
    Slice[T], Array[T], Atomic[T], Ref[T], Bytes       SliceType, ArrayType, ...
    tuple[A, B], A | B | None, type[T]                 TupleType, UnionType, TypeOf
    None                                               NoneType
"""

import ctypes
import enum
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from types import UnionType as PythonUnion
from typing import Any, ClassVar, Self

type Descriptor = Any  # Classes are descriptors too, so there is no common base to name.


class Annotation:
    """Base of every descriptor object: takes part in `X | Y`."""

    __slots__ = ()

    def __or__(self, other: object) -> "UnionType":
        """Give `self | other`."""
        return UnionType(self, other)

    def __ror__(self, other: object) -> "UnionType":
        """Give `other | self`."""
        return UnionType(other, self)

    def __call__(self, *_: object) -> Any:
        """Refuse: only numbers convert. (`typing` wants annotations to be callable.)"""
        raise TypeError(f"{self} cannot be called")


class IntType(Annotation):
    """An integer width. `T(x)` converts with a check; floats are truncated."""

    __slots__ = ("bits", "format", "mask", "maximum", "minimum", "name", "signed", "size")

    def __init__(self, name: str, bits: int, signed: bool, value_bits: int = 0) -> None:
        """`value_bits` is below `bits` for usize, whose top bit is never set."""
        self.name = name
        self.bits = bits
        self.signed = signed
        self.size = bits // 8
        self.mask = (1 << (value_bits or bits)) - 1
        self.minimum = -(1 << (bits - 1)) if signed else 0
        self.maximum = self.mask >> 1 if signed else self.mask
        letter = {8: "b", 16: "h", 32: "i", 64: "q"}[bits]
        self.format = letter if signed else letter.upper()

    def __call__(self, *values: Any) -> int:
        """Convert, or trap where the value does not fit."""
        (value,) = values
        if isinstance(value, float):
            if not math.isfinite(value):
                _trap(f"value does not fit in {self.name}")
            value = int(value)
        elif isinstance(value, enum.Enum):
            value = value.value
        if not self.minimum <= value <= self.maximum:
            _trap(f"value does not fit in {self.name}")
        return value.__index__()  # type: ignore[no-any-return]

    def wrap(self, value: int) -> int:
        """Reduce modulo the width."""
        value &= self.mask
        return value - self.mask - 1 if value > self.maximum else value

    def __instancecheck__(self, value: object) -> bool:
        """Tell ints from the rest: widths are gone in CPython values."""
        return isinstance(value, int) and not isinstance(value, bool)

    def __repr__(self) -> str:
        return self.name


class FloatType(Annotation):
    """A floating-point width. `T(x)` rounds to it."""

    __slots__ = ("bits", "format", "name", "size")

    def __init__(self, name: str, bits: int, letter: str) -> None:
        """`letter` is the `struct` code, empty where there is none (bf16)."""
        self.name = name
        self.bits = bits
        self.size = bits // 8
        self.format = letter

    def __call__(self, *values: Any) -> float:
        """Round to this width (f16 and bf16 are storage, and are not converted to)."""
        (value,) = values
        return ctypes.c_float(value).value if self.bits == 32 else float(value)

    def __instancecheck__(self, value: object) -> bool:
        """Tell floats from the rest."""
        return isinstance(value, float)

    def __repr__(self) -> str:
        return self.name


class BigEndianType(Annotation):
    """An integer stored most significant byte first, in `Wire` only."""

    __slots__ = ("base", "name", "size")

    def __init__(self, name: str, base: IntType) -> None:
        """`base` is the type of the value read."""
        self.name = name
        self.base = base
        self.size = base.size

    def __repr__(self) -> str:
        return self.name


class Composite(Annotation):
    """A descriptor made of others; interned by its parts."""

    __slots__ = ("parts",)
    _interned: ClassVar[dict[tuple[Any, ...], Any]] = {}
    parts: tuple[Any, ...]

    def __new__(cls, *parts: Any) -> Self:
        """Return the one object for these parts."""
        key = (cls, *parts)
        found = Composite._interned.get(key)
        if found is None:
            found = object.__new__(cls)
            found.parts = parts
            Composite._interned[key] = found
        return found

    @property
    def element(self) -> Descriptor:
        """The first part: what a Slice, Array, Atomic, Ref or register holds."""
        return self.parts[0]

    def map(self, change: Callable[[Any], Any]) -> Self:
        """Rebuild with every part changed (numbers and names stay)."""
        return type(self)(*(p if isinstance(p, int) else change(p) for p in self.parts))

    def __repr__(self) -> str:
        name = type(self).__name__.removesuffix("Type")
        return f"{name}[{', '.join(show(part) for part in self.parts)}]"


class SliceType(Composite):
    """Pointer and length: {u64 address, u64 length}."""

    __slots__ = ()


class BytesType(Annotation):
    """Read-only bytes: a literal or any `Slice[u8]`; stored as a Slice."""

    __slots__ = ()
    element: ClassVar[IntType]  # u8; set below.

    def __instancecheck__(self, value: object) -> bool:
        """Accept literals and slices of u8."""
        return isinstance(value, bytes) or getattr(value, "element", None) is self.element

    def __repr__(self) -> str:
        return "Bytes"


class ArrayType(Composite):
    """Inline storage: parts are the element and the count (absent in a bare annotation)."""

    __slots__ = ()

    @property
    def count(self) -> int:
        """The number of elements, from `= array(n)`."""
        return int(self.parts[1])


class AtomicType(Composite):
    """One word shared with a core or a device."""

    __slots__ = ()


class RefType(Composite):
    """A pointer to a Struct, never null."""

    __slots__ = ()


class TupleType(Composite):
    """A tuple by value; parts are its elements."""

    __slots__ = ()


class TypeOf(Composite):
    """A `type[T]` parameter: known at compile time."""

    __slots__ = ()


class UnionType(Composite):
    """`A | B | None`; parts in the order written."""

    __slots__ = ()

    @property
    def members(self) -> tuple[Descriptor, ...]:
        """Everything in the union, None as `NoneType`."""
        return self.parts

    @property
    def variants(self) -> tuple[Descriptor, ...]:
        """The members that are not None: tag i + 1 stands for the i-th of these."""
        return tuple(part for part in self.parts if part is not NoneType)

    @property
    def optional(self) -> bool:
        """Whether None (tag 0) is a member."""
        return NoneType in self.parts

    def __repr__(self) -> str:
        return " | ".join(show(part) for part in self.parts)


Bytes = BytesType()


def _trap(reason: str) -> None:
    from bare.trap import trap

    trap(reason)


def show(descriptor: Descriptor) -> str:
    """Name a type as the programmer wrote it."""
    if descriptor is NoneType:
        return "None"
    return descriptor.__name__ if isinstance(descriptor, type) else repr(descriptor)


def normalize(annotation: Any, names: Mapping[str, Any] | None = None) -> Descriptor:
    """Give the descriptor an annotation stands for; `names` resolves quoted parts."""

    def again(part: Any) -> Descriptor:
        return normalize(part, names)

    if annotation is None:
        return NoneType
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        return again(eval(annotation, dict(names or {})))
    if isinstance(annotation, UnionType):
        return union(again(part) for part in annotation.parts)
    if isinstance(annotation, Composite):
        return annotation.map(again)
    if isinstance(annotation, typing.TypeAliasType):
        return again(annotation.__value__)
    if isinstance(annotation, PythonUnion):
        return union(again(part) for part in annotation.__args__)
    if typing.get_origin(annotation) is not None:
        return _normalize_generic(annotation, again)
    return annotation


def _normalize_generic(annotation: Any, again: Callable[[Any], Descriptor]) -> Descriptor:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Union:
        return union(again(part) for part in arguments)
    if origin is tuple:
        return TupleType(*(again(part) for part in arguments))
    if origin is type:
        return TypeOf(again(arguments[0]))
    if isinstance(origin, typing.TypeAliasType):
        mapping = dict(zip(origin.__type_params__, arguments, strict=True))
        return substitute(again(origin.__value__), {k: again(v) for k, v in mapping.items()})
    raise TypeError(f"{annotation} is not a type of the language")


def union(members: Iterable[Descriptor]) -> Descriptor:
    """Join descriptors, flattening and dropping repeats."""
    flat: dict[Descriptor, None] = {}
    for member in members:
        for part in member.parts if isinstance(member, UnionType) else (member,):
            flat[part] = None
    return next(iter(flat)) if len(flat) == 1 else UnionType(*flat)


def substitute(descriptor: Descriptor, mapping: Mapping[Any, Descriptor]) -> Descriptor:
    """Replace type parameters."""
    if isinstance(descriptor, typing.TypeVar):
        return mapping.get(descriptor, descriptor)
    if isinstance(descriptor, UnionType):
        return union(substitute(part, mapping) for part in descriptor.parts)
    if isinstance(descriptor, Composite):
        return descriptor.map(lambda part: substitute(part, mapping))
    arguments = getattr(descriptor, "_arguments_", None)
    if arguments:
        return descriptor._origin_[tuple(substitute(part, mapping) for part in arguments)]
    return descriptor


def is_struct(descriptor: Descriptor) -> bool:
    """Tell Struct and Wire classes from the rest."""
    return isinstance(descriptor, type) and hasattr(descriptor, "_is_struct_")


def is_closed_union(descriptor: Descriptor) -> bool:
    """Tell a union of two or more Structs, which is held as {address, tag}."""
    if not isinstance(descriptor, UnionType):
        return False
    variants = descriptor.variants
    return len(variants) > 1 and all(is_struct(variant) for variant in variants)


def enum_storage(kind: type[enum.Enum]) -> IntType:
    """Give the smallest integer type that holds every member of `kind`."""
    values = [member.value for member in kind.__members__.values()]
    if not all(isinstance(value, int) for value in values):
        raise TypeError(f"{kind.__name__}: enum values must be integers")
    low = min(values, default=0)
    high = max(values, default=0)
    if issubclass(kind, enum.Flag):
        for value in values:
            high |= value
    for bits in (8, 16, 32, 64):
        candidate = INTEGERS[f"{'i' if low < 0 else 'u'}{bits}"]
        if candidate.minimum <= low and high <= candidate.maximum:
            return candidate
    raise TypeError(f"{kind.__name__}: a value needs more than 64 bits")


INTEGERS = {
    f"{'i' if signed else 'u'}{bits}": IntType(f"{'i' if signed else 'u'}{bits}", bits, signed)
    for bits in (8, 16, 32, 64)
    for signed in (False, True)
}
INTEGERS["usize"] = IntType("usize", 64, signed=False, value_bits=63)
FLOATS = {
    "f16": FloatType("f16", 16, "e"),
    "bf16": FloatType("bf16", 16, ""),
    "f32": FloatType("f32", 32, "f"),
    "f64": FloatType("f64", 64, "d"),
}
BytesType.element = INTEGERS["u8"]
