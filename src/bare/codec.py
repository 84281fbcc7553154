"""How each type lies in memory, and how a Python value is read from and written to it.

A type has up to two layouts. As a *value* (argument, result, tuple or dataclass element) a Struct
is an 8-byte address. *Inline* (a field of a Struct, an element of a Slice or Array) it is its own
fields. For every other type the two are the same.

    bool                    1 byte
    enum                    smallest integer that holds every value
    Slice, Bytes            u64 address, u64 length
    X | None, Ref[X]        u64 address
    closed union            u64 address, u64 tag (0 None, i + 1 the i-th Struct)
    tuple, dataclass        C layout of the elements as values
    any other union         u8 tag (0 None, i + 1), then storage for each member in order

Classes that bring a layout of their own (Struct, Slice, Vec, ...) register it with `build`.
"""

import dataclasses
import enum
import functools
import struct
import sys
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, NamedTuple, cast

from bare.allocation import Allocation, locate
from bare.descriptors import (
    BigEndianType,
    BytesType,
    Descriptor,
    FloatType,
    IntType,
    RefType,
    TupleType,
    TypeOf,
    UnionType,
    enum_storage,
    is_closed_union,
    is_struct,
    normalize,
    show,
)
from bare.trap import trap


class Layout(NamedTuple):
    """Size and alignment in bytes."""

    size: int
    align: int


class Codec(NamedTuple):
    """A layout with its reader and writer; `format` is the `struct` code of a plain number."""

    size: int
    align: int
    read: Callable[[Allocation, int], Any]
    write: Callable[[Allocation, int, Any], None]
    format: str = ""


ADDRESS = struct.Struct("<Q")
PAIR = struct.Struct("<QQ")


@functools.singledispatch
def build(descriptor: Descriptor, _inline: bool) -> Codec:
    """Make the codec of a descriptor; dispatches on the descriptor's own class."""
    raise TypeError(f"{show(descriptor)} cannot be stored in memory")


_codecs: dict[tuple[Descriptor, bool], Codec] = {}


def codec(descriptor: Descriptor, inline: bool = False) -> Codec:
    """Return the (cached) codec of a normalized descriptor."""
    found = _codecs.get((descriptor, inline))
    if found is None:
        found = _codecs[descriptor, inline] = build(descriptor, inline)
    return found


def layout(descriptor: Descriptor, inline: bool = False) -> Layout:
    """Size and alignment of a value, or of a field or element where `inline`."""
    found = codec(descriptor, inline)
    return Layout(found.size, found.align)


def read(descriptor: Descriptor, allocation: Allocation, offset: int, inline: bool = False) -> Any:
    """Read a value."""
    return codec(descriptor, inline).read(allocation, offset)


def write(
    descriptor: Descriptor, allocation: Allocation, offset: int, value: Any, inline: bool = False
) -> None:
    """Write a value, with the checks of a store."""
    codec(descriptor, inline).write(allocation, offset, value)


def sequence_layout(parts: Iterable[Layout | Codec], start: int = 0) -> tuple[list[int], Layout]:
    """Give the offset of each part, C rules, after `start` bytes; and the whole."""
    offset, align, offsets = start, 1, []
    for part in parts:
        offset = -(-offset // part.align) * part.align
        offsets.append(offset)
        offset += part.size
        align = max(align, part.align)
    return offsets, Layout(-(-offset // align) * align, align)


def number(form: str, check: Callable[[Any], Any] | None = None, name: str = "") -> Codec:
    """Make a codec from a `struct` code; `check` sees a value before it is stored."""
    packer = struct.Struct(form)
    unpack, pack = packer.unpack_from, packer.pack_into

    def read_number(allocation: Allocation, offset: int) -> Any:
        return unpack(allocation.buffer, offset)[0]

    def write_number(allocation: Allocation, offset: int, value: Any) -> None:
        if check is not None:
            value = check(value)
        try:
            pack(allocation.buffer, offset, value)
        except struct.error:
            trap(f"value {value!r} does not fit in {name}")

    return Codec(packer.size, packer.size, read_number, write_number, form)


@build.register
def _(descriptor: IntType, _inline: bool) -> Codec:
    def check(value: Any) -> Any:
        if value > descriptor.maximum:
            trap(f"value {value!r} does not fit in {descriptor}")
        return value

    usize = descriptor.mask.bit_length() < descriptor.bits
    return number("<" + descriptor.format, check if usize else None, descriptor.name)


@build.register
def _(descriptor: BigEndianType, _inline: bool) -> Codec:
    return number(">" + descriptor.base.format, None, descriptor.name)


@build.register
def _(descriptor: FloatType, _inline: bool) -> Codec:
    if not descriptor.format:
        return _bf16()
    limit = {16: 65504.0, 32: 3.4028234663852886e38, 64: sys.float_info.max}[descriptor.bits]
    packer = struct.Struct("<" + descriptor.format)

    def pack(value: Any) -> Any:
        try:
            packer.pack(value)
        except OverflowError:
            return float("inf") if value > limit else float("-inf")
        return value

    return number("<" + descriptor.format, pack if descriptor.bits < 64 else None, descriptor.name)


def _bf16() -> Codec:
    from bare.ints import bitcast, f32, u32
    from bare.runtime import bf16_to_f32_bits, f32_to_bf16_bits

    def read_bf16(allocation: Allocation, offset: int) -> float:
        raw = int.from_bytes(allocation.buffer[offset : offset + 2], "little")
        return bitcast(f32, bf16_to_f32_bits(raw))

    def write_bf16(allocation: Allocation, offset: int, value: float) -> None:
        raw = f32_to_bf16_bits(bitcast(u32, float(value)))
        allocation.buffer[offset : offset + 2] = raw.to_bytes(2, "little")

    return Codec(2, 2, read_bf16, write_bf16)


@build.register
def _(descriptor: enum.EnumMeta, _inline: bool) -> Codec:
    kind: Any = descriptor
    storage = codec(enum_storage(kind))
    flags = issubclass(kind, enum.Flag)
    members = {member.value: member for member in kind.__members__.values()}

    def read_enum(allocation: Allocation, offset: int) -> Any:
        value = storage.read(allocation, offset)
        member = members.get(value)
        if member is None:
            if not flags:
                trap(f"{value} is not a member of {kind.__name__}")
            member = kind(value)
        return member

    def write_enum(allocation: Allocation, offset: int, value: Any) -> None:
        if not isinstance(value, kind):
            if not isinstance(value, int) or isinstance(value, enum.Enum):
                raise TypeError(f"expected {kind.__name__}, found {value!r}")
            value = kind(value)
        storage.write(allocation, offset, value.value)

    return Codec(storage.size, storage.align, read_enum, write_enum)


@build.register
def _(descriptor: type, inline: bool) -> Codec:
    if descriptor is bool:
        return number("<?", _check_bool, "bool")
    if descriptor is NoneType:
        return Codec(0, 1, lambda _allocation, _offset: None, lambda _allocation, _offset, _v: None)
    if hasattr(descriptor, "_bits_"):
        return _bit_field(descriptor)
    if dataclasses.is_dataclass(descriptor):
        fields = dataclass_fields(descriptor)
        names = [name for name, _ in fields]

        def split(value: Any) -> list[Any]:
            if not isinstance(value, descriptor):
                raise TypeError(f"expected {descriptor.__name__}, found {value!r}")
            return [getattr(value, name) for name in names]

        return _product([kind for _, kind in fields], lambda values: descriptor(*values), split)
    raise TypeError(f"{show(descriptor)} is not a type of the language")


def _bit_field(kind: Any) -> Codec:
    storage = codec(kind._storage_)

    def read_bits(allocation: Allocation, offset: int) -> Any:
        return kind.from_raw(storage.read(allocation, offset))

    def write_bits(allocation: Allocation, offset: int, value: Any) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"expected {kind.__name__}, found {value!r}")
        storage.write(allocation, offset, value.raw)

    return Codec(storage.size, storage.align, read_bits, write_bits)


def _check_bool(value: Any) -> bool:
    if value is not True and value is not False:
        raise TypeError(f"expected bool, found {value!r}")
    return value


def dataclass_fields(kind: Any) -> list[tuple[str, Descriptor]]:
    """Names and descriptors of a frozen dataclass's fields."""
    names = {**vars(sys.modules[kind.__module__]), kind.__name__: kind}
    return [(field.name, normalize(field.type, names)) for field in dataclasses.fields(kind)]


@build.register
def _(descriptor: TupleType, _inline: bool) -> Codec:
    def split(value: Any) -> list[Any]:
        if len(value) != len(descriptor.parts):
            raise TypeError(f"expected {descriptor}, found {value!r}")
        return list(value)

    return _product(descriptor.parts, tuple, split)


def _product(
    kinds: Iterable[Descriptor], join: Callable[[Any], Any], split: Callable[[Any], list[Any]]
) -> Codec:
    codecs = [codec(kind) for kind in kinds]
    offsets, whole = sequence_layout(codecs)
    parts = list(zip(codecs, offsets, strict=True))

    def read_parts(allocation: Allocation, offset: int) -> Any:
        return join([part.read(allocation, offset + at) for part, at in parts])

    def write_parts(allocation: Allocation, offset: int, value: Any) -> None:
        for (part, at), item in zip(parts, split(value), strict=True):
            part.write(allocation, offset + at, item)

    return Codec(whole.size, whole.align, read_parts, write_parts)


@build.register
def _(descriptor: TypeOf, _inline: bool) -> Codec:
    return Codec(0, 1, lambda _allocation, _offset: descriptor.element, lambda *_: None)


@build.register
def _(descriptor: RefType, _inline: bool) -> Codec:
    return reference(descriptor.element, nullable=False)


def reference(kind: Any, nullable: bool) -> Codec:
    """An address of a Struct (or another class with `_at_` and `_address_`)."""

    def read_reference(allocation: Allocation, offset: int) -> Any:
        (address,) = ADDRESS.unpack_from(allocation.buffer, offset)
        if address == 0:
            if not nullable:
                trap(f"reference to {show(kind)} was never set")
            return None
        found = allocation.refs.get(offset)
        if found is not None and found._address_ == address:
            return found
        return kind._at_(*locate(address, kind._size_))

    def write_reference(allocation: Allocation, offset: int, value: Any) -> None:
        if value is None and nullable:
            ADDRESS.pack_into(allocation.buffer, offset, 0)
            allocation.refs.pop(offset, None)
            return
        if not isinstance(value, kind):
            raise TypeError(f"expected {show(kind)}, found {value!r}")
        ADDRESS.pack_into(allocation.buffer, offset, value._address_)
        allocation.refs[offset] = value

    return Codec(8, 8, read_reference, write_reference)


@build.register
def _(descriptor: UnionType, _inline: bool) -> Codec:
    variants = descriptor.variants
    if len(variants) == 1 and is_struct(variants[0]):
        return reference(variants[0], nullable=True)
    if is_closed_union(descriptor):
        return _closed_union(descriptor)
    codecs = [codec(variant) for variant in variants]
    offsets, whole = sequence_layout(codecs, 1)

    def read_union(allocation: Allocation, offset: int) -> Any:
        tag = allocation.buffer[offset]
        if tag == 0:
            return None
        return codecs[tag - 1].read(allocation, offset + offsets[tag - 1])

    def write_union(allocation: Allocation, offset: int, value: Any) -> None:
        tag = choose(descriptor, value)
        allocation.buffer[offset] = tag
        if tag:
            codecs[tag - 1].write(allocation, offset + offsets[tag - 1], value)

    return Codec(whole.size, whole.align, read_union, write_union)


def _closed_union(descriptor: UnionType) -> Codec:
    references = [reference(variant, nullable=False) for variant in descriptor.variants]

    def read_closed(allocation: Allocation, offset: int) -> Any:
        tag = allocation.buffer[offset + 8]
        return references[tag - 1].read(allocation, offset) if tag else None

    def write_closed(allocation: Allocation, offset: int, value: Any) -> None:
        tag = choose(descriptor, value)
        if tag:
            references[tag - 1].write(allocation, offset, value)
        PAIR.pack_into(allocation.buffer, offset, value._address_ if tag else 0, tag)

    return Codec(16, 8, read_closed, write_closed)


def choose(descriptor: UnionType, value: Any) -> int:
    """Give the tag of the member that `value` belongs to."""
    if value is None and descriptor.optional:
        return 0
    for index, variant in enumerate(descriptor.variants):
        if matches(variant, value):
            return index + 1
    raise TypeError(f"expected {descriptor}, found {value!r}")


def matches(descriptor: Descriptor, value: Any) -> bool:
    """Tell whether a Python value is one of this type."""
    if isinstance(descriptor, IntType):
        return isinstance(value, int) and not isinstance(value, bool | enum.Enum)
    if isinstance(descriptor, TupleType):
        return isinstance(value, tuple)
    if isinstance(descriptor, RefType):
        return isinstance(value, descriptor.element)
    if isinstance(descriptor, type | BytesType | FloatType):
        return isinstance(value, cast(Any, descriptor))
    return getattr(value, "element", None) is getattr(descriptor, "element", value)
