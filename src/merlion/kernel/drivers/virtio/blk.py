"""virtio-blk, reads only (virtio 1.2, section 5.2).

A transfer of any size is cut into requests of up to REQUEST_BYTES_MAX that are all in flight at
once, each straight into its place in the destination: nothing is copied. The destination is
physically contiguous (all memory is mapped one to one).

A request is header, data segments, status byte: a chain of `slot_descriptors` descriptors. Slot n
owns descriptors n * slot_descriptors and up for ever, so a chain's head names its slot.

Requests finish in any order. `front_bytes` says how much of the transfer has arrived without a gap,
so that the reader can begin with that.

The end of a transfer that is no whole block goes through a bounce block. A transfer fails as a
whole: the first error stops new requests, those in flight are waited for, then the error is
reported; `stop_read` ends it the same way. A device that stops answering is reset, so that it no
longer owns the destination, and must be started again (`start`, which allocates nothing the second
time).
"""

from bare import Arena, Slice, Struct, u8, u16, u32, u64, usize
from bare.cpu import pause
from bare.unsafe import address_of
from merlion.kernel.clock import now_ns
from merlion.kernel.drivers.errors import DiskError
from merlion.kernel.drivers.virtio.queue import Queue, RingError
from merlion.kernel.drivers.virtio.registers import (
    BLOCK_BLK_SIZE,
    BLOCK_CAPACITY,
    BLOCK_FEATURE_BLK_SIZE,
    BLOCK_FEATURE_SEG_MAX,
    BLOCK_FEATURE_SIZE_MAX,
    BLOCK_SECTOR_BYTES,
    BLOCK_SEG_MAX,
    BLOCK_SIZE_MAX,
    BLOCK_STATUS_OK,
    BLOCK_STATUS_UNSUPPORTED,
    BLOCK_TYPE_IN,
    DESCRIPTOR_NEXT,
    DESCRIPTOR_WRITE,
    BlockHeader,
)
from merlion.kernel.drivers.virtio.transport import (
    Transport,
    VirtioError,
    config_u64,
    go,
    make_queue,
    negotiate,
    reset,
)

REQUEST_BYTES_MAX = 1024 * 1024  # Larger gains nothing: 14 to 18 GB/s are reached with this.
DEPTH_MAX = 64  # Requests in flight.
QUEUE_SIZE_MAX = 256
BLOCK_BYTES_MAX = 4096
SECTORS_MAX = 1 << 48  # So that a place in bytes fits 64 bits whatever a device says.
REQUEST_TIMEOUT_NS = 10_000_000_000  # Since the last completion, not since the request.
IDLE_POLLS_MAX = 4_000_000_000  # For a clock that stands still.
STATUS_UNWRITTEN = 0xFF
FRAMING = 2  # A chain's header and status descriptors.
HEADER_BYTES = 16

WANTED = BLOCK_FEATURE_SIZE_MAX | BLOCK_FEATURE_SEG_MAX | BLOCK_FEATURE_BLK_SIZE


class Slot(Struct):
    """What one request keeps in memory that the device reads and writes."""

    header: BlockHeader
    status: u8  # At HEADER_BYTES.
    byte_count: u32


def disk_error(error: VirtioError) -> DiskError:
    """Say of a disk what went wrong with its device."""
    match error:
        case VirtioError.RESET_TIMEOUT:
            return DiskError.NO_ANSWER
        case VirtioError.LEGACY:
            return DiskError.LEGACY
        case VirtioError.FEATURES_REFUSED:
            return DiskError.FEATURES_REFUSED
        case VirtioError.QUEUE_MISSING:
            return DiskError.NO_QUEUE
        case VirtioError.NO_MEMORY:
            return DiskError.NO_MEMORY


class VirtioBlk(Struct):
    """One disk."""

    transport: Transport | None
    queue: Queue
    slots: Slice[Slot]
    bounce: Slice[u8]
    sector_count: u64  # Of 512 bytes.
    block_bytes: u32  # What the device reads at least; a multiple of 512.
    segment_bytes: u32
    slot_descriptors: u16
    depth: u16  # Requests that fit the ring.
    request_bytes: u32
    started: bool

    # The transfer under way.
    buffer: Slice[u8]
    first_sector: u64
    next_byte: usize  # How much of `buffer` has been asked for.
    done_bytes: usize
    front_bytes: usize  # The beginning of `buffer` that has arrived; after an error it stays.
    error: DiskError | None
    progress_ns: u64  # When something last completed.
    idle_polls: u64

    timeout_ns: u64 = REQUEST_TIMEOUT_NS

    def init(self, transport: Transport, memory: Arena) -> DiskError | None:
        """Start the device. On an error it has been given up."""
        self.transport = transport
        self.queue.size = 0
        self.slots = self.slots[:0]
        error = self.start(memory)
        if error is not None:
            return error
        if self.sector_count == 0:
            return DiskError.EMPTY
        return None

    def start(self, memory: Arena) -> DiskError | None:
        """Negotiate, size the requests, lay out the ring, go. Also after a reset."""
        transport = self.transport
        assert transport is not None, "the disk has a transport since init"
        self.started = False
        features = negotiate(transport, WANTED)
        if isinstance(features, VirtioError):
            return disk_error(features)
        error = make_queue(transport, self.queue, memory, 0, QUEUE_SIZE_MAX)
        if error is not None:
            return disk_error(error)
        shape = self.shape_requests(transport, features)
        if shape is not None:
            return shape
        if len(self.slots) == 0:
            if not memory.fits(Slot, self.depth) or not memory.fits(u8, self.block_bytes):
                return DiskError.NO_MEMORY
            self.slots = memory.slice(Slot, self.depth)
            self.bounce = memory.slice(u8, self.block_bytes)
        if len(self.slots) < self.depth or len(self.bounce) < self.block_bytes:
            return DiskError.BLOCK_SIZE  # A restarted device is another one than before.
        go(transport)
        self.started = True
        return None

    def shape_requests(self, transport: Transport, features: u64) -> DiskError | None:
        """Read the device's limits and fit the largest request, and the most, into its ring."""
        self.sector_count = config_u64(transport, BLOCK_CAPACITY)
        if self.sector_count > SECTORS_MAX:
            return DiskError.BLOCK_SIZE
        self.block_bytes = BLOCK_SECTOR_BYTES
        if features & BLOCK_FEATURE_BLK_SIZE:
            self.block_bytes = transport.config_u32(BLOCK_BLK_SIZE)
        if (
            self.block_bytes < BLOCK_SECTOR_BYTES
            or self.block_bytes > BLOCK_BYTES_MAX
            or self.block_bytes % BLOCK_SECTOR_BYTES != 0
        ):
            return DiskError.BLOCK_SIZE

        size = self.queue.size
        if size <= FRAMING:
            return DiskError.NO_QUEUE
        segments = 1
        segment_bytes: u32 = REQUEST_BYTES_MAX
        if features & BLOCK_FEATURE_SIZE_MAX:
            segment_bytes = min(segment_bytes, transport.config_u32(BLOCK_SIZE_MAX))
            if segment_bytes == 0:
                return DiskError.BLOCK_SIZE
        if features & BLOCK_FEATURE_SEG_MAX:
            # More than one segment is needed only when SIZE_MAX makes them small.
            needed = (REQUEST_BYTES_MAX + segment_bytes - 1) // segment_bytes
            allowed = min(transport.config_u32(BLOCK_SEG_MAX), size - FRAMING)
            segments = max(1, min(needed, allowed))
        request_bytes: u64 = min(segments * segment_bytes, REQUEST_BYTES_MAX)
        request_bytes -= request_bytes % self.block_bytes
        if request_bytes == 0:
            return DiskError.BLOCK_SIZE
        self.segment_bytes = segment_bytes
        self.request_bytes = u32(request_bytes)
        self.slot_descriptors = u16(segments + FRAMING)
        self.depth = u16(min(size // self.slot_descriptors, DEPTH_MAX))
        return None

    @property
    def byte_count(self) -> u64:
        """How much the disk holds."""
        return self.sector_count * BLOCK_SECTOR_BYTES

    def read(self, sector: u64, buffer: Slice[u8]) -> DiskError | None:
        """Fill `buffer`, of any length, from `sector` on (512 bytes each). Waits."""
        error = self.start_read(sector, buffer)
        if error is not None:
            return error
        while self.poll_read():
            pause()
        return self.error

    def start_read(self, sector: u64, buffer: Slice[u8]) -> DiskError | None:
        """Begin a transfer. `poll_read` moves it on; `front_bytes` says what can be used.

        `buffer` belongs to the device until `poll_read` has returned False.
        """
        assert self.queue.in_flight_count == 0, "one transfer at a time"
        self.error = None
        self.buffer = buffer
        self.first_sector = sector
        self.next_byte = 0
        self.done_bytes = 0
        self.front_bytes = 0
        error = self.check_range(sector, len(buffer))
        if error is not None:
            self.error = error
            return error
        self.progress_ns = now_ns()
        self.idle_polls = 0
        return None

    def check_range(self, sector: u64, byte_count: usize) -> DiskError | None:
        """Refuse what the device would refuse, with a name."""
        if not self.started:
            return DiskError.STOPPED
        sectors = (byte_count + BLOCK_SECTOR_BYTES - 1) // BLOCK_SECTOR_BYTES
        if sector > self.sector_count or sectors > self.sector_count - sector:
            return DiskError.SHORT_DISK
        if sector * BLOCK_SECTOR_BYTES % self.block_bytes != 0:
            return DiskError.MISALIGNED
        return None

    def poll_read(self) -> bool:
        """Take what is finished, ask for more. True while there is something to wait for."""
        took = self.take_finished()
        if self.error is None:
            if took:
                self.front_bytes = self.first_missing()
            self.submit()
        if took:
            self.progress_ns = now_ns()
            self.idle_polls = 0
        else:
            self.idle_polls += 1
            if self.queue.in_flight_count != 0 and self.is_overdue():
                self.give_up(DiskError.TIMEOUT)
        if self.queue.in_flight_count != 0:
            return True
        return self.error is None and self.next_byte < len(self.buffer)

    def first_missing(self) -> usize:
        """Where in the transfer the first byte lies that has not arrived."""
        first = self.next_byte
        for index in range(self.depth):
            if self.queue.in_flight[index * self.slot_descriptors]:
                first = min(first, self.place(self.slots[index]))
        return first

    def place(self, slot: Slot) -> usize:
        """Where in the transfer a slot's bytes belong."""
        return usize((slot.header.sector - self.first_sector) * BLOCK_SECTOR_BYTES)

    def stop_read(self) -> None:
        """Ask for no more. `poll_read` is called on until nothing is in flight."""
        if self.error is None:
            self.error = DiskError.ABANDONED

    def is_overdue(self) -> bool:
        """Say whether the device has been silent for too long."""
        return self.idle_polls > IDLE_POLLS_MAX or now_ns() - self.progress_ns > self.timeout_ns

    def give_up(self, error: DiskError) -> None:
        """Reset the device so that it owns no memory of ours, and stop."""
        transport = self.transport
        assert transport is not None, "a transfer has a transport"
        self.started = False
        self.error = error
        if reset(transport):
            self.queue.clear()
        else:
            # It may still write to the buffer. Nothing better is left than to say so.
            self.queue.in_flight_count = 0
            self.error = DiskError.NO_ANSWER

    def submit(self) -> None:
        """Put requests into every free slot and ring the doorbell once."""
        offered = False
        for index in range(self.depth):
            if self.next_byte >= len(self.buffer):
                break
            head = u16(index * self.slot_descriptors)
            if self.queue.in_flight[head]:
                continue
            self.fill_slot(u16(index), head)
            offered = True
        if offered and self.queue.publish():
            transport = self.transport
            assert transport is not None, "a transfer has a transport"
            transport.notify(0)

    def fill_slot(self, index: u16, head: u16) -> None:
        """Ask for the next bytes of the transfer."""
        remaining = len(self.buffer) - self.next_byte
        address = address_of(self.buffer) + self.next_byte
        byte_count: usize = min(remaining, self.request_bytes)
        if remaining < self.block_bytes:
            address = address_of(self.bounce)
            byte_count = self.block_bytes
        else:
            byte_count -= byte_count % self.block_bytes

        slot = self.slots[index]
        slot.header.kind = BLOCK_TYPE_IN
        slot.header.reserved = 0
        slot.header.sector = self.first_sector + self.next_byte // BLOCK_SECTOR_BYTES
        slot.status = STATUS_UNWRITTEN
        slot.byte_count = u32(min(byte_count, remaining))
        self.describe_chain(slot, head, address, byte_count)
        self.queue.offer(head)
        self.next_byte += slot.byte_count

    def describe_chain(self, slot: Slot, head: u16, address: u64, byte_count: usize) -> None:
        """Write the descriptors: header, data in segments the device accepts, status."""
        queue = self.queue
        queue.describe(head, address_of(slot.header), HEADER_BYTES, DESCRIPTOR_NEXT, head + 1)
        index = head + 1
        at: usize = 0
        while at < byte_count:
            length = min(byte_count - at, self.segment_bytes)
            flags = DESCRIPTOR_NEXT | DESCRIPTOR_WRITE
            queue.describe(u16(index), address + at, u32(length), flags, u16(index + 1))
            index += 1
            at += length
        status_address = address_of(slot) + HEADER_BYTES
        queue.describe(u16(index), status_address, 1, DESCRIPTOR_WRITE, 0)

    def take_finished(self) -> bool:
        """Take every finished request. Returns whether there was one."""
        took = False
        while True:
            completion = self.queue.take()
            if completion is None:
                return took
            if isinstance(completion, RingError):
                self.give_up(DiskError.PROTOCOL)
                return True
            took = True
            if completion.head % self.slot_descriptors != 0:
                self.give_up(DiskError.PROTOCOL)
                return True
            slot = self.slots[completion.head // self.slot_descriptors]
            if slot.status != BLOCK_STATUS_OK:
                if self.error is None:
                    self.error = status_error(slot.status)
            elif self.error is None:
                self.done_bytes += slot.byte_count
                self.copy_bounce(slot)

    def copy_bounce(self, slot: Slot) -> None:
        """Copy the end of the transfer out of the bounce block, if that is what arrived."""
        start = self.place(slot)
        if len(self.buffer) - start < self.block_bytes:
            tail = self.buffer[start:]
            tail.copy_from(self.bounce[: len(tail)])


def status_error(status: u8) -> DiskError:
    """Name a request's status (section 5.2.6)."""
    if status == BLOCK_STATUS_UNSUPPORTED:
        return DiskError.UNSUPPORTED
    if status == STATUS_UNWRITTEN:
        return DiskError.PROTOCOL
    return DiskError.IO_ERROR
