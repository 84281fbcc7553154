"""A small sorted set of sequence ranges.

The receiver keeps here what arrived out of order, the sender what the peer's SACK blocks
reported. Invariant: `start[i] < end[i] < start[i + 1]`, all within half the sequence space.
"""

from bare import Array, Struct, array, u32, usize
from merlion.net.limits import INTERVALS
from merlion.net.sequence import seq_diff, seq_le, seq_lt, seq_max, seq_min


class Intervals(Struct):
    """Half-open ranges [start, end) in sequence order."""

    start: Array[u32] = array(INTERVALS)
    end: Array[u32] = array(INTERVALS)
    count: usize

    def clear(self) -> None:
        """Forget every range."""
        self.count = 0

    def add(self, start: u32, end: u32) -> bool:
        """Add [start, end), merging what it touches. False (and no change) when full."""
        first = 0
        while first < self.count and seq_lt(self.end[first], start):
            first += 1
        last = first  # Ranges first..last-1 touch the new one.
        while last < self.count and seq_le(self.start[last], end):
            last += 1
        if first == last:
            return self.insert(usize(first), start, end)
        self.start[first] = seq_min(self.start[first], start)
        self.end[first] = seq_max(self.end[last - 1], end)
        self.remove(usize(first + 1), usize(last - first - 1))
        return True

    def insert(self, at: usize, start: u32, end: u32) -> bool:
        """Make room for one more range at `at`."""
        if self.count == INTERVALS:
            return False
        i = self.count
        while i > at:
            self.start[i] = self.start[i - 1]
            self.end[i] = self.end[i - 1]
            i -= 1
        self.start[at] = start
        self.end[at] = end
        self.count += 1
        return True

    def remove(self, at: usize, n: usize) -> None:
        """Drop `n` ranges from `at` on."""
        if n == 0:
            return
        for i in range(at, self.count - n):
            self.start[i] = self.start[i + n]
            self.end[i] = self.end[i + n]
        self.count -= n

    def trim(self, below: u32) -> None:
        """Forget everything before `below`."""
        gone = 0
        while gone < self.count and seq_le(self.end[gone], below):
            gone += 1
        self.remove(0, usize(gone))
        if self.count > 0:
            self.start[0] = seq_max(self.start[0], below)

    def highest(self) -> u32:
        """The end of the last range; there must be one."""
        assert self.count > 0, "no range"
        return self.end[self.count - 1]

    def total(self) -> u32:
        """Bytes in all ranges."""
        sum = 0
        for i in range(self.count):
            sum += seq_diff(self.end[i], self.start[i])
        return u32(sum)

    def find(self, sequence: u32) -> usize:
        """Index of the first range that ends after `sequence`; `count` when there is none."""
        i = 0
        while i < self.count and seq_le(self.end[i], sequence):
            i += 1
        return usize(i)
