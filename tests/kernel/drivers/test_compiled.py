"""The hot paths of both drivers as machine code: rings in memory, the model's end run by the test.

Start-up needs registers that answer, which compiled code cannot reach here; the other tests of this
folder do that under CPython. Doorbells go to plain memory.
"""

import random
from typing import Any

import pytest
from devices.machine import load_int, store_int
from devices.virtio import DRIVER_OK, BlockModel, ModelQueue, NetModel, VirtioModel

from bare import Arena, static, u8
from bare.testing import implementations
from bare.unsafe import registers_at
from merlion.kernel.drivers.virtio.registers import MmioRegisters
from merlion.kernel.drivers.virtio.transport import VirtioMmio

impl = implementations(
    "merlion.kernel.drivers.virtio.blk",
    "merlion.kernel.drivers.virtio.net",
    "merlion.kernel.drivers.virtio.queue",
)

NOTIFY = 0x50
UNRUNG = 0xFFFF_FFFF
KEPT: list[Any] = []  # Compiled code holds addresses, which keep nothing alive.


class Bench:
    """Memory, a scratch register block, and a model with its queues connected."""

    def __init__(self, model: VirtioModel) -> None:
        self.model = model
        self.model.status = DRIVER_OK
        self.arena = Arena(static(u8, 1 << 20))
        self.registers = static(u8, 0x200)
        registers = registers_at(MmioRegisters, self.registers.address)
        self.transport = VirtioMmio.zeroed(registers=registers)
        self.transport.doorbell.registers = registers
        self.unring()
        KEPT.append(self)

    def unring(self) -> None:
        store_int(self.registers.address + NOTIFY, 4, UNRUNG)

    @property
    def rung(self) -> int:
        return load_int(self.registers.address + NOTIFY, 4)

    def connect(self, queue: Any, index: int, size: int) -> ModelQueue:
        queue.init(self.arena, index, size)
        end = self.model.queues[index]
        end.size = size
        end.descriptors = queue.descriptors.address
        end.avail = queue.avail.address
        end.used = queue.used.address
        end.enabled = True
        return end


def disk_of(impl: Any, model: BlockModel, size: int = 16) -> tuple[Bench, Any]:
    bench = Bench(model)
    disk = impl.VirtioBlk.zeroed(
        transport=bench.transport,
        sector_count=model.sectors,
        block_bytes=512,
        segment_bytes=2048,
        request_bytes=4096,
        slot_descriptors=4,
        depth=size // 4,
        started=True,
    )
    bench.connect(disk.queue, 0, size)
    disk.slots = bench.arena.slice(impl.Slot, disk.depth)
    disk.bounce = bench.arena.slice(u8, 512)
    model.driver_features = model.features
    return bench, disk


def read(bench: Bench, disk: Any, sector: int, buffer: Any) -> Any:
    error = disk.start_read(sector, buffer)
    while error is None and disk.poll_read():
        assert bench.rung == 0
        bench.unring()
        bench.model.run(0)
    return error if error is not None else disk.error


@pytest.mark.parametrize("length", [1, 512, 700, 4096, 109 * 1024 + 13])
def test_read(impl: Any, length: int) -> None:
    data = random.Random(length).randbytes(128 * 1024)
    model = BlockModel(data, size_max=2048)
    bench, disk = disk_of(impl, model)
    buffer = static(u8, length + 16)
    buffer.fill(0xEE)
    assert read(bench, disk, 3, buffer[:length]) is None
    assert bytes(buffer) == data[3 * 512 : 3 * 512 + length] + b"\xee" * 16
    assert disk.done_bytes == disk.front_bytes == length


def test_read_failures(impl: Any) -> None:
    model = BlockModel(bytes(64 * 1024), size_max=2048)
    model.fail_at = {5: 1}
    bench, disk = disk_of(impl, model)
    buffer = static(u8, 64 * 1024)
    assert read(bench, disk, 0, buffer) == impl.DiskError.IO_ERROR
    assert read(bench, disk, 0, buffer) is None
    assert disk.start_read(1, buffer) == impl.DiskError.SHORT_DISK
    disk.block_bytes = 1024
    assert disk.start_read(1, buffer[:512]) == impl.DiskError.MISALIGNED
    disk.started = False
    assert disk.start_read(0, buffer) == impl.DiskError.STOPPED


def test_silent_disk(impl: Any) -> None:
    """The scratch status register reads 0, so the reset succeeds."""
    bench, disk = disk_of(impl, BlockModel(bytes(4096), size_max=2048))
    disk.timeout_ns = 1000
    assert disk.read(0, static(u8, 4096)) == impl.DiskError.TIMEOUT
    assert disk.queue.in_flight_count == 0
    assert bench.rung == 0


def nic_of(impl: Any, size: int = 8) -> tuple[Bench, NetModel, Any]:
    model = NetModel(queue_size=size)
    model.driver_features = model.features
    bench = Bench(model)
    nic = impl.VirtioNet.zeroed(transport=bench.transport)
    bench.connect(nic.receive_queue, 0, size)
    bench.connect(nic.transmit_queue, 1, size)
    assert nic.make_buffers(bench.arena)
    nic.fill_receive_ring()
    assert bench.rung == 0
    bench.unring()
    return bench, model, nic


def test_frames(impl: Any) -> None:
    bench, model, nic = nic_of(impl)
    frame = static(u8, 2048)
    for i in range(50):
        sent = bytes((i + j) & 0xFF for j in range(60 + 20 * i))
        assert model.deliver(sent, split=600 if i % 3 == 0 else None)
        bench.unring()
        length = nic.receive(frame)
        assert bytes(frame[:length]) == sent
        assert nic.has_room()
        assert nic.transmit(sent)
        bench.unring()
        nic.flush()
        assert bench.rung == 1
        model.run(1)
        assert model.sent[-1] == sent
    assert nic.receive(frame) == 0
    assert nic.received_frames == 50


def test_full_ring(impl: Any) -> None:
    _, model, nic = nic_of(impl)
    nic.timeout_ns = 1000
    for _ in range(8):
        assert nic.transmit(bytes(60))
    while nic.fault is None:
        assert not nic.has_room()
    assert nic.fault == impl.NicError.TIMEOUT
    assert model.sent == []
