"""Names of functions by address, from the table the linker puts into the image.

`bare_symbol_table`: u32 count, then count times {u32 address, u32 name offset from the table},
sorted by address, then names ending in NUL.
"""

from bare import Bytes, Slice, Struct, u8, u32, u64, usize
from bare.unsafe import slice_at, symbol_address

COUNT_MAX = 100_000  # A larger count means there is no table.
NAME_MAX = 120


class SymbolTable(Struct):
    """The table; empty until `open`."""

    words: Slice[u32]
    base: u64 = 0

    def open(self) -> None:
        """Find the table in the image."""
        self.base = symbol_address("bare_symbol_table")
        count = slice_at(u32, self.base, 1)[0]
        if count <= COUNT_MAX:
            self.words = slice_at(u32, self.base + 4, 2 * usize(count))

    def find(self, address: u64) -> usize | None:
        """Return the index of the last symbol at or below `address`."""
        low: usize = 0
        high = len(self.words) // 2
        while low < high:
            middle = (low + high) // 2
            if self.words[2 * middle] <= address:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return None
        return low - 1

    def address(self, index: usize) -> u64:
        """Return the address of symbol `index`."""
        return self.words[2 * index]

    def name(self, index: usize) -> Bytes:
        """Return the name of symbol `index`, cut at NAME_MAX."""
        text = slice_at(u8, self.base + self.words[2 * index + 1], NAME_MAX)
        length: usize = 0
        for byte in text:
            if byte == 0:
                break
            length += 1
        return text[:length]


symbols = SymbolTable.zeroed()
