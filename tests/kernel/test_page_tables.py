"""Page tables as a structure: what an address maps to, in pages of which size."""

from typing import Any

from bare import static, u64
from bare.testing import implementations
from merlion.kernel.memory.page_tables import (
    ADDRESS_MASK,
    ENTRIES,
    NO_EXECUTE,
    Access,
    Entry,
    PageTables,
)

impl = implementations("merlion.kernel.memory.page_tables")

BASE = 0x40_0000
GIB = 1 << 30
MIB2 = 1 << 21


def tables(count: int = 8, level_max: int = 1, user: bool = False) -> PageTables:
    return PageTables(static(u64, count * ENTRIES), BASE, level_max=level_max, user=user)


def test_huge_pages(impl: Any) -> None:
    t = tables()
    t.map(0, 4 * MIB2, Access.WRITE)
    assert (t.pages_2m, t.pages_4k) == (4, 0)
    entry = t.lookup(MIB2 + 5)
    assert entry & ADDRESS_MASK == MIB2
    assert entry & Entry.LARGE
    assert entry & Entry.WRITABLE
    assert entry & NO_EXECUTE
    assert t.lookup(4 * MIB2) == 0


def test_giant_pages_only_when_aligned(impl: Any) -> None:
    t = tables(level_max=2)
    t.map(GIB - MIB2, 2 * GIB, Access.WRITE)
    assert (t.pages_1g, t.pages_2m) == (1, 1)
    assert t.lookup(GIB + 12345) & ADDRESS_MASK == GIB


def test_a_guard_page_splits(impl: Any) -> None:
    t = tables()
    t.map(0, 2 * MIB2, Access.WRITE)
    t.map(0x5000, 0x6000, Access.NONE)
    assert (t.pages_2m, t.pages_4k) == (1, 511)
    assert t.lookup(0x5FFF) == 0
    assert t.lookup(0x4FFF) & ADDRESS_MASK == 0x4000
    assert t.lookup(0x6000) & ADDRESS_MASK == 0x6000
    assert t.lookup(MIB2) & Entry.LARGE


def test_splitting_a_giant_page_keeps_access(impl: Any) -> None:
    t = tables(level_max=2)
    t.map(0, GIB, Access.WRITE)
    t.map(MIB2, MIB2 + 4096, Access.EXECUTE)
    assert (t.pages_1g, t.pages_2m, t.pages_4k) == (0, 511, 512)
    code = t.lookup(MIB2)
    assert not code & Entry.WRITABLE
    assert not code & NO_EXECUTE
    data = t.lookup(MIB2 + 4096)
    assert data & Entry.WRITABLE
    assert data & NO_EXECUTE
    assert data & ADDRESS_MASK == MIB2 + 4096


def test_remapping_a_split_range_keeps_its_tables(impl: Any) -> None:
    t = tables()
    t.map(0, MIB2, Access.WRITE)
    t.map(0, 4096, Access.NONE)
    t.map(0, MIB2, Access.READ)
    assert (t.pages_2m, t.pages_4k) == (0, 512)
    assert not t.lookup(0) & Entry.WRITABLE


def test_user_bit_everywhere(impl: Any) -> None:
    t = tables(user=True)
    t.map(0, MIB2, Access.WRITE)
    t.map(0, 4096, Access.NONE)
    t.map(4096, 8192, Access.EXECUTE)
    for index in range(t.used):
        assert t.pool[index] == 0 or t.pool[index] & Entry.USER
    assert t.lookup(0) == 0


def test_small_pages_when_told(impl: Any) -> None:
    t = tables(level_max=0)
    t.map(0, MIB2, Access.WRITE)
    assert (t.pages_2m, t.pages_4k) == (0, 512)


def test_beyond_the_lower_half(impl: Any) -> None:
    assert tables().lookup(1 << 47) == 0
    assert tables().lookup((1 << 64) - 1) == 0
