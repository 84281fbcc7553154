"""The arena: alignment, zeroing, phases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare import Arena, Struct, Trap, static, u8, u32, u64
from bare.testing import implementations
from bare.unsafe import address_of

# The methods of Arena itself run compiled while the second implementation is in use.
impl = implementations("bare.arena")
pytestmark = pytest.mark.usefixtures("impl")


class Record(Struct):
    key: u32 = 7
    value: u64
    next: "Record | None"


def test_structs_start_with_their_defaults() -> None:
    storage = static(u8, 1024)
    storage.fill(0xFF)
    arena = Arena(storage)
    first = arena.alloc(Record)
    second = arena.alloc(Record)
    assert (first.key, first.value, first.next) == (7, 0, None)
    first.next = second
    second.value = 5
    assert first.next is second
    assert address_of(first) % 8 == 0
    assert address_of(storage) <= address_of(first) < address_of(second)


@given(st.lists(st.integers(0, 40), max_size=8))
def test_slices_are_zeroed_aligned_and_apart(counts: list[int]) -> None:
    storage = static(u8, 4096)
    storage.fill(0xFF)
    arena = Arena(storage)
    parts = [arena.slice(u32, count) for count in counts]
    for index, part in enumerate(parts):
        assert list(part) == [0] * counts[index]
        assert part.address % 64 == 0
        part.fill(index + 1)
    for index, part in enumerate(parts):
        assert list(part) == [index + 1] * counts[index]


def test_fits_is_what_slice_does() -> None:
    arena = Arena(static(u8, 256))
    arena.alloc(Record)
    assert arena.fits(u32, 48)
    assert not arena.fits(u32, 49)
    with pytest.raises(Trap, match="out of memory"):
        arena.slice(u32, 49)
    arena.slice(u32, 48)
    assert arena.remaining() == 0
    assert not arena.fits(u8, 1)


def test_mark_and_reset() -> None:
    arena = Arena(static(u8, 256))
    arena.slice(u8, 10)
    mark = arena.mark()
    arena.slice(u8, 64).fill(1)
    arena.reset(mark)
    assert arena.used == mark
    assert list(arena.slice(u8, 3)) == [0, 0, 0]
    with pytest.raises(Trap):
        arena.reset(200)


def test_a_sealed_arena_allocates_nothing() -> None:
    arena = Arena(static(u8, 256))
    arena.seal()
    assert not arena.fits(u8, 1)
    with pytest.raises(Trap, match="seal"):
        arena.alloc(Record)
