"""Deadlines by slot in a binary heap: arming and disarming cost O(log n), peeking is free.

Invariant: `position[slot]` is one more than the slot's place in `heap`, or zero when disarmed.
"""

from bare import Arena, Slice, Struct, u32, u64, usize
from merlion.net.limits import NEVER, NO_SLOT


class TimerQueue(Struct):
    """At most one deadline for each slot."""

    deadline: Slice[u64]  # By slot.
    position: Slice[u32]  # By slot.
    heap: Slice[u32]
    count: usize

    def start(self, arena: Arena, slots: usize) -> None:
        """Take the storage for `slots` slots."""
        self.deadline = arena.slice(u64, slots)
        self.position = arena.slice(u32, slots)
        self.heap = arena.slice(u32, slots)
        self.count = 0

    def next_deadline(self) -> u64:
        """The earliest deadline, or NEVER."""
        if self.count == 0:
            return NEVER
        return self.deadline[self.heap[0]]

    def of(self, slot: u32) -> u64:
        """The deadline of `slot`, or NEVER."""
        if self.position[slot] == 0:
            return NEVER
        return self.deadline[slot]

    def arm(self, slot: u32, deadline: u64) -> None:
        """Set or move the deadline of `slot`; NEVER disarms it."""
        if deadline >= NEVER:
            self.disarm(slot)
            return
        self.deadline[slot] = deadline
        if self.position[slot] == 0:
            self.put(self.count, slot)
            self.count += 1
        at = self.up(usize(self.position[slot] - 1))
        self.down(at)

    def disarm(self, slot: u32) -> None:
        """Forget the deadline of `slot`, if it has one."""
        if self.position[slot] == 0:
            return
        at = usize(self.position[slot] - 1)
        self.position[slot] = 0
        self.count -= 1
        if at == self.count:
            return
        self.put(at, self.heap[self.count])
        self.down(self.up(at))

    def pop_expired(self, now_ns: u64) -> u32:
        """Disarm and return one slot whose deadline has come, or NO_SLOT."""
        if self.next_deadline() > now_ns:
            return NO_SLOT
        slot = self.heap[0]
        self.disarm(slot)
        return slot

    def put(self, at: usize, slot: u32) -> None:
        """Write one place of the heap."""
        self.heap[at] = slot
        self.position[slot] = u32(at + 1)

    def up(self, at: usize) -> usize:
        """Move the slot at `at` towards the root; returns where it stopped."""
        slot = self.heap[at]
        key = self.deadline[slot]
        i = at
        while i > 0:
            parent = (i - 1) // 2
            if self.deadline[self.heap[parent]] <= key:
                break
            self.put(i, self.heap[parent])
            i = parent
        self.put(i, slot)
        return i

    def down(self, at: usize) -> usize:
        """Move the slot at `at` towards the leaves; returns where it stopped."""
        slot = self.heap[at]
        key = self.deadline[slot]
        i = at
        while True:
            child = 2 * i + 1
            if child >= self.count:
                break
            if child + 1 < self.count:
                right = self.deadline[self.heap[child + 1]]
                if right < self.deadline[self.heap[child]]:
                    child += 1
            if self.deadline[self.heap[child]] >= key:
                break
            self.put(i, self.heap[child])
            i = child
        self.put(i, slot)
        return i
