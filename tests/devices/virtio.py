"""A virtio device (1.2): status, features and split rings, without transport and without kind.

It asserts what sections 2 and 3 ask of a driver: the order of start-up, features that were offered,
rings inside the size agreed, chains that are complete, no chain offered twice, and no change of a
descriptor that the device owns.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from devices.machine import load, load_int, store, store_int

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
VERSION_1 = 1 << 32
NEXT, WRITE, INDIRECT = 1, 2, 4


@dataclass
class Buffer:
    """One descriptor of a chain."""

    address: int
    length: int
    writable: bool

    def read(self) -> bytes:
        assert not self.writable, "the device reads a buffer it was given to write"
        return load(self.address, self.length)


@dataclass
class Chain:
    """A request as the device sees it."""

    queue: "ModelQueue"
    head: int
    buffers: list[Buffer]
    raw: bytes  # The descriptors when they were offered.

    @property
    def readable(self) -> bytes:
        """Everything the driver wants to say."""
        return b"".join(b.read() for b in self.buffers if not b.writable)

    @property
    def writable_bytes(self) -> int:
        return sum(b.length for b in self.buffers if b.writable)

    def write(self, data: bytes) -> int:
        """Scatter `data` over the writable buffers."""
        at = 0
        for buffer in self.buffers:
            if buffer.writable and at < len(data):
                part = data[at : at + buffer.length]
                store(buffer.address, part)
                at += len(part)
        assert at == len(data), "the driver's buffers are too small for the answer"
        return at


@dataclass
class ModelQueue:
    """The device's end of a split ring."""

    size_max: int
    size: int = 0
    enabled: bool = False
    descriptors: int = 0
    avail: int = 0
    used: int = 0
    avail_idx: int = 0
    used_idx: int = 0
    owned: dict[int, Chain] = field(default_factory=dict)
    kicks: int = 0

    def reset(self) -> None:
        self.__dict__.update(ModelQueue(self.size_max).__dict__)

    def chain(self, head: int) -> Chain:
        """Read a chain, asserting that it is one (2.7.5)."""
        assert head < self.size, f"head {head} outside a ring of {self.size}"
        assert head not in self.owned, f"chain {head} is offered twice"
        buffers: list[Buffer] = []
        raw = b""
        index = head
        while True:
            assert index < self.size, "descriptor index outside the ring"
            assert len(buffers) < self.size, "a chain has a loop"
            text = load(self.descriptors + index * 16, 16)
            raw += text
            flags = int.from_bytes(text[12:14], "little")
            assert not flags & INDIRECT, "INDIRECT was not negotiated"
            length = int.from_bytes(text[8:12], "little")
            assert length > 0, "an empty buffer"
            writable = bool(flags & WRITE)
            if buffers and buffers[-1].writable:
                assert writable, "readable buffers come before writable ones (2.7.4.2)"
            buffers.append(Buffer(int.from_bytes(text[:8], "little"), length, writable))
            if not flags & NEXT:
                break
            index = int.from_bytes(text[14:16], "little")
        return Chain(self, head, buffers, raw)

    def take(self) -> Chain | None:
        """Take the next offered chain."""
        idx = load_int(self.avail + 2, 2)
        pending = (idx - self.avail_idx) % 65536
        assert pending <= self.size, "more chains offered than the ring holds"
        if pending == 0:
            return None
        head = load_int(self.avail + 4 + self.avail_idx % self.size * 2, 2)
        self.avail_idx = (self.avail_idx + 1) % 65536
        chain = self.chain(head)
        self.owned[head] = chain
        return chain

    def finish(self, chain: Chain, length: int) -> None:
        """Give a chain back."""
        again = self.owned.pop(chain.head)
        assert self.chain(chain.head).raw == again.raw, "a descriptor in flight was changed"
        self.put_used(chain.head, length)

    def put_used(self, id: int, length: int) -> None:
        place = self.used + 4 + self.used_idx % self.size * 8
        store_int(place, 4, id)
        store_int(place + 4, 4, length)
        self.used_idx = (self.used_idx + 1) % 65536
        store_int(self.used + 2, 2, self.used_idx)

    def set_no_notify(self, value: bool) -> None:
        store_int(self.used, 2, int(value))


class VirtioModel:
    """What every device has. A kind subclasses `process` and `config_bytes`."""

    kind = 0

    def __init__(self, *, features: int, queue_sizes: list[int]) -> None:
        self.features = features | VERSION_1
        self.queues = [ModelQueue(size) for size in queue_sizes]
        self.status = 0
        self.driver_features = 0
        self.generation = 0
        self.log: list[str] = []
        # Faults.
        self.silent = False  # Takes requests and never answers.
        self.refuses_features = False
        self.never_resets = False
        self.polls_to_reset = 0
        self.on_kick: Callable[[int], None] | None = None

    def config_bytes(self) -> bytes:
        return b""

    def process(self, queue: ModelQueue, chain: Chain) -> None:
        raise NotImplementedError

    def accepted(self, bit: int) -> bool:
        return bool(self.driver_features & bit)

    def read_status(self) -> int:
        if self.status == 0 and self.polls_to_reset > 0:
            self.polls_to_reset -= 1
            return ACKNOWLEDGE
        return self.status

    def write_status(self, value: int) -> None:
        """The order of section 3.1.1."""
        self.log.append(f"status {value}")
        if value == 0:
            if self.never_resets:
                self.status = FAILED
                return
            self.status = 0
            self.driver_features = 0
            for queue in self.queues:
                queue.reset()
            return
        if value & FAILED:
            self.status |= FAILED
            return
        old = self.status
        assert value & old == old, "a status bit was cleared without a reset (2.1.1)"
        new = value & ~old
        if new & DRIVER:
            assert value & ACKNOWLEDGE
        if new & FEATURES_OK:
            assert old & DRIVER, "FEATURES_OK before DRIVER"
            assert self.driver_features & VERSION_1, "VERSION_1 was not accepted"
            if self.refuses_features:
                value &= ~FEATURES_OK
        if new & DRIVER_OK:
            assert old & FEATURES_OK, "DRIVER_OK before FEATURES_OK"
        self.status = value

    def set_features(self, half: int, value: int) -> None:
        assert self.status & DRIVER, "features before DRIVER"
        assert not self.status & FEATURES_OK, "features after FEATURES_OK"
        shift = half * 32
        self.driver_features &= ~(0xFFFFFFFF << shift)
        self.driver_features |= value << shift
        assert self.driver_features & ~self.features == 0, "accepted what was not offered"

    def enable(self, index: int) -> None:
        queue = self.queues[index]
        assert self.status & FEATURES_OK, "a queue before FEATURES_OK"
        assert not self.status & DRIVER_OK, "a queue after DRIVER_OK"
        assert not queue.enabled
        assert 0 < queue.size <= queue.size_max, "queue size beyond the device's"
        assert queue.size & (queue.size - 1) == 0, "split ring size is no power of two"
        assert queue.descriptors % 16 == 0
        assert queue.avail % 2 == 0
        assert queue.used % 4 == 0
        assert load_int(queue.avail + 2, 2) == 0, "a ring must start at 0"
        queue.enabled = True

    def kick(self, index: int) -> None:
        """A doorbell."""
        assert self.status & DRIVER_OK, "a doorbell before DRIVER_OK"
        queue = self.queues[index]
        assert queue.enabled
        assert load_int(queue.avail, 2) & 1, "the driver polls and must say NO_INTERRUPT"
        queue.kicks += 1
        if self.on_kick is not None:
            self.on_kick(index)
            return
        if not self.silent:
            self.run(index)

    def run(self, index: int) -> None:
        """Work off what is offered."""
        queue = self.queues[index]
        while (chain := queue.take()) is not None:
            self.process(queue, chain)


class BlockModel(VirtioModel):
    """virtio-blk (5.2) over bytes."""

    kind = 2

    def __init__(
        self,
        data: bytes,
        *,
        queue_size: int = 256,
        size_max: int | None = None,
        seg_max: int | None = 254,
        blk_size: int | None = 512,
        sectors: int | None = None,
    ) -> None:
        features = 0
        if size_max is not None:
            features |= 1 << 1
        if seg_max is not None:
            features |= 1 << 2
        if blk_size is not None:
            features |= 1 << 6
        super().__init__(features=features | 1 << 9 | 1 << 28 | 1 << 29, queue_sizes=[queue_size])
        self.data = data
        self.size_max = size_max
        self.seg_max = seg_max
        self.blk_size = blk_size
        self.sectors = len(data) // 512 if sectors is None else sectors
        self.requests: list[tuple[int, int]] = []
        self.fail_at: dict[int, int] = {}  # Request number -> status.
        self.die_at: int | None = None
        self.depth_seen = 0
        self.reorder = False
        self.deferred: list[tuple[ModelQueue, Chain, bytes]] = []

    def config_bytes(self) -> bytes:
        size_max = 0xDEAD if self.size_max is None else self.size_max
        seg_max = 0xDEAD if self.seg_max is None else self.seg_max
        blk_size = 0xDEAD if self.blk_size is None else self.blk_size
        return (
            self.sectors.to_bytes(8, "little")
            + size_max.to_bytes(4, "little")
            + seg_max.to_bytes(4, "little")
            + bytes(4)
            + blk_size.to_bytes(4, "little")
            + bytes(40)
        )

    def process(self, queue: ModelQueue, chain: Chain) -> None:
        self.depth_seen = max(self.depth_seen, len(queue.owned))
        header = chain.readable
        assert len(header) == 16, "a request begins with 16 readable bytes"
        kind = int.from_bytes(header[:4], "little")
        sector = int.from_bytes(header[8:], "little")
        assert kind == 0, "only reads are expected"
        status = chain.buffers[-1]
        assert status.writable
        assert status.length == 1
        segments = chain.buffers[1:-1]
        if self.accepted(1 << 2):
            assert self.seg_max is not None
            assert len(segments) <= self.seg_max, "more segments than SEG_MAX"
        else:
            assert len(segments) == 1, "one segment without SEG_MAX"
        if self.accepted(1 << 1):
            assert self.size_max is not None
            assert all(s.length <= self.size_max for s in segments), "segment above SIZE_MAX"
        length = sum(s.length for s in segments)
        block = self.blk_size if self.blk_size is not None else 512
        assert length % 512 == 0
        assert length % block == 0, "not whole blocks"
        assert sector * 512 % block == 0
        assert sector + length // 512 <= self.sectors, "beyond the capacity"
        number = len(self.requests)
        self.requests.append((sector, length))
        if self.die_at is not None and number >= self.die_at:
            return
        code = self.fail_at.get(number, 0)
        body = self.data[sector * 512 : sector * 512 + length]
        if len(body) < length:  # The host's file is shorter than the device says.
            code = 1
            body = body.ljust(length, b"\0")
        answer = body + bytes([code])
        if self.reorder:
            self.deferred.append((queue, chain, answer))
            return
        queue.finish(chain, chain.write(answer))

    def run(self, index: int) -> None:
        super().run(index)
        if self.reorder:
            for queue, chain, answer in reversed(self.deferred):
                queue.finish(chain, chain.write(answer))
            self.deferred.clear()


class NetModel(VirtioModel):
    """virtio-net (5.1): keeps what was sent, delivers what a test injects."""

    kind = 1
    MAC = bytes.fromhex("525400123456")

    def __init__(self, *, queue_size: int = 256, features: int = 1 << 5 | 1 << 15 | 1 << 16):
        super().__init__(features=features | 0b11 | 1 << 17, queue_sizes=[queue_size, queue_size])
        self.sent: list[bytes] = []

    def config_bytes(self) -> bytes:
        return self.MAC + b"\1\0" + bytes(24)

    def run(self, index: int) -> None:
        if index == 1:
            super().run(index)

    def process(self, queue: ModelQueue, chain: Chain) -> None:
        packet = chain.readable
        assert len(packet) > 12, "the header has 12 bytes with VERSION_1"
        assert packet[:12] == bytes(12), "no offload was negotiated"
        self.sent.append(packet[12:])
        queue.finish(chain, 0)

    def deliver(self, frame: bytes, *, split: int | None = None) -> bool:
        """Receive a frame from the network, in buffers of `split` bytes if asked."""
        queue = self.queues[0]
        assert self.status & DRIVER_OK
        parts = [frame]
        if split is not None:
            assert self.accepted(1 << 15)
            parts = [frame[i : i + split] for i in range(0, len(frame), split)]
        header = bytes(10) + len(parts).to_bytes(2, "little")
        chains = []
        for _ in parts:
            chain = queue.take()
            if chain is None:
                return False
            chains.append(chain)
        for chain, part in zip(chains, parts, strict=True):
            text = header + part if chain is chains[0] else part
            queue.finish(chain, chain.write(text))
        return True
