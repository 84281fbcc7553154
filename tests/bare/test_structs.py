"""Structs, Wire overlays and unions in memory."""

import ctypes
from dataclasses import dataclass
from enum import Enum, IntFlag, auto
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare import (
    Array,
    Atomic,
    Bytes,
    Ref,
    Slice,
    Struct,
    Trap,
    Wire,
    array,
    be16,
    be32,
    f16,
    f32,
    i16,
    static,
    u8,
    u16,
    u32,
    u64,
    usize,
)
from bare.codec import layout
from bare.descriptors import normalize


class Inner(Struct):
    flag: bool
    word: u32 = 7


class Outer(Struct):
    first: u8
    inner: Inner
    wide: u64
    many: Array[Inner] = array(3)
    next: "Outer | None"
    text: Bytes = b"abc"
    half: f16
    size: usize
    small: i16


class Kind(Enum):
    ONE = auto()
    TWO = auto()


class Flags(IntFlag):
    LOW = 1
    HIGH = 0x100


@dataclass(frozen=True, slots=True)
class Line:
    name: Bytes
    length: u16


class Left(Struct):
    value: u32

    def double(self) -> u32:
        return self.value * 2


class Right(Struct):
    value: u64


type Side = Left | Right


class Holder(Struct):
    side: Side
    maybe: Side | None
    kind: Kind | None
    flags: Flags
    line: Line | Kind | None
    pair: tuple[u16, u64]
    owner: Ref[Left]
    word: Atomic[u32]
    number: u16 | None


class Ring[T](Struct):
    storage: Slice[T]
    count: usize = 0

    def push(self, item: T) -> None:
        self.storage[self.count] = item
        self.count += 1


class Header(Wire):
    kind: u8
    length: be16
    address: be32
    mac: Array[u8] = array(6)
    little: u32


def test_layout_is_that_of_c() -> None:
    fields = {name: (field.offset, field.size) for name, field in Outer._fields_.items()}
    assert fields == {
        "first": (0, 1),
        "inner": (4, 8),
        "wide": (16, 8),
        "many": (24, 24),
        "next": (48, 8),
        "text": (56, 16),
        "half": (72, 2),
        "size": (80, 8),
        "small": (88, 2),
    }
    assert (Outer._size_, Outer._align_) == (96, 8)
    assert layout(normalize(Outer)) == (8, 8)
    assert layout(normalize(Outer), inline=True) == (96, 8)
    assert layout(normalize(Kind | u32 | None)) == (8, 4)
    assert layout(normalize(Side)) == (16, 8)
    assert layout(normalize(Line)) == (24, 8)


def test_missing_fields_are_default_or_zero() -> None:
    outer = Outer.zeroed(first=3)
    assert outer.first == 3
    assert outer.inner.word == 7
    assert [item.word for item in outer.many] == [7, 7, 7]
    assert outer.text == b"abc"
    assert outer.next is None
    assert outer.wide == 0


def test_fields_lie_where_the_layout_says() -> None:
    outer = Outer.zeroed(wide=0x1122334455667788, small=-2)
    raw = ctypes.string_at(outer._address_, Outer._size_)
    assert raw[16:24] == bytes.fromhex("8877665544332211")
    assert raw[88:90] == b"\xfe\xff"
    outer.inner.flag = True
    assert ctypes.string_at(outer._address_ + 4, 1) == b"\x01"


@pytest.mark.parametrize(
    ("field", "value"), [("first", 256), ("first", -1), ("size", 2**63), ("small", 40000)]
)
def test_a_value_that_does_not_fit_traps(field: str, value: int) -> None:
    with pytest.raises(Trap, match="does not fit"):
        setattr(Outer.zeroed(), field, value)


def test_misspelt_names_are_refused() -> None:
    with pytest.raises(TypeError, match="no field 'frist'"):
        Outer.zeroed(frist=1)
    with pytest.raises(AttributeError):
        Outer.zeroed().frist = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="twice"):
        Left.zeroed(1, value=2)


def test_structs_do_not_inherit_fields() -> None:
    with pytest.raises(TypeError, match="make the other a field"):

        class _More(Left):
            extra: u8


def test_references_keep_identity() -> None:
    first, second = Outer.zeroed(), Outer.zeroed()
    second.next = first
    assert second.next is first
    assert second.inner is second.inner
    assert first.inner != second.inner
    assert second == Outer._at_(second._allocation_, 0)  # type: ignore[attr-defined]


def test_assign_copies_and_keeps_pointers_alive() -> None:
    target = Outer.zeroed()
    target.assign(Outer.zeroed(first=9, next=Outer.zeroed(first=4), text=b"kept"))
    assert target.first == 9
    assert target.next is not None
    assert target.next.first == 4
    assert target.text == b"kept"


def test_pointers_are_found_by_address() -> None:
    """What compiled code stores is an address with no Python object beside it."""
    outer, other = Outer.zeroed(), Outer.zeroed(first=5)
    address = Outer._fields_["next"].offset + outer._address_
    ctypes.memmove(address, other._address_.to_bytes(8, "little"), 8)
    assert outer.next == other


def test_unions() -> None:
    left, right = Left(21), Right(2)
    holder = Holder.zeroed(side=left, owner=left)
    assert holder.side is left
    assert holder.owner.double() == 42
    holder.side = right
    assert holder.side is right
    assert holder.maybe is None
    holder.maybe = left
    assert holder.maybe is left
    assert holder.line is None
    holder.line = Kind.TWO
    assert holder.line is Kind.TWO
    holder.line = Line(b"GET", 3)
    line: Any = holder.line
    assert (line.name == b"GET", line.length) == (True, 3)
    assert holder.number is None
    holder.number = 0
    assert holder.number == 0
    holder.pair = (1, 2**40)
    assert holder.pair == (1, 2**40)
    with pytest.raises(TypeError, match=r"Left \| Right"):
        holder.side = Outer.zeroed()  # type: ignore[assignment]


def test_enums() -> None:
    holder = Holder.zeroed(flags=Flags.HIGH | Flags.LOW)
    assert holder.flags is Flags.HIGH | Flags.LOW
    assert Holder._fields_["flags"].size == 2
    assert holder.kind is None
    holder.kind = Kind.ONE
    assert holder.kind is Kind.ONE


def test_an_unset_reference_traps() -> None:
    with pytest.raises(Trap, match="never set"):
        _ = Holder.zeroed().owner


def test_atomics_wrap() -> None:
    word = Holder.zeroed(word=1).word
    assert word.fetch_sub(2) == 1
    assert word.load() == 2**32 - 1
    assert word.fetch_add(1) == 2**32 - 1
    assert word.exchange(6) == 0
    assert not word.compare_exchange(5, 1)
    assert word.compare_exchange(6, 0b1100)
    assert word.fetch_or(0b1) == 0b1100
    assert word.fetch_and(0b101) == 0b1101
    assert word.load() == 0b101
    with pytest.raises(Trap):
        word.store(2**32)


def test_generic_structs_are_one_class_for_each_argument() -> None:
    ring = Ring[f32](static(f32, 2))
    ring.push(0.1)
    assert ring.storage[0] == pytest.approx(0.1)
    assert type(ring) is Ring[f32]
    assert Ring[f32]._origin_ is Ring
    assert Ring[f32]._arguments_ == (f32,)
    assert Ring[u8]._fields_["storage"].type is Slice[u8]
    ring.push(0.0)
    with pytest.raises(Trap):
        ring.push(0.0)


def test_wire_is_packed_and_names_the_byte_order() -> None:
    data = Slice.from_bytes(bytes(range(20)))
    header = Header.view(data)
    assert header is not None
    assert Header._size_ == 17
    assert (header.kind, header.length, header.address) == (0, 0x0102, 0x03040506)
    assert header.mac[5] == 12
    assert header.little == 0x100F0E0D
    header.length = 0xABCD
    assert data[1:3] == b"\xab\xcd"
    assert Header.view(data[4:]) is None
    with pytest.raises(Trap):
        header.length = 0x10000


def test_wire_over_a_literal_is_read_only() -> None:
    header = Header.view(bytes(17))
    assert header is not None
    with pytest.raises(Trap, match="read-only"):
        header.kind = 1


@given(st.lists(st.integers(0, 2**16 - 1), min_size=4, max_size=4))
def test_what_is_written_is_read(values: list[int]) -> None:
    class Four(Struct):
        a: u16
        b: u32
        c: u64
        d: usize

    four = Four(*values)
    assert [four.a, four.b, four.c, four.d] == values
