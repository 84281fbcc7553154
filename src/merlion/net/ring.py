"""Rings over storage that the caller hands in: the capacity is the storage's length."""

from bare import Bytes, Slice, Struct, u8, u32, usize
from merlion.net.limits import NO_SLOT


class SlotRing(Struct):
    """A first-in first-out queue of slot numbers."""

    storage: Slice[u32]
    head: usize
    count: usize

    def push(self, slot: u32) -> bool:
        """Append `slot`. Returns False when full."""
        capacity = len(self.storage)
        if self.count == capacity:
            return False
        self.storage[(self.head + self.count) % capacity] = slot
        self.count += 1
        return True

    def pop(self) -> u32:
        """The oldest slot, or NO_SLOT when empty."""
        if self.count == 0:
            return NO_SLOT
        slot = self.storage[self.head]
        self.head = (self.head + 1) % len(self.storage)
        self.count -= 1
        return slot


class ByteRing(Struct):
    """The bytes of one direction of a connection.

    `count` bytes are readable from `head`. Bytes may be placed past them (`place`), which is
    how out-of-order segments wait in the ring itself until `extend` makes them readable.
    """

    storage: Slice[u8]
    head: usize
    count: usize

    def free(self) -> usize:
        """How many bytes can still be written."""
        return len(self.storage) - self.count

    def clear(self) -> None:
        """Forget everything."""
        self.head = 0
        self.count = 0

    def write(self, data: Bytes) -> usize:
        """Append as much of `data` as fits; returns how much that was."""
        n = min(len(data), self.free())
        self.place(0, data[:n])
        self.count += n
        return n

    def place(self, offset: usize, data: Bytes) -> None:
        """Store `data` `offset` bytes past the readable ones. It must fit."""
        capacity = len(self.storage)
        n = len(data)
        assert self.count + offset + n <= capacity, "data past the end of the ring"
        at = (self.head + self.count + offset) % capacity
        first = min(n, capacity - at)
        self.storage[at : at + first].copy_from(data[:first])
        if first < n:
            self.storage[: n - first].copy_from(data[first:])

    def extend(self, n: usize) -> None:
        """Make `n` placed bytes readable."""
        assert n <= self.free(), "extended past the end of the ring"
        self.count += n

    def copy_out(self, offset: usize, out: Slice[u8]) -> None:
        """Fill `out` with the readable bytes from `offset`, without consuming them."""
        capacity = len(self.storage)
        n = len(out)
        assert offset + n <= self.count, "copied past the readable bytes"
        at = (self.head + offset) % capacity
        first = min(n, capacity - at)
        out[:first].copy_from(self.storage[at : at + first])
        if first < n:
            out[first:].copy_from(self.storage[: n - first])

    def readable(self) -> Bytes:
        """The readable bytes up to the end of the storage; more may follow after `consume`."""
        first = min(self.count, len(self.storage) - self.head)
        return self.storage[self.head : self.head + first]

    def consume(self, n: usize) -> None:
        """Drop the `n` oldest bytes."""
        assert n <= self.count, "consumed more than was readable"
        self.head = (self.head + n) % len(self.storage)
        self.count -= n
