"""PCI enumeration against a configuration-space model."""

from typing import Any

import pytest
from devices.machine import Machine
from devices.pci import (
    Bridge,
    EcamWindow,
    Function,
    MemoryWindow,
    ModelBar,
    PciModel,
    PortWindow,
    Scratch,
)
from plug import ECAM, WINDOW, plug_pci

from bare.testing import implementations
from merlion.kernel.pci.bus import PciBus
from merlion.kernel.pci.config import ConfigSpace
from merlion.kernel.pci.registers import CAPABILITY_VENDOR

MIB = 1 << 20

names = implementations("merlion.kernel.pci.names")


def function(*bars: tuple[int, ModelBar], class_code: int = 0x020000) -> Function:
    made = Function(0x8086, 0x10D3, class_code)
    made.bars.update(bars)
    return made


def enumerate_all(machine: Machine, pci: PciModel, *, ecam: int = ECAM) -> PciBus:
    if ecam:
        plug_pci(machine, pci)
    else:
        machine.add_ports(0xCF8, 8, PortWindow(pci))
        machine.add(WINDOW, ECAM - WINDOW, MemoryWindow(pci, WINDOW))
    bus = PciBus.zeroed()
    bus.enumerate(ecam, WINDOW, ECAM)
    return bus


@pytest.mark.parametrize("ecam", [ECAM, 0])
def test_finds_and_assigns(machine: Machine, ecam: int) -> None:
    pci = PciModel()
    pci.root[0] = Function(0x8086, 0x29C0, 0x060000)
    card = function(
        (0, ModelBar(0x20000, Scratch())),
        (1, ModelBar(0x20, is_io=True)),
        (2, ModelBar(MIB, Scratch(), is_64=True, prefetchable=True)),
        (4, ModelBar(0x1000, Scratch())),
    )
    pci.root[0x18] = card
    bus = enumerate_all(machine, pci, ecam=ecam)
    assert bus.count == 2
    host, found = bus.devices[0], bus.devices[1]
    assert (host.class_code, host.subclass, host.address) == (6, 0, 0)
    assert (found.vendor_id, found.device_id, found.address) == (0x8086, 0x10D3, 0x18)
    assert found.class_code == 2
    sizes = [bar.byte_count for bar in found.bars]
    assert sizes == [0x20000, 0x20, MIB, 0, 0x1000, 0]
    assert [bar.is_memory for bar in found.bars][:3] == [True, False, True]
    assert found.bars[2].is_64
    assert found.bars[2].prefetchable
    places = [found.bars[i].address for i in (0, 2, 4)]
    assert places == [WINDOW, WINDOW + MIB, WINDOW + 2 * MIB]
    assert card.command == 0
    bus.enable(found)
    assert card.command == 0x406
    machine.write(places[2], 4, 99)
    assert card.bars[4].window.read(0, 4) == 99  # type: ignore[union-attr]
    bus.disable(found)
    assert card.command == 0x402


def test_keeps_what_the_firmware_assigned(machine: Machine) -> None:
    """Regression: a 64-bit BAR that OVMF put above 4 GiB."""
    pci = PciModel()
    high = ModelBar(0x4000, Scratch(), is_64=True, value=0xE0_0000_4000)
    low = ModelBar(0x1000, Scratch(), value=0xFEBF_1000)
    card = function((0, high), (2, low))
    card.put(0x04, 2, 0x0007)
    pci.root[0x10] = card
    bus = enumerate_all(machine, pci)
    found = bus.devices[0]
    assert found.bars[0].address == 0xE0_0000_4000
    assert found.bars[2].address == 0xFEBF_1000
    assert (high.address, low.address) == (0xE0_0000_4000, 0xFEBF_1000)
    assert card.command == 7
    assert bus.window_next == WINDOW


def test_a_bar_larger_than_4_gib_is_left_out(machine: Machine) -> None:
    pci = PciModel()
    pci.root[0x10] = function((0, ModelBar(1 << 34, Scratch(), is_64=True, prefetchable=True)))
    bus = enumerate_all(machine, pci)
    assert bus.devices[0].bars[0].byte_count == 1 << 34
    assert bus.devices[0].bars[0].address == 0
    assert bus.unassigned == 1


def test_functions_of_a_device(machine: Machine) -> None:
    pci = PciModel()
    pci.root[0xF8] = Function(1, 1, 0x060100, multifunction=True)
    pci.root[0xFA] = Function(1, 2, 0x010601)
    pci.root[0xFB] = Function(1, 3, 0x0C0500)
    pci.root[0x09] = Function(1, 4, 0x020000)  # No function 0: not there.
    bus = enumerate_all(machine, pci)
    assert [bus.devices[i].address for i in range(bus.count)] == [0xF8, 0xFA, 0xFB]


def test_bridges_without_firmware(machine: Machine) -> None:
    """Two ports; behind the first another bridge. Configuration and memory must get through."""
    pci = PciModel()
    first, second, inner = Bridge(), Bridge(), Bridge()
    deep = function((0, ModelBar(0x4000, Scratch(), is_64=True, prefetchable=True)))
    near = function((0, ModelBar(0x10000, Scratch())))
    pci.root[0x08] = first
    pci.root[0x10] = second
    first.children[0x00] = inner
    inner.children[0x00] = deep
    second.children[0x00] = near
    empty = Bridge()
    pci.root[0x18] = empty
    bus = enumerate_all(machine, pci)
    numbers = [bytes(b.bytes[0x18:0x1B]) for b in (first, inner, second, empty)]
    assert numbers == [b"\0\1\2", b"\1\2\2", b"\0\3\3", b"\0\4\4"]
    found = {bus.devices[i].address: bus.devices[i] for i in range(bus.count)}
    assert set(found) == {0x08, 0x10, 0x18, 0x100, 0x200, 0x300}
    for address, card in ((0x200, deep), (0x300, near)):
        device = found[address]
        bus.enable(device)
        machine.write(device.bars[0].address + 8, 4, address)
        assert card.bars[0].window.read(8, 4) == address  # type: ignore[union-attr]
    assert not empty.forwards(WINDOW + 2 * MIB)


def test_bridges_with_firmware(machine: Machine) -> None:
    pci = PciModel()
    bridge = Bridge(secondary=5, subordinate=6)
    bridge.put(0x04, 2, 0x0006)
    bridge.put(0x20, 4, 0xFE10_FE00)
    bridge.children[0x00] = function((0, ModelBar(0x1000, Scratch(), value=0xFE00_0000)))
    pci.root[0x08] = bridge
    new = Bridge()
    new.children[0x00] = function()
    pci.root[0x10] = new
    bus = enumerate_all(machine, pci)
    assert bytes(bridge.bytes[0x18:0x1B]) == b"\0\5\6"
    assert new.bytes[0x19] > 6
    assert bridge.get(0x20, 4) == 0xFE10_FE00
    assert bus.count == 4
    assert bus.devices[1].bars[0].address == 0xFE00_0000


def test_bridges_with_numbers_but_closed(machine: Machine) -> None:
    """What qboot leaves on q35."""
    pci = PciModel()
    bridge = Bridge(secondary=2, subordinate=2)
    card = function((0, ModelBar(0x4000, Scratch())))
    bridge.children[0x00] = card
    pci.root[0x08] = bridge
    bus = enumerate_all(machine, pci)
    assert bytes(bridge.bytes[0x18:0x1B]) == b"\0\2\2"
    device = bus.devices[1]
    bus.enable(device)
    machine.write(device.bars[0].address, 4, 5)
    assert card.bars[0].window.read(0, 4) == 5  # type: ignore[union-attr]


def test_bridges_in_a_circle_end(machine: Machine) -> None:
    pci = PciModel()
    bridge = Bridge(secondary=1, subordinate=255)
    bridge.children[0x00] = bridge
    pci.root[0x08] = bridge
    bus = enumerate_all(machine, pci)
    assert bus.count <= 64


def test_more_functions_than_room(machine: Machine) -> None:
    pci = PciModel()
    for slot in range(0, 256, 8):
        for number in range(4):
            pci.root[slot + number] = Function(1, slot + 1, 0x020000, multifunction=True)
    bus = enumerate_all(machine, pci)
    assert bus.count == 64
    assert bus.left_out == 64


def test_capabilities(machine: Machine) -> None:
    pci = PciModel()
    card = function()
    for id in (0x11, 0x09, 0x10, 0x09):
        card.add_capability(id, bytes(6))
    pci.root[0x18] = card
    machine.add(ECAM, 1 << 28, EcamWindow(pci))
    config = ConfigSpace(ECAM)
    assert config.find_capability(0x18, CAPABILITY_VENDOR, 0) == 0x48
    assert config.find_capability(0x18, CAPABILITY_VENDOR, 0x48) == 0x58
    assert config.find_capability(0x18, CAPABILITY_VENDOR, 0x58) == 0
    assert config.find_capability(0x18, 0x05, 0) == 0
    card.bytes[0x59] = 0x40  # A list that bites its tail.
    assert config.find_capability(0x18, 0x05, 0) == 0
    card.bytes[0x06] = 0
    assert config.find_capability(0x18, CAPABILITY_VENDOR, 0) == 0


def test_enumeration_is_lean(machine: Machine) -> None:
    """On a PVM host an access costs 25 us."""
    pci = PciModel()
    bars = ((1, ModelBar(0x1000, Scratch())), (4, ModelBar(0x4000, Scratch(), is_64=True)))
    pci.root[0x08] = function(*bars)
    enumerate_all(machine, pci)
    assert machine.accesses <= 32 + 25


def test_names(names: Any) -> None:
    assert names.class_name(2, 0) == b"Ethernet controller"
    assert names.class_name(0x7F, 1) == b"Device"
    assert names.vendor_name(0x1AF4) == b"Red Hat (virtio)"
    assert names.vendor_name(1) == b""
