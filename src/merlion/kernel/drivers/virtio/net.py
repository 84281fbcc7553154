"""virtio-net, one queue pair, polled (virtio 1.2, section 5.1).

Buffer n of a queue is descriptor n of its ring, for ever. A frame has a 12-byte header before it
in both directions. No offload is negotiated, so the header of what we send is zero, and a received
frame fits one buffer; with MRG_RXBUF a device may still split one, and the parts are joined.

Doorbells are batched: `transmit` only fills the ring, `flush` (or the next `receive`) rings once.
Receive buffers go back to the device at once, but the doorbell is rung only if the device asked
for it, which it does when it has run dry.
"""

from bare import Arena, Array, Bytes, Slice, Struct, array, u8, u16, u32, u64, usize
from bare.unsafe import address_of
from merlion.kernel.clock import now_ns
from merlion.kernel.drivers.errors import NicError
from merlion.kernel.drivers.virtio.queue import Queue, RingError
from merlion.kernel.drivers.virtio.registers import (
    DESCRIPTOR_WRITE,
    NET_FEATURE_MAC,
    NET_FEATURE_MRG_RXBUF,
    NET_HEADER_BYTES,
    NET_MAC,
    NET_RECEIVE_QUEUE,
    NET_TRANSMIT_QUEUE,
    NetHeader,
)
from merlion.kernel.drivers.virtio.transport import (
    Transport,
    VirtioError,
    go,
    make_queue,
    negotiate,
    reset,
)

QUEUE_SIZE_MAX = 256
BUFFER_BYTES = 2048  # A header and an Ethernet frame with room to spare: no page is straddled.
FRAME_BYTES_MAX = BUFFER_BYTES - NET_HEADER_BYTES
TRANSMIT_TIMEOUT_NS = 5_000_000_000  # A full ring of which nothing was sent for this long.
MAC_BYTES = 6
DEFAULT_MAC = (
    0x52,
    0x54,
    0x00,
    0x4D,
    0x45,
    0x52,
)  # Locally administered, when the device has none.

WANTED = NET_FEATURE_MAC | NET_FEATURE_MRG_RXBUF


def nic_error(error: VirtioError) -> NicError:
    """Say of a network device what went wrong with it."""
    match error:
        case VirtioError.RESET_TIMEOUT:
            return NicError.NO_ANSWER
        case VirtioError.LEGACY:
            return NicError.LEGACY
        case VirtioError.FEATURES_REFUSED:
            return NicError.FEATURES_REFUSED
        case VirtioError.QUEUE_MISSING:
            return NicError.NO_QUEUE
        case VirtioError.NO_MEMORY:
            return NicError.NO_MEMORY


class VirtioNet(Struct):
    """One network device."""

    transport: Transport | None
    receive_queue: Queue
    transmit_queue: Queue
    receive_buffers: Slice[u8]
    transmit_buffers: Slice[u8]
    free: Slice[u16]  # A stack of transmit buffers.
    free_count: u16
    mac: Array[u8] = array(MAC_BYTES)
    unflushed: bool  # Something was offered since the last doorbell.
    full_since_ns: u64  # 0 while the transmit ring has room.
    fault: NicError | None  # Set once the device has been given up.

    received_frames: u64
    transmitted_frames: u64
    dropped_frames: u64  # Received but longer than the caller's frame, or malformed.

    timeout_ns: u64 = TRANSMIT_TIMEOUT_NS

    def init(self, transport: Transport, memory: Arena) -> NicError | None:
        """Start the device and hand it every receive buffer."""
        self.transport = transport
        self.receive_queue.size = 0
        self.transmit_queue.size = 0
        self.free = self.free[:0]
        error = self.start(memory)
        self.fault = error
        return error

    def start(self, memory: Arena) -> NicError | None:
        """Negotiate, lay out both rings, fill the receive ring, go. Also after a reset."""
        transport = self.transport
        assert transport is not None, "the device has a transport since init"
        features = negotiate(transport, WANTED)
        if isinstance(features, VirtioError):
            return nic_error(features)
        error = make_queue(transport, self.receive_queue, memory, NET_RECEIVE_QUEUE, QUEUE_SIZE_MAX)
        if error is not None:
            return nic_error(error)
        error = make_queue(
            transport, self.transmit_queue, memory, NET_TRANSMIT_QUEUE, QUEUE_SIZE_MAX
        )
        if error is not None:
            return nic_error(error)
        if not self.make_buffers(memory):
            return NicError.NO_MEMORY

        for i in range(MAC_BYTES):
            self.mac[i] = DEFAULT_MAC[i]
            if features & NET_FEATURE_MAC:
                self.mac[i] = transport.config_u8(u32(NET_MAC + i))
        self.fault = None
        go(transport)
        self.fill_receive_ring()
        return None

    def make_buffers(self, memory: Arena) -> bool:
        """Take the buffers from `memory`, the first time."""
        if len(self.free) != 0:
            return True
        receive_bytes: usize = self.receive_queue.size * BUFFER_BYTES
        transmit_bytes: usize = self.transmit_queue.size * BUFFER_BYTES
        if not memory.fits(u8, receive_bytes + transmit_bytes + BUFFER_BYTES):
            return False
        self.receive_buffers = memory.slice(u8, receive_bytes)
        self.transmit_buffers = memory.slice(u8, transmit_bytes)
        self.free = memory.slice(u16, self.transmit_queue.size)
        return True

    def fill_receive_ring(self) -> None:
        """Describe every buffer and give the device those it is to receive into."""
        queue = self.receive_queue
        for i in range(queue.size):
            address = address_of(self.receive_buffers) + i * BUFFER_BYTES
            queue.describe(u16(i), address, BUFFER_BYTES, DESCRIPTOR_WRITE, 0)
            queue.offer(u16(i))
        self.free_count = self.transmit_queue.size
        for i in range(self.free_count):
            self.free[i] = u16(i)
        self.full_since_ns = 0
        self.unflushed = False
        if queue.publish():
            self.notify(NET_RECEIVE_QUEUE)

    def notify(self, queue: u16) -> None:
        """Ring a doorbell."""
        transport = self.transport
        assert transport is not None, "a running device has a transport"
        transport.notify(queue)

    def give_up(self, error: NicError) -> None:
        """Reset the device so that it owns no memory of ours."""
        transport = self.transport
        assert transport is not None, "a running device has a transport"
        self.fault = error
        if not reset(transport):
            self.fault = NicError.NO_ANSWER

    def receive(self, frame: Slice[u8]) -> usize:
        """Copy the next received frame into `frame`. Returns its length, 0 when there is none."""
        if self.fault is not None:
            return 0
        self.flush()
        queue = self.receive_queue
        completion = queue.take()
        if completion is None:
            return 0
        if isinstance(completion, RingError):
            self.give_up(NicError.PROTOCOL)
            return 0
        if not NET_HEADER_BYTES <= completion.length <= BUFFER_BYTES:
            self.give_up(NicError.PROTOCOL)
            return 0
        buffer = self.receive_buffer(completion.head)
        header = NetHeader.view(buffer)
        assert header is not None, "a buffer holds a header"
        parts = header.buffer_count
        part = buffer[NET_HEADER_BYTES : completion.length]
        length = len(part)
        fits = length <= len(frame)
        if fits:
            frame[:length].copy_from(part)
        queue.offer(completion.head)
        if parts > 1:
            length = self.receive_rest(frame, length, parts)
            fits = length != 0
            if self.fault is not None:
                return 0
        if queue.publish():
            self.notify(NET_RECEIVE_QUEUE)
        if not fits or length == 0:
            self.dropped_frames += 1
            return 0
        self.received_frames += 1
        return length

    def receive_rest(self, frame: Slice[u8], first: usize, parts: u16) -> usize:
        """Join the other buffers of a split frame. Returns the whole length, 0 to drop it.

        The device shows all of a frame's buffers at once (section 5.1.6.4).
        """
        queue = self.receive_queue
        if queue.ready_count() < parts - 1:
            self.give_up(NicError.PROTOCOL)
            return 0
        length = first
        for _ in range(parts - 1):
            completion = queue.take()
            if completion is None or isinstance(completion, RingError):
                self.give_up(NicError.PROTOCOL)
                return 0
            if completion.length > BUFFER_BYTES:
                self.give_up(NicError.PROTOCOL)
                return 0
            part = self.receive_buffer(completion.head)[: completion.length]
            if length + len(part) <= len(frame):
                frame[length : length + len(part)].copy_from(part)
            length += len(part)
            queue.offer(completion.head)
        return length if length <= len(frame) else 0

    def receive_buffer(self, index: u16) -> Slice[u8]:
        """Return a receive buffer."""
        return self.receive_buffers[index * BUFFER_BYTES : (index + 1) * BUFFER_BYTES]

    def has_room(self) -> bool:
        """Say whether `transmit` would take a frame now."""
        if self.fault is not None:
            return False
        if self.free_count == 0:
            self.reclaim()
        if self.free_count == 0:
            self.note_full()
        return self.free_count != 0

    def transmit(self, frame: Bytes) -> bool:
        """Queue a frame. False when it is too long, or the ring is full (then try again later).

        It leaves at the next `flush` or `receive`.
        """
        if len(frame) > FRAME_BYTES_MAX or not self.has_room():
            return False
        self.free_count -= 1
        index = self.free[self.free_count]
        start: usize = index * BUFFER_BYTES
        byte_count = NET_HEADER_BYTES + len(frame)
        buffer = self.transmit_buffers[start : start + byte_count]
        buffer[:NET_HEADER_BYTES].fill(0)
        buffer[NET_HEADER_BYTES:].copy_from(frame)
        self.transmit_queue.describe(index, address_of(buffer), u32(byte_count), 0, 0)
        self.transmit_queue.offer(index)
        self.unflushed = True
        self.transmitted_frames += 1
        return True

    def flush(self) -> None:
        """Show the device what `transmit` queued, and take back what it has sent."""
        if not self.unflushed or self.fault is not None:
            return
        self.unflushed = False
        if self.transmit_queue.publish():
            self.notify(NET_TRANSMIT_QUEUE)

    def reclaim(self) -> None:
        """Take back the buffers of sent frames."""
        self.flush()
        while True:
            completion = self.transmit_queue.take()
            if completion is None:
                return
            if isinstance(completion, RingError):
                self.give_up(NicError.PROTOCOL)
                return
            self.free[self.free_count] = completion.head
            self.free_count += 1
            self.full_since_ns = 0

    def note_full(self) -> None:
        """Give the device up when its ring has been full for too long."""
        if self.fault is not None:
            return
        now = now_ns()
        if self.full_since_ns == 0:
            self.full_since_ns = now
        elif now - self.full_since_ns > self.timeout_ns:
            self.give_up(NicError.TIMEOUT)
