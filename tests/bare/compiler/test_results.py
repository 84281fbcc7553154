"""What compiled functions give is what Python would: values, and views that keep their storage."""

import gc
import weakref
from typing import Any

import pytest

from bare import Slice, Trap, f32, i16, u8, usize
from bare.allocation import Allocation
from bare.memory import allocate
from bare.testing import implementations
from tests.bare.compiler.results import Colour, Point, Span

impl = implementations("tests.bare.compiler.results")


@pytest.mark.parametrize(
    ("name", "element", "values"),
    [
        ("part_u8", u8, [1, 2, 255, 4]),
        ("part_i16", i16, [-1, 2, -32768, 4]),
        ("part_f32", f32, [0.5, -2.0, 3.0, 4.0]),
        ("part_usize", usize, [1, 1 << 62, 3, 4]),
    ],
)
def test_slices_of_numbers(impl: Any, name: str, element: Any, values: list[Any]) -> None:
    data = Slice.of(element, values)
    found = getattr(impl, name)(data, 1, 3)
    assert found.__class__ is Slice
    assert found.element is data.element
    assert list(found) == values[1:3]
    assert found.address == data[1:3].address
    found[0] = values[3]
    assert data[1] == values[3]
    with pytest.raises(Trap):
        found[2]
    assert len(getattr(impl, name)(data, 4, 4)) == 0
    with pytest.raises(Trap):
        getattr(impl, name)(data, 3, 5)


def test_slices_of_structs(impl: Any) -> None:
    points = allocate(Point, 3)
    points[2].y = 9
    found = impl.part_points(points, 1, 3)
    assert found[1].y == 9
    found[0].x = 5
    assert points[1].x == 5


def test_a_literal(impl: Any) -> None:
    assert bytes(impl.literal()) == b"a literal"


def test_a_slice_keeps_its_storage(impl: Any) -> None:
    data = Slice.from_bytes(b"abcdef")
    alive = weakref.ref(data.allocation)
    found = impl.part_u8(data, 2, 4)
    del data
    gc.collect()
    assert alive() is not None
    assert bytes(found) == b"cd"
    del found
    gc.collect()
    assert alive() is None, "a result that is gone keeps nothing"


def test_a_slice_of_other_storage_than_the_last(impl: Any) -> None:
    one, two = Slice.from_bytes(b"one"), Slice.from_bytes(b"two")
    for data in (one, two, one, one, two):
        found = impl.part_u8(data, 0, 3)
        assert found.allocation is data.allocation
        assert bytes(found) == bytes(data)


def test_storage_that_is_gone_is_not_found_again(impl: Any) -> None:
    for index in range(20):  # The next one tends to get the same address.
        data = Slice.from_bytes(bytes([index]) * 64)
        found = impl.part_u8(data, 0, 64)
        assert found.allocation is data.allocation
        del data, found


def test_somebody_elses_memory(impl: Any) -> None:
    outside = bytearray(b"somebody else's")
    address = Allocation.over(outside).address
    strange = Allocation.at(address, len(outside))
    data = Slice.over(strange.buffer)
    assert bytes(impl.part_u8(data, 9, 13)) == b"else"


def test_tuples_and_dataclasses(impl: Any) -> None:
    data = Slice.from_bytes(b"hello")
    left, at, right = impl.halves(data, 2)
    assert (bytes(left), at, bytes(right)) == (b"he", 2, b"llo")
    found = impl.span(data, 1, Colour.GREEN)
    assert found.__class__ is Span
    assert (found.start, bytes(found.text), found.colour) == (1, b"ello", Colour.GREEN)
    assert found.colour.__class__ is Colour


def test_optionals(impl: Any) -> None:
    data = Slice.from_bytes(b"hello")
    assert impl.span_or_none(data, 6) is None
    found = impl.span_or_none(data, 5)
    assert (found.start, len(found.text)) == (5, 0)
    assert [impl.maybe(kind) for kind in range(3)] == [None, True, False]


def test_unions(impl: Any) -> None:
    data, point = Slice.from_bytes(b"hello"), Point(1, 2)
    assert impl.one_of(0, data, point) == 0
    assert impl.one_of(1, data, point) is Colour.GREEN
    assert bytes(impl.one_of(2, data, point)) == b"hello"
    assert bytes(impl.one_of(3, data, point).text) == b"hello"
    kind, found = impl.one_of(4, data, point)
    assert (kind, found.y) == (4, 2)
    found.y = 8
    assert point.y == 8
