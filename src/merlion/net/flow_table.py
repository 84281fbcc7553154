"""Slots found by flow (remote address, remote port, local port), with chaining in fixed storage.

TCP keeps three of these: connections, half-open connections, and TIME_WAIT. Our own address is not
part of the key: the stack has one.
Invariant: a slot is on the free list or on exactly one chain.
"""

from bare import Arena, Slice, Struct, u16, u32, u64, usize
from merlion.net.limits import NO_SLOT
from merlion.net.siphash import siphash


class Flow(Struct):
    """The key of one slot. `next` links the chain or the free list."""

    address: u32
    remote_port: u16
    local_port: u16
    next: u32
    used: bool


class FlowTable(Struct):
    """`count` of the slots are in use."""

    flows: Slice[Flow]
    buckets: Slice[u32]
    free: u32
    count: usize
    key0: u64
    key1: u64

    def start(self, arena: Arena, slots: usize, key0: u64, key1: u64) -> None:
        """Take the storage. The hash is keyed, so that nobody can choose colliding ports."""
        assert slots > 0, "a flow table without slots"
        self.flows = arena.slice(Flow, slots)
        self.buckets = arena.slice(u32, slots)
        self.buckets.fill(NO_SLOT)
        for i in range(slots):
            self.flows[i].next = u32(i + 1) if i + 1 < slots else NO_SLOT
        self.free = 0
        self.count = 0
        self.key0 = key0
        self.key1 = key1

    def bucket(self, address: u32, remote_port: u16, local_port: u16) -> usize:
        """Where the chain of this flow begins."""
        ports = u32(remote_port) << 16 | local_port
        hash = siphash(self.key0, self.key1, address, ports, 0)
        return usize((hash & 0xFFFF_FFFF) % len(self.buckets))

    def find(self, address: u32, remote_port: u16, local_port: u16) -> u32:
        """The slot of the flow, or NO_SLOT."""
        if self.count == 0:
            return NO_SLOT
        slot = self.buckets[self.bucket(address, remote_port, local_port)]
        while slot != NO_SLOT:
            flow = self.flows[slot]
            if (
                flow.address == address
                and flow.remote_port == remote_port
                and flow.local_port == local_port
            ):
                return slot
            slot = flow.next
        return NO_SLOT

    def insert(self, address: u32, remote_port: u16, local_port: u16) -> u32:
        """A free slot for a flow that is not in the table, or NO_SLOT when there is none."""
        slot = self.free
        if slot == NO_SLOT:
            return NO_SLOT
        flow = self.flows[slot]
        self.free = flow.next
        flow.address = address
        flow.remote_port = remote_port
        flow.local_port = local_port
        flow.used = True
        self.link(slot)
        self.count += 1
        return slot

    def link(self, slot: u32) -> None:
        """Put the slot at the head of its chain."""
        flow = self.flows[slot]
        at = self.bucket(flow.address, flow.remote_port, flow.local_port)
        flow.next = self.buckets[at]
        self.buckets[at] = slot

    def unlink(self, slot: u32) -> None:
        """Take the slot off its chain: it keeps its storage but is no longer found."""
        flow = self.flows[slot]
        at = self.bucket(flow.address, flow.remote_port, flow.local_port)
        previous = self.buckets[at]
        if previous == slot:
            self.buckets[at] = flow.next
            return
        while previous != NO_SLOT:
            if self.flows[previous].next == slot:
                self.flows[previous].next = flow.next
                return
            previous = self.flows[previous].next

    def release(self, slot: u32) -> None:
        """Give the storage of an unlinked slot back."""
        flow = self.flows[slot]
        assert flow.used, "released a free slot"
        flow.used = False
        flow.next = self.free
        self.free = slot
        self.count -= 1

    def remove(self, slot: u32) -> None:
        """Unlink and release."""
        self.unlink(slot)
        self.release(slot)
