"""What the machine consists of, found once at boot: ACPI, then PCI if there is one, then virtio.

Every access to a device that does not exist costs a virtual machine an exit for nothing, so each
bus is looked for only where something says that it exists:

- MCFG (q35, real machines): ECAM. Without it, the ports, if a register answers behind them.
- A hardware-reduced machine (microvm) has PCI if its namespace has a PCI Express root; QEMU 7.2
  gives it no MCFG, so the address is microvm's.
- `pci=off` on the command line (Firecracker writes it) means what it says; and a machine without
  ACPI whose command line names virtio-mmio devices has no PCI.
"""

from bare import Bytes, Struct, u64
from merlion.kernel.acpi import Acpi
from merlion.kernel.drivers.virtio.discover import VirtioDevices
from merlion.kernel.memory.paging import map_device
from merlion.kernel.pci.bus import PciBus
from merlion.kernel.pci.config import has_ports

FOUR_GIB = 1 << 32
ECAM_BUS_BYTES = 1 << 20
MICROVM_ECAM = 0xE000_0000
# Where BARs go that no firmware has placed. The ends keep clear of ECAM and of the chip set.
MICROVM_WINDOW = 0xC000_0000
MICROVM_WINDOW_END = 0xE000_0000
PC_WINDOW = 0xE000_0000
PC_WINDOW_END = 0xFD00_0000


class Hardware(Struct):
    """All that was found."""

    acpi: Acpi
    has_pci: bool
    pci: PciBus
    virtio: VirtioDevices

    def discover(self, rsdp: u64, command_line: Bytes) -> None:
        """Find everything. `rsdp` as PVH gave it, 0 if it did not."""
        self.acpi.read(rsdp)
        self.virtio.clear()
        self.virtio.scan_command_line(command_line)
        for index in range(self.acpi.mmio_slot_count):
            self.virtio.add_mmio(self.acpi.mmio_slots[index])
        self.has_pci = self.enumerate_pci(command_line)
        if self.has_pci:
            self.map_bars()
            self.virtio.scan_pci(self.pci)
        elif self.virtio.count == 0 and (self.acpi.hardware_reduced or not self.acpi.present):
            self.virtio.scan_microvm()

    def enumerate_pci(self, command_line: Bytes) -> bool:
        """Enumerate PCI if the machine has it."""
        if command_line.find(b"pci=off") >= 0:
            return False
        if not self.acpi.present and self.virtio.count != 0:
            return False
        if not self.acpi.hardware_reduced and self.acpi.ecam == 0 and not has_ports():
            return False
        if self.acpi.hardware_reduced and self.acpi.ecam == 0:
            if not self.acpi.has_pcie_root:
                return False
            self.pci.enumerate(MICROVM_ECAM, MICROVM_WINDOW, MICROVM_WINDOW_END)
            return True
        if self.acpi.ecam >= FOUR_GIB and not map_device(self.acpi.ecam, 256 * ECAM_BUS_BYTES):
            self.pci.enumerate(0, PC_WINDOW, PC_WINDOW_END)
            return True
        if self.acpi.ecam == MICROVM_ECAM:
            self.pci.enumerate(self.acpi.ecam, MICROVM_WINDOW, MICROVM_WINDOW_END)
        else:
            self.pci.enumerate(self.acpi.ecam, PC_WINDOW, PC_WINDOW_END)
        return True

    def map_bars(self) -> None:
        """Map what lies above 4 GiB; below that all device memory is mapped from the start."""
        for index in range(self.pci.count):
            device = self.pci.devices[index]
            for bar in device.bars:
                if bar.is_memory and bar.address >= FOUR_GIB and bar.byte_count != 0:
                    map_device(bar.address, bar.byte_count)


hardware = Hardware.zeroed()
