"""Plug a virtio model into a machine and give the driver's transport for it."""

from devices.machine import Machine
from devices.pci import EcamWindow, MemoryWindow, PciModel
from devices.virtio import VirtioModel
from devices.virtio_mmio import MmioTransport
from devices.virtio_pci import virtio_function

from merlion.kernel.drivers.virtio.mmio import Slot, attach_slot
from merlion.kernel.drivers.virtio.pci import attach_function
from merlion.kernel.drivers.virtio.transport import VirtioMmio, VirtioPci
from merlion.kernel.pci.bus import PciBus

ECAM = 0xE000_0000
WINDOW = 0xC000_0000


def attach_mmio(machine: Machine, model: VirtioModel) -> VirtioMmio:
    """In the next free slot of a microvm."""
    base = 0xFEB0_0000 + len(machine.windows) * 0x200
    machine.add(base, 0x200, MmioTransport(model))
    transport = VirtioMmio.zeroed()
    assert attach_slot(transport, base) == Slot.MODERN
    return transport


def plug_pci(machine: Machine, pci: PciModel) -> None:
    """ECAM and all memory that PCI decodes."""
    machine.add(ECAM, 1 << 28, EcamWindow(pci))
    machine.add(WINDOW, ECAM - WINDOW, MemoryWindow(pci, WINDOW))


def attach_pci(machine: Machine, model: VirtioModel) -> VirtioPci:
    """As the only function of a machine without firmware."""
    pci = PciModel()
    pci.root[8] = virtio_function(model)
    plug_pci(machine, pci)
    bus = PciBus.zeroed()
    bus.enumerate(ECAM, WINDOW, ECAM)
    assert bus.count == 1
    bus.enable(bus.devices[0])
    transport = VirtioPci.zeroed()
    assert attach_function(transport, bus.config, bus.devices[0])
    return transport
