"""Split virtqueue, driver side (virtio 1.2, section 2.7).

The ring has as many entries as the *device* allows (a power of two), so every index is taken
modulo `size`, never modulo a constant of ours.

Descriptors are not allocated: the driver that owns the queue gives each of its requests fixed
descriptors once and for all. So there is no free list to corrupt, and a chain is named by its
first descriptor, its head.

Invariants: a head is offered at most once until the device gives it back (`in_flight`); what the
device writes into the used ring is checked before it is believed; `avail_idx` and `used_idx` run
freely through all of u16.
"""

from dataclasses import dataclass
from enum import Enum, auto

from bare import Arena, Slice, Struct, u8, u16, u32, u64, usize, wrap
from bare.atomic import Atomic
from bare.cpu import fence
from bare.unsafe import address_of, slice_at
from merlion.kernel.drivers.virtio.registers import (
    AVAIL_NO_INTERRUPT,
    USED_NO_NOTIFY,
    Descriptor,
    UsedElement,
)

DESCRIPTOR_BYTES = 16
RING_HEADER_BYTES = 4  # flags, idx
AVAIL_ENTRY_BYTES = 2
USED_ENTRY_BYTES = 8
EVENT_BYTES = 2  # used_event and avail_event: room for them is part of the layout.
RING_ALIGN = 64  # The section asks for 16, 2 and 4; a cache line each avoids false sharing.


class RingError(Enum):
    """What a device wrote into the used ring that it must not."""

    USED_INDEX = auto()  # More chains given back than the ring can hold.
    UNKNOWN_HEAD = auto()  # A chain that was not offered.


class RingHeader(Struct):
    """What avail and used rings begin with."""

    flags: Atomic[u16]
    idx: Atomic[u16]  # Where the writer of this ring puts the next entry. Runs freely.


@dataclass(frozen=True, slots=True)
class Completion:
    """A chain the device has given back, and how many bytes it wrote to it."""

    head: u16
    length: u32


def align_ring(offset: usize) -> usize:
    """Round up to the next ring boundary."""
    return (offset + RING_ALIGN - 1) // RING_ALIGN * RING_ALIGN


def avail_offset(size: usize) -> usize:
    """Return where the avail ring begins, in bytes from the descriptors."""
    return align_ring(size * DESCRIPTOR_BYTES)


def used_offset(size: usize) -> usize:
    """Return where the used ring begins, in bytes from the descriptors."""
    return align_ring(
        avail_offset(size) + RING_HEADER_BYTES + size * AVAIL_ENTRY_BYTES + EVENT_BYTES
    )


def ring_bytes(size: usize) -> usize:
    """Return the memory a queue of `size` entries needs."""
    return used_offset(size) + RING_HEADER_BYTES + size * USED_ENTRY_BYTES + EVENT_BYTES


class Queue(Struct):
    """One virtqueue. `storage` is what the device reads and writes."""

    index: u16
    size: u16
    avail_idx: u16  # What we have put into the avail ring, published or not.
    used_idx: u16  # What we have taken from the used ring.
    in_flight_count: u16
    storage: Slice[u8]
    descriptors: Slice[Descriptor]
    avail: Slice[RingHeader]  # One element.
    avail_ring: Slice[u16]
    used: Slice[RingHeader]  # One element.
    used_ring: Slice[UsedElement]
    in_flight: Slice[bool]  # By head.

    def init(self, memory: Arena, index: u16, size: u16) -> None:
        """Lay the rings out in memory of their own."""
        assert size > 0, "a queue without entries"
        assert size & (size - 1) == 0, "a split ring has a power of two of entries"
        self.index = index
        self.size = size
        self.storage = memory.slice(u8, ring_bytes(size))
        self.in_flight = memory.slice(bool, size)

        base = address_of(self.storage)
        avail = base + avail_offset(size)
        used = base + used_offset(size)
        self.descriptors = slice_at(Descriptor, base, size)
        self.avail = slice_at(RingHeader, avail, 1)
        self.avail_ring = slice_at(u16, avail + RING_HEADER_BYTES, size)
        self.used = slice_at(RingHeader, used, 1)
        self.used_ring = slice_at(UsedElement, used + RING_HEADER_BYTES, size)
        self.clear()

    def clear(self) -> None:
        """Forget every request. Only while the device is reset: it must not own a buffer."""
        self.storage.fill(0)
        self.in_flight.fill(False)
        self.avail_idx = 0
        self.used_idx = 0
        self.in_flight_count = 0
        self.avail[0].flags.store(AVAIL_NO_INTERRUPT)  # We poll.

    def describe(self, index: u16, address: u64, length: u32, flags: u16, following: u16) -> None:
        """Fill one descriptor. The chain it is part of must not be in flight."""
        descriptor = self.descriptors[index]
        descriptor.address = address
        descriptor.length = length
        descriptor.flags = flags
        descriptor.next = following

    def offer(self, head: u16) -> None:
        """Put a chain into the avail ring. The device sees it after `publish`."""
        assert not self.in_flight[head], "this chain is already the device's"
        self.in_flight[head] = True
        self.in_flight_count += 1
        self.avail_ring[self.avail_idx % self.size] = head
        self.avail_idx = wrap(u16, self.avail_idx + 1)

    def publish(self) -> bool:
        """Show the device what was offered. Returns whether it wants its doorbell rung.

        The fence keeps our store of idx before our load of the device's flags: without it both
        sides may miss the other's write (section 2.7.21).
        """
        self.avail[0].idx.store(self.avail_idx)
        fence()
        return self.used[0].flags.load() & USED_NO_NOTIFY == 0

    def ready_count(self) -> u16:
        """Return how many chains the device has given back and we have not taken."""
        return wrap(u16, self.used[0].idx.load() - self.used_idx)

    def take(self) -> Completion | RingError | None:
        """Take one chain back from the device, in the order in which it finished them."""
        ready = self.ready_count()
        if ready == 0:
            return None
        if ready > self.size:
            return RingError.USED_INDEX
        element = self.used_ring[self.used_idx % self.size]
        id = element.id  # Read once: this is the device's memory.
        length = element.length
        if id >= self.size:
            return RingError.UNKNOWN_HEAD
        head = u16(id)
        if not self.in_flight[head]:
            return RingError.UNKNOWN_HEAD
        self.in_flight[head] = False
        self.in_flight_count -= 1
        self.used_idx = wrap(u16, self.used_idx + 1)
        return Completion(head, length)
