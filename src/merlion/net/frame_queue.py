"""Frames made while receiving or by UDP, kept until the driver takes them.

A frame with `next_hop` set waits for that neighbour's MAC; it does not hold up those behind it.
Invariant: slots outside [head, head + span) are free; inside, any may be (a gap left by a frame
that overtook).
"""

from bare import Arena, Slice, Struct, u8, u32, u64, usize
from merlion.net.limits import FRAME_MAX, FRAME_SLOTS, UNRESOLVED_SLOTS


class QueuedFrame(Struct):
    """`length` is 0 in a free slot; `next_hop` is 0 when the Ethernet header is complete."""

    length: usize
    next_hop: u32
    queued_at: u64
    bytes: Slice[u8]


class FrameQueue(Struct):
    """First in, first out, except for frames that wait."""

    slots: Slice[QueuedFrame]
    head: usize
    span: usize
    waiting: usize
    dropped: u64

    def start(self, arena: Arena) -> None:
        """Take the storage."""
        self.slots = arena.slice(QueuedFrame, FRAME_SLOTS)
        storage = arena.slice(u8, FRAME_SLOTS * FRAME_MAX)
        for i in range(FRAME_SLOTS):
            self.slots[i].bytes = storage[i * FRAME_MAX : (i + 1) * FRAME_MAX]

    def make(self, length: usize, next_hop: u32, now_ns: u64) -> QueuedFrame | None:
        """A slot at the tail for a frame of `length` bytes, or None: the frame is dropped."""
        full = self.span == FRAME_SLOTS or length > FRAME_MAX
        if full or (next_hop != 0 and self.waiting >= UNRESOLVED_SLOTS):
            self.dropped += 1
            return None
        frame = self.slots[(self.head + self.span) % FRAME_SLOTS]
        self.span += 1
        frame.length = length
        frame.next_hop = next_hop
        frame.queued_at = now_ns
        if next_hop != 0:
            self.waiting += 1
        return frame

    def at(self, i: usize) -> QueuedFrame:
        """The i-th slot from the head; i < span."""
        return self.slots[(self.head + i) % FRAME_SLOTS]

    def free(self, frame: QueuedFrame) -> None:
        """Done with a frame."""
        if frame.next_hop != 0:
            self.waiting -= 1
        frame.length = 0
        frame.next_hop = 0
        while self.span > 0 and self.slots[self.head].length == 0:
            self.head = (self.head + 1) % FRAME_SLOTS
            self.span -= 1
