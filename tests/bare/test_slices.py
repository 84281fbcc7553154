"""Slices and arrays against Python's own sequences."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare import (
    Array,
    Atomic,
    Slice,
    Struct,
    Trap,
    array,
    bf16,
    f16,
    i16,
    reinterpret,
    static,
    u8,
    u16,
    u32,
    u64,
    usize,
)


class Point(Struct):
    x: u32
    y: u32


class Table(Struct):
    words: Array[u16] = array(4)
    points: Array[Point] = array(2)


@given(data=st.binary(max_size=20), a=st.integers(-2, 22), b=st.integers(-2, 22))
def test_slicing_is_pythons_or_traps(data: bytes, a: int, b: int) -> None:
    part = Slice.from_bytes(data)
    if 0 <= a <= b <= len(data):
        assert bytes(part[a:b]) == data[a:b]
    else:
        with pytest.raises(Trap):
            part[a:b]


@given(data=st.binary(max_size=6), index=st.integers(-8, 8))
def test_indexing_is_pythons_or_traps(data: bytes, index: int) -> None:
    part = Slice.from_bytes(data)
    if 0 <= index < len(data):
        assert part[index] == data[index]
    else:
        with pytest.raises(Trap):
            part[index]
        with pytest.raises(Trap):
            part[index] = 0


@given(data=st.binary(max_size=16), other=st.binary(max_size=3), start=st.integers(0, 17))
def test_bytes_methods(data: bytes, other: bytes, start: int) -> None:
    text, needle = Slice.from_bytes(data), Slice.from_bytes(other)
    assert text.find(needle, start) == data.find(other, start)
    assert text.startswith(needle) == data.startswith(other)
    assert text.endswith(other) == data.endswith(other)
    assert (text == needle) == (data == other)
    assert text == data
    assert data == text
    assert data.find(needle) == data.find(other)


def test_slices_share_storage() -> None:
    whole = static(u32, 8)
    whole[2:5].fill(9)
    assert list(whole) == [0, 0, 9, 9, 9, 0, 0, 0]
    whole[3:6].copy_from(whole[2:5])
    assert list(whole) == [0, 0, 9, 9, 9, 9, 0, 0]
    with pytest.raises(Trap, match="copied"):
        whole.copy_from(whole[1:])


@pytest.mark.parametrize(
    ("kind", "bad"), [(u8, 256), (u8, -1), (i16, 32768), (u64, -1), (usize, 2**63)]
)
def test_elements_are_checked(kind: Any, bad: int) -> None:
    with pytest.raises(Trap, match="does not fit"):
        static(kind, 2)[1] = bad


def test_half_precision_elements_round() -> None:
    halves = Slice.of(f16, [1.0, 0.1, 1e6])
    assert list(halves) == [1.0, 0.0999755859375, float("inf")]
    assert list(Slice.of(bf16, [3.14159])) == [3.140625]


def test_struct_elements_are_references() -> None:
    points = static(Point, 3)
    points[1].x = 5
    assert points[1:][0].x == 5
    assert points[1] == points[1:][0]
    points[2].assign(points[1])
    assert points[2].x == 5


def test_atomic_elements() -> None:
    words = static(Atomic[u32], 2)
    words[1].fetch_add(4)
    assert words[1].load() == 4
    assert words[0].load() == 0


def test_arrays() -> None:
    table = Table()
    table.words[3] = 7
    part = table.words[:]
    assert isinstance(part, Slice)
    part[0] = 1
    assert list(table.words) == [1, 0, 0, 7]
    table.points[1].y = 3
    assert table.points[:][1].y == 3
    with pytest.raises(AttributeError):
        table.words = table.words
    with pytest.raises(Trap):
        table.words[4] = 0


def test_reinterpret() -> None:
    raw = Slice.from_bytes(bytes(range(16)))
    words = reinterpret(u32, raw)
    assert len(words) == 4
    assert words[1] == 0x07060504
    words[0] = 0
    assert raw[0] == 0
    with pytest.raises(Trap):
        reinterpret(u32, raw[1:5])
    with pytest.raises(Trap):
        reinterpret(u32, raw[:6])


def test_slices_of_slices_keep_their_targets() -> None:
    names = static(Slice[u8], 2)
    names[0] = Slice.from_bytes(b"first")
    assert names[0] == b"first"
    assert len(names[1]) == 0


def test_over_shares_a_buffer() -> None:
    data = bytearray(b"abcd")
    Slice.over(data)[1] = 0x78
    assert data == b"axcd"
