"""A spin barrier: every member waits until all have arrived.

The last to arrive resets the count and then moves the generation on, so the barrier can be used
again at once. The two words are on lines of their own: arriving does not disturb those who watch.
"""

from bare import Array, Struct, array, u8, u32, usize, wrap
from bare.atomic import Atomic
from bare.cpu import pause

LINE_PADDING = 60  # To the end of a 64-byte cache line after a u32.


class Barrier(Struct):
    """For `members` threads; with one it does nothing."""

    arrived: Atomic[u32]
    arrived_padding: Array[u8] = array(LINE_PADDING)
    generation: Atomic[u32]
    generation_padding: Array[u8] = array(LINE_PADDING)
    members: usize

    def wait(self) -> None:
        """Return when every member has called."""
        if self.members <= 1:
            return
        generation = self.generation.load()
        if self.arrived.fetch_add(1) == self.members - 1:
            self.arrived.store(0)
            self.generation.store(wrap(u32, generation + 1))
            return
        while self.generation.load() == generation:
            pause()


def share(total: usize, member: usize, members: usize) -> tuple[usize, usize]:
    """The contiguous part [first, last) of `total` items that a member takes."""
    return total * member // members, total * (member + 1) // members


def overlap(first: usize, last: usize, start: usize, count: usize) -> tuple[usize, usize]:
    """The part of items [first, last) that lies in [start, start + count), counted from start."""
    low = max(first, start)
    high = min(last, start + count)
    if low >= high:
        return 0, 0
    return low - start, high - start
