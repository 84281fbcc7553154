"""virtio-blk against its model, over both transports."""

import random

import pytest
from devices.machine import Machine
from devices.virtio import BlockModel, VirtioModel
from devices.virtio_mmio import MmioTransport
from devices.virtio_pci import virtio_function
from plug import attach_mmio, attach_pci

from bare import Arena, static, u8
from merlion.kernel.drivers.errors import DISK_ERROR_TEXT, DiskError
from merlion.kernel.drivers.virtio import blk
from merlion.kernel.drivers.virtio.blk import VirtioBlk
from merlion.kernel.drivers.virtio.mmio import Slot, attach_slot
from merlion.kernel.drivers.virtio.transport import VirtioMmio, VirtioPci

REQUEST = 4096


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of 4 KiB, so that a few hundred KiB are many requests."""
    monkeypatch.setattr(blk, "REQUEST_BYTES_MAX", REQUEST)


def noise(length: int) -> bytes:
    return random.Random(length).randbytes(length)


def start(machine: Machine, model: VirtioModel) -> tuple[VirtioBlk, DiskError | None]:
    disk = VirtioBlk.zeroed()
    return disk, disk.init(attach_mmio(machine, model), Arena(static(u8, 1 << 18)))


def read(disk: VirtioBlk, sector: int, length: int) -> bytes | DiskError:
    buffer = static(u8, length + 64)
    buffer.fill(0xEE)
    error = disk.read(sector, buffer[:length])
    if error is not None:
        return error
    assert bytes(buffer[length:]) == b"\xee" * 64, "the device wrote behind the buffer"
    return bytes(buffer[:length])


@pytest.mark.parametrize("attach", [attach_mmio, attach_pci])
def test_reads_a_disk_whole(machine: Machine, attach) -> None:  # type: ignore[no-untyped-def]
    data = noise(40 * 1024)
    model = BlockModel(data)
    disk = VirtioBlk.zeroed()
    assert disk.init(attach(machine, model), Arena(static(u8, 1 << 18))) is None
    assert disk.sector_count == 80
    assert disk.byte_count == len(data)
    assert read(disk, 0, len(data)) == data
    assert model.driver_features & (1 << 28 | 1 << 29) == 0


@pytest.mark.parametrize("length", [1, 511, 512, 513, 4095, 4096, 4097, 8191, 9000])
@pytest.mark.parametrize("sector", [0, 3])
def test_reads_any_length(machine: Machine, length: int, sector: int) -> None:
    data = noise(16 * 1024)
    disk, error = start(machine, BlockModel(data))
    assert error is None
    assert read(disk, sector, length) == data[sector * 512 : sector * 512 + length]


def test_a_model_of_109_kb_needs_more_than_17_requests(machine: Machine) -> None:
    """Regression: an earlier driver panicked at the 17th request."""
    data = noise(109 * 1024)
    model = BlockModel(data, queue_size=16)
    disk, error = start(machine, model)
    assert error is None
    assert read(disk, 0, len(data)) == data
    assert len(model.requests) == 28
    assert model.depth_seen <= 16 // 3


def test_keeps_many_requests_in_flight_with_one_doorbell(machine: Machine) -> None:
    model = BlockModel(noise(64 * REQUEST))
    disk, error = start(machine, model)
    assert error is None
    model.reorder = True  # Finishes only when all are taken.
    assert isinstance(read(disk, 0, 64 * REQUEST), bytes)
    assert model.queues[0].kicks == 1
    assert len(model.requests) == 64


def test_finished_in_any_order(machine: Machine) -> None:
    data = noise(100 * 1024)
    model = BlockModel(data, queue_size=32)
    model.reorder = True
    disk, _ = start(machine, model)
    assert read(disk, 0, len(data)) == data


def test_ring_index_wraps_at_65536(machine: Machine) -> None:
    data = noise(64 * 1024)
    model = BlockModel(data, queue_size=8)
    disk, _ = start(machine, model)
    for idx in (model.queues[0],):
        idx.avail_idx = idx.used_idx = 65530
    disk.queue.avail_idx = 65530
    disk.queue.used_idx = 65530
    disk.queue.avail[0].idx.store(65530)
    disk.queue.used[0].idx.store(65530)
    assert read(disk, 0, len(data)) == data
    assert model.queues[0].used_idx == 10


@pytest.mark.parametrize("queue_size", [4, 5, 8, 100, 128, 1024])
def test_ring_has_the_size_the_device_chose(machine: Machine, queue_size: int) -> None:
    data = noise(20 * 1024)
    model = BlockModel(data, queue_size=queue_size)
    disk, error = start(machine, model)
    assert error is None
    assert model.queues[0].size == min(1 << queue_size.bit_length() - 1, 256)
    assert read(disk, 0, len(data)) == data


@pytest.mark.parametrize("queue_size", [0, 1, 2])
def test_queue_too_small(machine: Machine, queue_size: int) -> None:
    _, error = start(machine, BlockModel(noise(512), queue_size=queue_size))
    assert error == DiskError.NO_QUEUE


@pytest.mark.parametrize(("size_max", "seg_max"), [(512, 4), (1024, 1), (100, 30), (4096, None)])
def test_segments_stay_inside_the_limits(
    machine: Machine, size_max: int, seg_max: int | None
) -> None:
    data = noise(16 * 1024)
    model = BlockModel(data, size_max=size_max, seg_max=seg_max)
    disk, error = start(machine, model)
    assert error is None
    assert read(disk, 0, len(data)) == data


def test_limits_that_leave_nothing(machine: Machine) -> None:
    _, error = start(machine, BlockModel(noise(512), size_max=100, seg_max=2))
    assert error == DiskError.BLOCK_SIZE
    _, error = start(machine, BlockModel(noise(512), size_max=0))
    assert error == DiskError.BLOCK_SIZE
    _, error = start(machine, BlockModel(noise(512), blk_size=1000))
    assert error == DiskError.BLOCK_SIZE


def test_absurd_capacity(machine: Machine) -> None:
    _, error = start(machine, BlockModel(noise(512), sectors=(1 << 64) - 1))
    assert error == DiskError.BLOCK_SIZE


def test_4096_byte_blocks(machine: Machine) -> None:
    data = noise(32 * 1024)
    model = BlockModel(data, blk_size=4096)
    disk, _ = start(machine, model)
    assert read(disk, 0, 10_000) == data[:10_000]
    assert read(disk, 8, 5) == data[4096:4101]
    assert read(disk, 1, 512) == DiskError.MISALIGNED
    assert all(length % 4096 == 0 for _, length in model.requests)


def test_reads_beyond_the_end(machine: Machine) -> None:
    disk, _ = start(machine, BlockModel(noise(4096)))
    assert read(disk, 0, 4097) == DiskError.SHORT_DISK
    assert read(disk, 8, 1) == DiskError.SHORT_DISK
    assert read(disk, 1 << 50, 1) == DiskError.SHORT_DISK
    assert read(disk, (1 << 64) - 1, 1) == DiskError.SHORT_DISK
    assert read(disk, 8, 0) == b""
    assert isinstance(read(disk, 7, 512), bytes)


def test_empty_disk(machine: Machine) -> None:
    _, error = start(machine, BlockModel(b""))
    assert error == DiskError.EMPTY


def test_file_shorter_than_its_disk(machine: Machine) -> None:
    disk, _ = start(machine, BlockModel(noise(4096), sectors=64))
    assert isinstance(read(disk, 0, 4096), bytes)
    assert read(disk, 0, 8192) == DiskError.IO_ERROR
    assert isinstance(read(disk, 0, 4096), bytes)  # The disk goes on.


@pytest.mark.parametrize(
    ("status", "error"),
    [(1, DiskError.IO_ERROR), (2, DiskError.UNSUPPORTED), (0xFF, DiskError.PROTOCOL)],
)
def test_status_of_one_of_many_requests(machine: Machine, status: int, error: DiskError) -> None:
    model = BlockModel(noise(64 * 1024))
    model.fail_at = {9: status}
    disk, _ = start(machine, model)
    assert read(disk, 0, 64 * 1024) == error
    assert disk.queue.in_flight_count == 0
    assert isinstance(read(disk, 0, 64 * 1024), bytes)


def test_a_disk_that_never_answers(machine: Machine) -> None:
    model = BlockModel(noise(64 * 1024))
    disk, _ = start(machine, model)
    disk.timeout_ns = 20_000
    model.silent = True
    assert read(disk, 0, 4096) == DiskError.TIMEOUT
    assert model.status == 0  # Reset: it owns no memory of ours.
    assert read(disk, 0, 4096) == DiskError.STOPPED


def test_a_disk_that_dies_in_the_middle_and_comes_back(machine: Machine) -> None:
    data = noise(64 * 1024)
    model = BlockModel(data)
    disk = VirtioBlk.zeroed()
    memory = Arena(static(u8, 1 << 18))
    assert disk.init(attach_mmio(machine, model), memory) is None
    disk.timeout_ns = 20_000
    model.die_at = 10
    assert read(disk, 0, len(data)) == DiskError.TIMEOUT
    model.die_at = None
    memory.seal()
    assert disk.start(memory) is None
    assert read(disk, 0, len(data)) == data


def test_a_disk_that_does_not_even_reset(machine: Machine) -> None:
    model = BlockModel(noise(4096))
    disk, _ = start(machine, model)
    disk.timeout_ns = 20_000
    machine.tick_ns = 100_000
    model.silent = True
    model.never_resets = True
    assert read(disk, 0, 4096) == DiskError.NO_ANSWER
    _, error = start(machine, model)
    assert error == DiskError.NO_ANSWER


def test_start_up_failures(machine: Machine) -> None:
    model = BlockModel(noise(512))
    model.features &= ~(1 << 32)
    assert start(machine, model)[1] == DiskError.LEGACY
    assert model.status & 128
    model = BlockModel(noise(512))
    model.refuses_features = True
    assert start(machine, model)[1] == DiskError.FEATURES_REFUSED
    assert model.status & 128
    disk = VirtioBlk.zeroed()
    transport = attach_mmio(machine, BlockModel(noise(512)))
    assert disk.init(transport, Arena(static(u8, 1024))) == DiskError.NO_MEMORY


def test_slow_reset_is_waited_for(machine: Machine) -> None:
    model = BlockModel(noise(512))
    model.polls_to_reset = 5
    assert start(machine, model)[1] is None


def test_used_ring_of_a_mad_device(machine: Machine) -> None:
    for id, idx in ((7, None), (4000, None), (0, 900)):
        model = BlockModel(noise(4096))
        disk, _ = start(machine, model)
        queue = model.queues[0]

        def kick(index: int, id: int = id, idx: int | None = idx) -> None:
            queue.used_idx = 0 if idx is None else idx  # noqa: B023
            queue.put_used(id, 1)  # noqa: B023

        model.on_kick = kick
        assert read(disk, 0, 4096) == DiskError.PROTOCOL
        assert model.status == 0


def test_progress_counts_up(machine: Machine) -> None:
    data = noise(64 * 1024)
    model = BlockModel(data, queue_size=8)
    disk, _ = start(machine, model)
    buffer = static(u8, len(data))
    assert disk.start_read(0, buffer) is None
    seen = []
    while disk.poll_read():
        seen.append(disk.done_bytes)
    assert seen == sorted(seen)
    assert len(set(seen)) > 4
    assert disk.done_bytes == len(data)
    assert disk.error is None
    assert bytes(buffer) == data


class HeldBlock(BlockModel):
    """A disk that answers a request when the test says so."""

    def run(self, index: int) -> None:
        VirtioModel.run(self, index)  # Not BlockModel's, which answers all at the end.

    def finish(self, number: int) -> None:
        """Answer one of those that wait."""
        queue, chain, answer = self.deferred.pop(number)
        queue.finish(chain, chain.write(answer))


def held(machine: Machine, data: bytes, queue_size: int = 48) -> tuple[HeldBlock, VirtioBlk]:
    """A disk with up to 16 requests in flight."""
    model = HeldBlock(data, queue_size=queue_size, seg_max=None)
    model.reorder = True
    disk, error = start(machine, model)
    assert error is None
    return model, disk


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [64 * 1024, 63 * 1024 + 700, 4096, 5])
def test_front_has_no_gap(machine: Machine, seed: int, length: int) -> None:
    """Whatever the order of answers: the front holds the disk's bytes, and ends at a hole."""
    chance = random.Random(seed)
    data = noise(64 * 1024)
    model, disk = held(machine, data)
    buffer = static(u8, length)
    assert disk.start_read(0, buffer) is None
    fronts = []
    while disk.poll_read():
        front = disk.front_bytes
        waiting = [int.from_bytes(chain.readable[8:], "little") for _, chain, _ in model.deferred]
        assert front == min(waiting) * 512
        assert bytes(buffer[:front]) == data[:front]
        fronts.append(front)
        for _ in range(chance.randrange(1, 4)):
            if model.deferred:
                model.finish(chance.randrange(len(model.deferred)))
    assert fronts == sorted(fronts)
    assert disk.front_bytes == length
    assert bytes(buffer) == data[:length]


def test_front_stays_below_what_failed(machine: Machine) -> None:
    data = noise(64 * 1024)
    model, disk = held(machine, data)
    model.fail_at = {5: 1}
    buffer = static(u8, len(data))
    assert disk.start_read(0, buffer) is None
    while disk.poll_read():
        model.finish(0)
        assert disk.front_bytes <= 5 * REQUEST
    assert disk.error == DiskError.IO_ERROR
    assert disk.front_bytes == 5 * REQUEST
    assert bytes(buffer[: disk.front_bytes]) == data[: disk.front_bytes]


def test_a_read_that_is_given_up_waits_for_what_is_in_flight(machine: Machine) -> None:
    data = noise(128 * 1024)
    model, disk = held(machine, data)
    assert disk.start_read(0, static(u8, len(data))) is None
    assert disk.poll_read()
    asked = len(model.requests)
    disk.stop_read()
    polls = 0
    while disk.poll_read():
        model.finish(-1)
        polls += 1
    assert polls == asked == len(model.requests)
    assert disk.error == DiskError.ABANDONED
    model.reorder = False
    assert read(disk, 0, len(data)) == data


def test_no_doorbell_when_the_device_is_looking(machine: Machine) -> None:
    data = noise(16 * 1024)
    model = BlockModel(data)
    disk, _ = start(machine, model)
    queue = model.queues[0]
    queue.set_no_notify(True)
    assert disk.start_read(0, static(u8, len(data))) is None
    assert disk.poll_read()
    assert queue.kicks == 0
    model.run(0)
    assert not disk.poll_read()
    assert disk.error is None


def test_every_error_has_words() -> None:
    assert set(DISK_ERROR_TEXT) == set(DiskError)


def test_status_follows_the_header() -> None:
    assert blk.Slot._fields_["status"].offset == blk.HEADER_BYTES


def test_attach_refuses(machine: Machine) -> None:
    machine.add(0x1000, 0x200, MmioTransport(None))
    assert attach_slot(VirtioMmio.zeroed(), 0x1000) == Slot.EMPTY
    machine.add(0x2000, 0x200, MmioTransport(BlockModel(b""), version=1))
    assert attach_slot(VirtioMmio.zeroed(), 0x2000) == Slot.LEGACY
    assert attach_slot(VirtioMmio.zeroed(), 0x9000) == Slot.EMPTY
    assert VirtioPci.zeroed().kind == 0
    assert virtio_function(BlockModel(b"")).command == 0
