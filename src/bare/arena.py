"""The only allocator: hands out parts of one storage, front to back, until sealed.

Everything is allocated at start; then `seal` turns any later allocation into a trap. Inside a
phase, `mark` and `reset` give scratch space back.

Invariants: used <= len(storage); bytes after `used` belong to nobody.
"""

from bare.ints import u8, u64, usize
from bare.memory import Slice
from bare.structs import Struct
from bare.trap import panic
from bare.unsafe import address_of, align_of, set_defaults, size_of, slice_at, struct_at

SLICE_ALIGN = 64  # A cache line, and the widest vector.


class Arena(Struct):
    """A bump allocator over `storage`."""

    storage: Slice[u8]
    used: usize = 0
    sealed: bool = False

    def start_of_next(self, align: usize) -> usize:
        """Offset of the next free byte whose address is a multiple of `align`."""
        base = address_of(self.storage)
        return usize((base + self.used + align - 1) // align * align - base)

    def claim(self, size: usize, align: usize) -> usize:
        """Claim `size` bytes as they are; gives their offset."""
        if self.sealed:
            panic(b"arena: allocation after seal")
        start = self.start_of_next(align)
        if start > len(self.storage) or size > len(self.storage) - start:
            panic(b"arena: out of memory")
        self.used = start + size
        return start

    def take(self, size: usize, align: usize) -> u64:
        """Claim `size` zeroed bytes; gives their address."""
        start = self.claim(size, align)
        self.storage[start : start + size].fill(0)
        return address_of(self.storage) + start

    def alloc[T](self, kind: type[T]) -> T:
        """Allocate one Struct with its defaults."""
        record = struct_at(kind, self.take(size_of(kind), align_of(kind)))
        set_defaults(record)
        return record

    def slice[T](self, kind: type[T], count: usize) -> Slice[T]:
        """Allocate `count` zeroed elements."""
        return slice_at(kind, self.take(count * size_of(kind), SLICE_ALIGN), count)

    def unset[T](self, kind: type[T], count: usize) -> Slice[T]:
        """Allocate `count` elements with whatever the storage holds: the caller fills them all."""
        start = self.claim(count * size_of(kind), SLICE_ALIGN)
        return slice_at(kind, address_of(self.storage) + start, count)

    def fits[T](self, kind: type[T], count: usize) -> bool:
        """Tell whether `slice(kind, count)` would succeed."""
        start = self.start_of_next(SLICE_ALIGN)
        if self.sealed or start > len(self.storage):
            return False
        return count <= (len(self.storage) - start) // size_of(kind)

    def remaining(self) -> usize:
        """Bytes not handed out, before alignment."""
        return len(self.storage) - self.used

    def mark(self) -> usize:
        """Remember the present end, for `reset`."""
        return self.used

    def reset(self, mark: usize) -> None:
        """Take back everything allocated since `mark`."""
        if mark > self.used:
            panic(b"arena: reset forwards")
        self.used = mark

    def seal(self) -> None:
        """End allocation for good."""
        self.sealed = True
