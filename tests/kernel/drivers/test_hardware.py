"""Discovery: which buses are touched on which machine, and what is found."""

from devices.acpi import Firmware
from devices.machine import Machine
from devices.pci import EcamWindow, MemoryWindow, PciModel, PortWindow
from devices.virtio import BlockModel, NetModel
from devices.virtio_mmio import MmioTransport
from devices.virtio_pci import virtio_function

from bare import Arena, static, u8
from merlion.kernel.disk import DiskError, find_disk, use_memory_as_disk
from merlion.kernel.drivers.ramdisk import RamDisk
from merlion.kernel.drivers.virtio.blk import VirtioBlk
from merlion.kernel.drivers.virtio.discover import parse_number
from merlion.kernel.drivers.virtio.net import VirtioNet
from merlion.kernel.hardware import hardware
from merlion.kernel.nic import NicError, find_nic


def arena() -> Arena:
    return Arena(static(u8, 4 << 20))


def microvm(machine: Machine, disk: BlockModel | None, nic: NetModel | None) -> None:
    for slot in range(24):
        model = {23: disk, 22: nic}.get(slot)
        machine.add(0xFEB0_0000 + slot * 0x200, 0x200, MmioTransport(model))


def test_microvm_through_acpi(machine: Machine) -> None:
    disk, nic = BlockModel(bytes(1024)), NetModel()
    microvm(machine, disk, nic)
    hardware.discover(Firmware().microvm(), b"console=ttyS0")
    assert not hardware.has_pci
    assert hardware.virtio.count == 2
    assert machine.accesses == 6  # Three looks at each slot, none at PCI or at empty slots.
    assert machine.stray == []
    assert isinstance(find_disk(arena()), VirtioBlk)
    found = find_nic(arena())
    assert isinstance(found, VirtioNet)
    assert bytes(found.mac) == NetModel.MAC


def test_microvm_with_pcie(machine: Machine) -> None:
    microvm(machine, BlockModel(bytes(1024)), None)
    pci = PciModel()
    pci.root[8] = virtio_function(NetModel())
    machine.add(0xE000_0000, 1 << 28, EcamWindow(pci))
    machine.add(0xC000_0000, 1 << 29, MemoryWindow(pci, 0xC000_0000))
    hardware.discover(Firmware().microvm(pcie=True), b"")
    assert hardware.has_pci
    assert hardware.virtio.count == 2
    assert not isinstance(find_disk(arena()), DiskError)
    assert not isinstance(find_nic(arena()), NicError)


def test_q35(machine: Machine) -> None:
    pci = PciModel()
    pci.root[0x10] = virtio_function(BlockModel(bytes(1024)))
    pci.root[0x18] = virtio_function(NetModel())
    machine.add(0xB000_0000, 1 << 28, EcamWindow(pci))
    machine.add(0xE000_0000, 1 << 28, MemoryWindow(pci, 0xE000_0000))
    hardware.discover(Firmware().q35(), b"")
    assert hardware.pci.count == 2
    assert not isinstance(find_disk(arena()), DiskError)
    assert not isinstance(find_nic(arena()), NicError)


def test_pc_without_mcfg_uses_ports(machine: Machine) -> None:
    pci = PciModel()
    pci.root[0x10] = virtio_function(BlockModel(bytes(1024)))
    machine.add_ports(0xCF8, 8, PortWindow(pci))
    machine.add(0xE000_0000, 1 << 28, MemoryWindow(pci, 0xE000_0000))
    firmware = Firmware()
    hardware.discover(firmware.root([firmware.put(b"")]), b"")
    assert not isinstance(find_disk(arena()), DiskError)
    assert find_nic(arena()) == NicError.NONE_FOUND


def test_a_machine_that_says_nothing(machine: Machine) -> None:
    microvm(machine, BlockModel(bytes(1024)), NetModel())
    hardware.discover(Firmware().put(bytes(64)), b"")
    assert hardware.virtio.count == 2
    assert not hardware.has_pci


def test_command_line_names_slots(machine: Machine) -> None:
    """Firecracker: no ACPI namespace, no PCI."""
    machine.add(0xD000_0000, 0x1000, MmioTransport(BlockModel(bytes(1024))))
    machine.add(0xD000_1000, 0x1000, MmioTransport(NetModel()))
    line = (
        b"reboot=k virtio_mmio.device=4K@0xd0000000:5 "
        b"virtio_mmio.device=4K@0xd0001000:6 virtio_mmio.device=4K@0xd0000000:5 "
        b"virtio_mmio.device=4K@0xd0002000:7 virtio_mmio.device=junk"
    )
    nothing = Firmware().put(bytes(64))
    hardware.discover(nothing, line)
    assert hardware.virtio.count == 2
    assert not hardware.has_pci
    assert machine.accesses == 7  # The word of a slot where nothing is costs one.


def test_nothing_there(machine: Machine) -> None:
    firmware = Firmware()
    hardware.discover(firmware.root([firmware.put(b"")]), b"pci=off")
    assert find_disk(arena()) == DiskError.NONE_FOUND
    assert find_nic(arena()) == NicError.NONE_FOUND
    assert machine.accesses == 0


def test_legacy_devices_are_named(machine: Machine) -> None:
    """QEMU without `-global virtio-mmio.force-legacy=false`."""
    machine.add(0xFEB0_2E00, 0x200, MmioTransport(BlockModel(bytes(512)), version=1))
    machine.add(0xFEB0_2C00, 0x200, MmioTransport(NetModel(), version=1))
    hardware.discover(Firmware().microvm(), b"")
    assert find_disk(arena()) == DiskError.LEGACY
    assert find_nic(arena()) == NicError.LEGACY


def test_the_first_disk_that_works(machine: Machine) -> None:
    broken, good = BlockModel(b""), BlockModel(bytes(1024))
    machine.add(0xD000_0000, 0x200, MmioTransport(broken))
    machine.add(0xD000_0200, 0x200, MmioTransport(good))
    firmware = Firmware()
    line = b"pci=off virtio_mmio.device=512@0xd0000000:5 virtio_mmio.device=512@0xd0000200:5"
    hardware.discover(firmware.root([firmware.put(b"")]), line)
    disk = find_disk(arena())
    assert isinstance(disk, VirtioBlk)
    assert disk.sector_count == 2
    assert good.status & 4


def test_broken_capabilities_are_refused(machine: Machine) -> None:
    pci = PciModel()
    function = virtio_function(BlockModel(bytes(1024)))
    at = function.bytes.find(b"\x09", 0x50)
    while function.bytes[at + 3] != 1:  # The common configuration.
        at = function.bytes[at + 1]
    function.bytes[at + 8 : at + 12] = (0x3FF0).to_bytes(4, "little")  # Beyond the BAR.
    pci.root[0x10] = function
    machine.add(0xB000_0000, 1 << 28, EcamWindow(pci))
    machine.add(0xE000_0000, 1 << 28, MemoryWindow(pci, 0xE000_0000))
    hardware.discover(Firmware().q35(), b"")
    assert hardware.virtio.count == 0


def test_memory_as_disk() -> None:
    storage = static(u8, 1000)
    storage[600] = 7
    disk = use_memory_as_disk(storage)
    assert isinstance(disk, RamDisk)
    assert disk.sector_count == 2
    buffer = static(u8, 488)
    assert disk.read(1, buffer) is None
    assert buffer[600 - 512] == 7
    assert not disk.poll_read()
    assert disk.done_bytes == disk.front_bytes == 488
    disk.stop_read()
    assert disk.error is None
    assert disk.read(1, static(u8, 489)) == DiskError.SHORT_DISK
    assert disk.read(1 << 54, static(u8, 1)) == DiskError.SHORT_DISK


def test_numbers() -> None:
    assert parse_number(b"0xd0000000:5") == 0xD000_0000
    assert parse_number(b"4096 ") == 4096
    assert parse_number(b"") == 0
    assert parse_number(b"0xFfffffffffffffffffffff") > 0
