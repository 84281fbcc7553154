"""x86-64 page tables as a pure structure: a pool of 4 KiB tables and the walk over them.

Intel SDM volume 3, section 4.5. Invariants: an entry is 0, a leaf, or points to a table of the
pool; a table is never freed; on a PVM host (`user` set) every entry at every level has the U bit.
Levels: 0 = 4 KiB pages, 1 = 2 MiB, 2 = 1 GiB, 3 = the root.
"""

from enum import IntEnum, IntFlag

from bare import Slice, Struct, i64, u32, u64, usize

ENTRIES = 512
PAGE_BYTES = 4096
HUGE_BYTES = 1 << 21
BELOW_4G = 1 << 32
ADDRESS_MASK = 0x000F_FFFF_FFFF_F000
ADDRESS_END = 1 << 47  # The lower canonical half. PVM leaves only this half to the guest.
NO_EXECUTE = 1 << 63


class Entry(IntFlag):
    """Bits of an entry."""

    PRESENT = 1 << 0
    WRITABLE = 1 << 1
    USER = 1 << 2
    WRITE_THROUGH = 1 << 3
    CACHE_DISABLE = 1 << 4
    LARGE = 1 << 7


class Access(IntEnum):
    """What a range may be used for. Nothing is both writable and executable."""

    NONE = 0  # A guard: touching it faults.
    READ = 1
    EXECUTE = 2
    WRITE = 3
    DEVICE = 4  # Writable, uncached.


_DATA = Entry.PRESENT | Entry.WRITABLE
_UNCACHED = Entry.WRITE_THROUGH | Entry.CACHE_DISABLE
ACCESS_BITS = {
    Access.NONE: 0,
    Access.READ: int(Entry.PRESENT) | NO_EXECUTE,
    Access.EXECUTE: int(Entry.PRESENT),
    Access.WRITE: int(_DATA) | NO_EXECUTE,
    Access.DEVICE: int(_DATA | _UNCACHED) | NO_EXECUTE,
}
LEVEL_SHIFT = (12, 21, 30, 39)


class PageTables(Struct):
    """Page tables in `pool`, whose first byte is at physical address `base`."""

    pool: Slice[u64]
    base: u64
    used: usize = ENTRIES  # Entries handed out; the root is the first table.
    level_max: u32 = 1  # The largest page that may be used.
    user: bool = False
    pages_4k: u64 = 0
    pages_2m: u64 = 0
    pages_1g: u64 = 0

    def root(self) -> u64:
        """Return the value for CR3."""
        return self.base

    def bits(self, access: Access) -> u64:
        """Return the low and high bits of a leaf entry."""
        value: u64 = ACCESS_BITS[access]
        if self.user and value != 0:
            value |= Entry.USER
        return value

    def new_table(self) -> usize:
        """Take the next table of the pool: its index in entries."""
        table = self.used
        assert table + ENTRIES <= len(self.pool), "page-table pool exhausted"
        self.used += ENTRIES
        return table

    def table_bits(self) -> u64:
        """Return the bits of an entry which points to a table: the leaf decides, not the path."""
        value: u64 = Entry.PRESENT | Entry.WRITABLE
        if self.user:
            value |= Entry.USER
        return value

    def descend(self, at: usize, level: u32) -> usize:
        """Return the table under the entry at index `at` of a table of `level`, made if needed.

        A large page in the way is split into a table of pages one size smaller, same access.
        """
        entry = self.pool[at]
        if entry & Entry.PRESENT and not entry & Entry.LARGE:
            return usize(((entry & ADDRESS_MASK) - self.base) // 8)
        table = self.new_table()
        if entry != 0:
            step: u64 = 1 << LEVEL_SHIFT[level - 1]
            piece = entry
            if level == 1:
                piece = entry & ~u64(Entry.LARGE)
            for index in range(ENTRIES):
                self.pool[table + index] = piece + index * step
            self.count(level, -1)
            self.count(level - 1, ENTRIES)
        self.pool[at] = (self.base + table * 8) | self.table_bits()
        return table

    def entry_index(self, address: u64, level: u32) -> usize:
        """Return the pool index of the entry that maps `address` at `level`."""
        table: usize = 0
        depth: u32 = 3
        while depth > level:
            at = table + usize(address >> LEVEL_SHIFT[depth] & (ENTRIES - 1))
            table = self.descend(at, depth)
            depth -= 1
        return table + usize(address >> LEVEL_SHIFT[level] & (ENTRIES - 1))

    def count(self, level: u32, change: i64) -> None:
        """Keep the number of pages of each size."""
        if level == 0:
            self.pages_4k = u64(i64(self.pages_4k) + change)
        elif level == 1:
            self.pages_2m = u64(i64(self.pages_2m) + change)
        else:
            self.pages_1g = u64(i64(self.pages_1g) + change)

    def is_table(self, address: u64, level: u32) -> bool:
        """Whether the entry for `address` at `level` already points to a table of smaller pages."""
        entry = self.pool[self.entry_index(address, level)]
        return (entry & Entry.PRESENT) != 0 and not entry & Entry.LARGE

    def map(self, start: u64, end: u64, access: Access) -> None:
        """Map [start, end) one to one with the largest pages that fit, replacing what was there.

        Both bounds are multiples of 4096.
        """
        assert start % PAGE_BYTES == 0, "a range begins at a page"
        assert end % PAGE_BYTES == 0, "a range ends at a page"
        assert end <= ADDRESS_END, "an address beyond the lower half"
        bits = self.bits(access)
        address = start
        while address < end:
            level = self.level_max
            while level > 0:
                step: u64 = 1 << LEVEL_SHIFT[level]
                fits = address % step == 0 and end - address >= step
                if fits and not self.is_table(address, level):
                    break
                level -= 1
            at = self.entry_index(address, level)
            if self.pool[at] != 0:
                self.count(level, -1)
            value: u64 = 0
            if bits != 0:
                value = address | bits
                if level > 0:
                    value |= Entry.LARGE
                self.count(level, 1)
            self.pool[at] = value
            address += u64(1) << LEVEL_SHIFT[level]

    def lookup(self, address: u64) -> u64:
        """Return the leaf entry that maps `address`, 0 when nothing does. Makes nothing."""
        if address >= ADDRESS_END:
            return 0
        table: usize = 0
        depth: u32 = 3
        while True:
            entry = self.pool[table + usize(address >> LEVEL_SHIFT[depth] & (ENTRIES - 1))]
            if not entry & Entry.PRESENT:
                return 0
            if depth == 0 or entry & Entry.LARGE:
                return entry
            table = usize(((entry & ADDRESS_MASK) - self.base) // 8)
            depth -= 1
