"""virtio-net against its model."""

import pytest
from devices.machine import Machine
from devices.virtio import NetModel
from plug import attach_mmio, attach_pci

from bare import Arena, static, u8
from merlion.kernel.drivers.errors import NIC_ERROR_TEXT, NicError
from merlion.kernel.drivers.virtio.net import DEFAULT_MAC, VirtioNet

SIZE = 8  # Of both rings: small, so that they wrap.


def memory() -> Arena:
    return Arena(static(u8, 1 << 20))


def start(machine: Machine, model: NetModel) -> VirtioNet:
    nic = VirtioNet.zeroed()
    assert nic.init(attach_mmio(machine, model), memory()) is None
    return nic


def receive(nic: VirtioNet, room: int = 2048) -> bytes:
    frame = static(u8, room)
    return bytes(frame[: nic.receive(frame)])


def frame_of(length: int, seed: int = 0) -> bytes:
    return bytes((seed + i) & 0xFF for i in range(length))


@pytest.mark.parametrize("attach", [attach_mmio, attach_pci])
def test_both_ways(machine: Machine, attach) -> None:  # type: ignore[no-untyped-def]
    model = NetModel(queue_size=SIZE)
    nic = VirtioNet.zeroed()
    assert nic.init(attach(machine, model), memory()) is None
    assert bytes(nic.mac) == NetModel.MAC

    assert receive(nic) == b""
    assert model.deliver(frame_of(60))
    assert model.deliver(frame_of(1514, 7))
    assert receive(nic) == frame_of(60)
    assert receive(nic) == frame_of(1514, 7)
    assert receive(nic) == b""

    assert nic.transmit(frame_of(60))
    assert nic.transmit(frame_of(1514, 9))
    assert model.sent == []
    nic.flush()
    assert model.sent == [frame_of(60), frame_of(1514, 9)]
    assert model.queues[1].kicks == 1
    assert model.driver_features & 0b11 == 0  # No checksum offload was asked for.


def test_a_thousand_frames_each_way(machine: Machine) -> None:
    model = NetModel(queue_size=SIZE)
    nic = start(machine, model)
    for i in range(300):
        assert model.deliver(frame_of(60 + i, i))
        assert receive(nic) == frame_of(60 + i, i)
        assert nic.transmit(frame_of(60 + i, i))
        if i % 3 == 0:
            nic.flush()
    nic.flush()
    assert model.sent == [frame_of(60 + i, i) for i in range(300)]
    assert nic.received_frames == nic.transmitted_frames == 300


def test_receive_ring_is_full_from_the_start_and_refilled(machine: Machine) -> None:
    model = NetModel(queue_size=SIZE)
    nic = start(machine, model)
    for i in range(SIZE):
        assert model.deliver(frame_of(60, i))
    assert not model.deliver(frame_of(60))
    for i in range(SIZE):
        assert receive(nic) == frame_of(60, i)
    for i in range(SIZE):
        assert model.deliver(frame_of(60, i))


def test_receive_flushes(machine: Machine) -> None:
    model = NetModel(queue_size=SIZE)
    nic = start(machine, model)
    nic.transmit(frame_of(60))
    receive(nic)
    assert model.sent == [frame_of(60)]


def test_idle_polling_makes_no_exit(machine: Machine) -> None:
    nic = start(machine, NetModel(queue_size=SIZE))
    before = machine.accesses
    for _ in range(20):
        receive(nic)
    assert machine.accesses == before


def test_split_frames_are_joined(machine: Machine) -> None:
    model = NetModel(queue_size=SIZE)
    nic = start(machine, model)
    for _ in range(5):
        assert model.deliver(frame_of(1500), split=512)
        assert model.deliver(frame_of(70))
        assert receive(nic) == frame_of(1500)
        assert receive(nic) == frame_of(70)
    assert model.deliver(frame_of(1500), split=512)
    assert model.deliver(frame_of(70))
    assert receive(nic, 1499) == b""  # Dropped whole.
    assert receive(nic, 1499) == frame_of(70)
    assert nic.dropped_frames == 1


def test_frame_longer_than_the_room_is_dropped(machine: Machine) -> None:
    model = NetModel(queue_size=SIZE)
    nic = start(machine, model)
    assert model.deliver(frame_of(1000))
    assert model.deliver(frame_of(60))
    assert receive(nic, 999) == b""
    assert receive(nic, 999) == frame_of(60)
    assert nic.dropped_frames == 1


def test_too_long_to_transmit(machine: Machine) -> None:
    nic = start(machine, NetModel(queue_size=SIZE))
    assert not nic.transmit(bytes(2037))
    assert nic.transmit(bytes(2036))


def test_full_transmit_ring_and_a_device_that_never_sends(machine: Machine) -> None:
    model = NetModel(queue_size=SIZE)
    nic = start(machine, model)
    nic.timeout_ns = 1000
    model.silent = True
    for i in range(SIZE):
        assert nic.transmit(frame_of(60, i))
    assert not nic.has_room()
    assert not nic.transmit(frame_of(60))
    assert nic.fault is None
    model.run(1)  # It only was slow.
    assert nic.has_room()
    assert len(model.sent) == SIZE
    for i in range(SIZE):
        assert nic.transmit(frame_of(60, i))
    while nic.fault is None:
        assert not nic.transmit(frame_of(60))
    assert nic.fault == NicError.TIMEOUT
    assert model.status == 0
    assert receive(nic) == b""


def test_start_again_after_a_failure(machine: Machine) -> None:
    model = NetModel(queue_size=SIZE)
    nic = VirtioNet.zeroed()
    arena = memory()
    assert nic.init(attach_mmio(machine, model), arena) is None
    nic.transmit(frame_of(60))
    nic.give_up(NicError.TIMEOUT)
    arena.seal()
    assert nic.start(arena) is None
    assert model.deliver(frame_of(99))
    assert receive(nic) == frame_of(99)
    for i in range(SIZE):
        assert nic.transmit(frame_of(60, i))
    nic.flush()
    assert len(model.sent) == SIZE


@pytest.mark.parametrize("length", [0, 11, 2049, 1 << 31])
def test_lengths_that_cannot_be(machine: Machine, length: int) -> None:
    model = NetModel(queue_size=SIZE)
    nic = start(machine, model)
    chain = model.queues[0].take()
    assert chain is not None
    model.queues[0].finish(chain, length)
    assert receive(nic) == b""
    assert nic.fault == NicError.PROTOCOL
    assert model.status == 0


def test_parts_that_are_not_there(machine: Machine) -> None:
    model = NetModel(queue_size=SIZE)
    nic = start(machine, model)
    chain = model.queues[0].take()
    assert chain is not None
    model.queues[0].finish(chain, chain.write(bytes(10) + b"\3\0" + frame_of(60)))
    assert receive(nic) == b""
    assert nic.fault == NicError.PROTOCOL


def test_without_mac(machine: Machine) -> None:
    nic = start(machine, NetModel(queue_size=SIZE, features=0))
    assert bytes(nic.mac) == bytes(DEFAULT_MAC)


def test_start_up_failures(machine: Machine) -> None:
    def failure(model: NetModel, bytes_of_memory: int = 1 << 20) -> NicError | None:
        nic = VirtioNet.zeroed()
        arena = Arena(static(u8, bytes_of_memory))
        assert nic.init(attach_mmio(machine, model), arena) == nic.fault
        assert not nic.fault or not nic.transmit(bytes(60))
        return nic.fault

    model = NetModel()
    model.features &= ~(1 << 32)
    assert failure(model) == NicError.LEGACY
    model = NetModel()
    model.refuses_features = True
    assert failure(model) == NicError.FEATURES_REFUSED
    assert failure(NetModel(queue_size=0)) == NicError.NO_QUEUE
    assert failure(NetModel(), 60_000) == NicError.NO_MEMORY
    machine.tick_ns = 1_000_000
    model = NetModel()
    model.never_resets = True
    assert failure(model) == NicError.NO_ANSWER


def test_every_error_has_words() -> None:
    assert set(NIC_ERROR_TEXT) == set(NicError)
