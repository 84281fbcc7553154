"""Questions about types: what widens to what, what a union holds, what LLVM calls it.

Types are the descriptors of `bare.descriptors`. Two more exist only while compiling: `INT`, the
type of a local that started as a literal (signed 64 bits, storable anywhere with a check), and
`MaskType`, the result of comparing vectors.
"""

import dataclasses
import enum
import typing
from dataclasses import dataclass
from typing import Any, TypeGuard

from bare.codec import Layout, codec
from bare.descriptors import (
    ArrayType,
    AtomicType,
    BigEndianType,
    Bytes,
    BytesType,
    Composite,
    FloatType,
    IntType,
    RefType,
    SliceType,
    TupleType,
    TypeOf,
    UnionType,
    enum_storage,
    normalize,
    substitute,
)
from bare.levels import VECTOR_SIZES
from bare.mmio import BitField, Registers
from bare.structs import Struct, Wire
from bare.vec import VecType

INT = IntType("int", 64, True)
BYTES = Bytes
NONE = type(None)
I64_MIN, I64_MAX, U64_MAX = -(2**63), 2**63 - 1, 2**64 - 1

# Level of a function that is not part of a multiversion group.
PLAIN = -1
VECTOR_BYTES = {PLAIN: 16, **dict(enumerate(VECTOR_SIZES))}


@dataclass(frozen=True)
class MaskType:
    """One bit a lane, made by comparing vectors of `lanes` elements."""

    lanes: int


class Address:
    """The type of an address that is no value of the language: where a slice starts."""

    name = "address"


ADDRESS = Address()


def is_int(t: Any) -> TypeGuard[IntType]:
    """A sized integer, or INT."""
    return isinstance(t, IntType)


def is_float(t: Any) -> TypeGuard[FloatType]:
    """f32 or f64 (f16 and bf16 are storage only)."""
    return isinstance(t, FloatType)


def is_enum(t: Any) -> bool:
    """An Enum, IntEnum or IntFlag class."""
    return isinstance(t, type) and issubclass(t, enum.Enum)


def is_int_enum(t: Any) -> bool:
    """An enum whose members are integers: IntEnum or IntFlag."""
    return isinstance(t, type) and issubclass(t, enum.Enum) and issubclass(t, int)


def is_struct(t: Any) -> bool:
    """A Struct or Wire class: values are addresses."""
    return isinstance(t, type) and issubclass(t, (Struct, Wire))


def is_wire(t: Any) -> bool:
    """A packed overlay."""
    return isinstance(t, type) and issubclass(t, Wire)


def is_registers(t: Any) -> bool:
    """A block of device registers: values are addresses, fields are volatile."""
    return isinstance(t, type) and issubclass(t, Registers)


def is_bitfield(t: Any) -> bool:
    """An immutable register value: an integer with named bits."""
    return isinstance(t, type) and issubclass(t, BitField)


def is_record(t: Any) -> bool:
    """A frozen dataclass, passed by value."""
    return isinstance(t, type) and dataclasses.is_dataclass(t) and not is_struct(t)


def is_bytes_like(t: Any) -> bool:
    """Bytes or Slice[u8]."""
    return isinstance(t, BytesType) or (
        isinstance(t, SliceType) and is_int(t.element) and t.element.name == "u8"
    )


def is_slice(t: Any) -> bool:
    """Pointer and length: Slice[T] or Bytes."""
    return isinstance(t, (SliceType, BytesType))


def element_of(t: Any) -> Any:
    """The element type of a slice, Bytes or Array."""
    if isinstance(t, BytesType):
        from bare.ints import u8

        return u8
    return t.element


def value_type(t: Any) -> Any:
    """The type of a value read from storage of type `t`: Ref[X] reads as X, be16 as u16."""
    if isinstance(t, RefType):
        return t.element
    if isinstance(t, BigEndianType):
        return t.base
    if is_float(t) and t.bits == 16:
        from bare.ints import f32

        return f32
    return t


def members(t: UnionType) -> tuple[Any, ...]:
    """Union members without None, in declaration order, as value types."""
    return tuple(value_type(m) for m in t.members if m is not NONE)


def has_none(t: Any) -> bool:
    """A union that may be None."""
    return isinstance(t, UnionType) and NONE in t.members


def union_kind(t: UnionType) -> str:
    """How a union is held: `nullable` address, `closed` address and tag, or `product`."""
    some = members(t)
    if all(is_struct(m) or is_registers(m) for m in some):
        return "nullable" if len(some) == 1 else "closed"
    return "product"


def possible(t: Any) -> tuple[Any, ...]:
    """What a value of type `t` can be, for narrowing; None last."""
    if isinstance(t, UnionType):
        return members(t) + ((NONE,) if has_none(t) else ())
    return (t,)


def storage_int(t: Any) -> IntType:
    """The integer a scalar is stored as (int, enum, bit field)."""
    if is_enum(t):
        return enum_storage(t)
    if is_bitfield(t):
        return t._storage_  # type: ignore[no-any-return]
    if isinstance(t, BigEndianType):
        return t.base
    assert is_int(t), t
    return t


def layout(t: Any) -> Layout:
    """Size and alignment of `t` as a field or element: structs inline."""
    found = codec(t, True)
    return Layout(found.size, found.align)


def interval(t: Any) -> tuple[int, int]:
    """The values a stored integer of type `t` can have."""
    if t is INT:
        return I64_MIN, I64_MAX
    if is_enum(t):
        if issubclass(t, enum.Flag):
            return 0, enum_storage(t).maximum
        values = [int(m.value) for m in t]
        return min(values), max(values)
    if is_bitfield(t):
        return 0, storage_int(t).maximum
    return t.minimum, t.maximum


def widens(source: IntType, target: IntType) -> bool:
    """Every value of `source` is one of `target`."""
    low, high = interval(source)
    to_low, to_high = interval(target)
    return to_low <= low and high <= to_high


def common_type(a: Any, b: Any) -> Any:
    """The type both operands widen to, or None. An IntEnum counts as its integer."""
    a = storage_int(a) if is_int_enum(a) or is_bitfield(a) else a
    b = storage_int(b) if is_int_enum(b) or is_bitfield(b) else b
    if a == b:
        return a
    if a is INT or b is INT:
        other = b if a is INT else a
        return other if other.maximum > I64_MAX else INT
    if widens(a, b):
        return b
    if widens(b, a):
        return a
    return None


def name_of(t: Any) -> str:
    """The type as a user wrote it."""
    if t is NONE or t is None:
        return "None"
    if isinstance(t, UnionType):
        return " | ".join(name_of(m) for m in t.members)
    if isinstance(t, TupleType):
        return "tuple[" + ", ".join(name_of(e) for e in t.parts) + "]"
    if isinstance(t, BytesType):
        return "Bytes"
    if isinstance(t, MaskType):
        return "Mask"
    if isinstance(t, RefType):
        return f"Ref[{name_of(value_type(t))}]"
    for cls, prefix in ((SliceType, "Slice"), (ArrayType, "Array"), (AtomicType, "Atomic")):
        if isinstance(t, cls):
            return f"{prefix}[{name_of(t.element)}]"
    if isinstance(t, VecType):
        return f"Vec[{name_of(t.element)}]"
    return getattr(t, "name", None) or getattr(t, "__name__", None) or repr(t)


def has_typevar(t: Any) -> bool:
    """The annotation mentions a type parameter."""
    if isinstance(t, typing.TypeVar):
        return True
    if isinstance(t, Composite):
        return any(has_typevar(part) for part in t.parts)
    return any(has_typevar(part) for part in getattr(t, "_arguments_", None) or ())


def unify(pattern: Any, actual: Any, mapping: dict[Any, Any]) -> None:
    """Bind the type parameters in `pattern` so that it equals `actual` (where it can)."""
    if isinstance(pattern, typing.TypeVar):
        mapping.setdefault(pattern, actual)
    elif isinstance(pattern, UnionType):
        for member in pattern.parts:
            for candidate in possible(actual):
                if has_typevar(member) and candidate not in (NONE, *pattern.parts):
                    unify(member, candidate, mapping)
    elif isinstance(pattern, Composite):
        if isinstance(actual, (Composite, BytesType)):
            parts = actual.parts if isinstance(actual, Composite) else (actual.element,)
            for p, a in zip(pattern.parts, parts, strict=False):
                unify(p, a, mapping)
    elif getattr(actual, "_origin_", None) is getattr(pattern, "_origin_", pattern):
        for p, a in zip(pattern._arguments_, actual._arguments_, strict=True):
            unify(p, a, mapping)


def record_fields(t: Any) -> list[tuple[str, Any]]:
    """Name and type of each field of a frozen dataclass, in order."""
    hints = getattr(t, "__annotations__", {})
    module = __import__("sys").modules[t.__module__].__dict__
    found = []
    for f in dataclasses.fields(t):
        annotation = hints.get(f.name, f.type)
        if isinstance(annotation, str):
            annotation = eval(annotation, module)
        found.append((f.name, value_type(normalize(annotation))))
    return found


__all__ = [
    "ArrayType",
    "AtomicType",
    "BigEndianType",
    "BytesType",
    "FloatType",
    "IntType",
    "RefType",
    "SliceType",
    "TupleType",
    "TypeOf",
    "UnionType",
    "VecType",
    "enum_storage",
    "layout",
    "normalize",
    "substitute",
]
