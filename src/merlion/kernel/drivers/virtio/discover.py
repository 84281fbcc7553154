"""Where the machine's virtio devices are: PCI functions, and MMIO slots.

Looking at an MMIO slot costs three exits, so slots are not tried at random. In order of trust:
the kernel command line (`virtio_mmio.device=4K@0xd0000000:5`, Firecracker and microvm without
ACPI), the ACPI namespace (devices `LNRO0005`), and only where a machine has neither but is known
to have slots, all of microvm's.
"""

from bare import Array, Bytes, Struct, array, u32, u64, usize
from merlion.kernel.drivers.virtio.mmio import Slot, attach_slot
from merlion.kernel.drivers.virtio.pci import attach_function, device_kind
from merlion.kernel.drivers.virtio.registers import MMIO_CONFIG
from merlion.kernel.drivers.virtio.transport import Transport, VirtioMmio, VirtioPci
from merlion.kernel.pci.bus import PciBus

DEVICES_MAX = 16
MICROVM_SLOTS = 0xFEB0_0000  # QEMU hw/i386/microvm.h
MICROVM_SLOT_BYTES = 0x200
MICROVM_SLOT_COUNT = 24
COMMAND_LINE_WORD = b"virtio_mmio.device="


class VirtioDevices(Struct):
    """Every virtio device found, started or not. MMIO first: indices count through both."""

    mmio_count: u32
    pci_count: u32
    legacy_kinds: u32  # Bit n: a device of type n speaks virtio 0.9 only.
    mmio: Array[VirtioMmio] = array(DEVICES_MAX)
    pci: Array[VirtioPci] = array(DEVICES_MAX)

    @property
    def count(self) -> u32:
        """How many devices there are."""
        return self.mmio_count + self.pci_count

    def clear(self) -> None:
        """Forget all."""
        self.mmio_count = 0
        self.pci_count = 0
        self.legacy_kinds = 0

    def kind(self, index: u32) -> u32:
        """Return the device type of a device."""
        if index < self.mmio_count:
            return self.mmio[index].kind
        return self.pci[index - self.mmio_count].kind

    def transport(self, index: u32) -> Transport:
        """Return the way to a device."""
        if index < self.mmio_count:
            return self.mmio[index]
        return self.pci[index - self.mmio_count]

    def find(self, kind: u32, start: u32) -> u32 | None:
        """Return the first device of a type from index `start` on."""
        for index in range(start, self.count):
            if self.kind(index) == kind:
                return index
        return None

    def has_legacy(self, kind: u32) -> bool:
        """Say whether a device of a type is there that we cannot drive because it is legacy."""
        return self.legacy_kinds >> kind & 1 != 0

    def add_mmio(self, base: u64) -> None:
        """Look into one slot."""
        if self.mmio_count >= DEVICES_MAX:
            return
        for index in range(self.mmio_count):
            if self.mmio[index].config == base + MMIO_CONFIG:
                return
        transport = self.mmio[self.mmio_count]
        slot = attach_slot(transport, base)
        if slot == Slot.MODERN:
            self.mmio_count += 1
        elif slot == Slot.LEGACY and transport.kind < 32:
            self.legacy_kinds |= 1 << transport.kind

    def scan_microvm(self) -> None:
        """Look into all slots of QEMU's microvm, the last first: QEMU fills them from the end."""
        for n in range(MICROVM_SLOT_COUNT):
            slot = MICROVM_SLOT_COUNT - 1 - n
            self.add_mmio(MICROVM_SLOTS + slot * MICROVM_SLOT_BYTES)

    def scan_command_line(self, command_line: Bytes) -> None:
        """Look into the slots that `virtio_mmio.device=SIZE@ADDRESS:IRQ` words name."""
        rest = command_line
        while True:
            at = rest.find(COMMAND_LINE_WORD)
            if at < 0:
                return
            rest = rest[usize(at) + len(COMMAND_LINE_WORD) :]
            sign = rest.find(b"@")
            if sign < 0:
                return
            base = parse_number(rest[usize(sign) + 1 :])
            if base != 0:
                self.add_mmio(base)

    def scan_pci(self, bus: PciBus) -> None:
        """Attach every virtio function of the machine."""
        for index in range(bus.count):
            device = bus.devices[index]
            if device_kind(device.vendor_id, device.device_id) == 0:
                continue
            if self.pci_count >= DEVICES_MAX:
                return
            bus.enable(device)
            if attach_function(self.pci[self.pci_count], bus.config, device):
                self.pci_count += 1


def digit_value(byte: u32) -> u32:
    """Return the value of a hexadecimal digit, 16 for anything else."""
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    if 0x41 <= byte <= 0x46:
        return byte - 0x41 + 10
    if 0x61 <= byte <= 0x66:
        return byte - 0x61 + 10
    return 16


def parse_number(text: Bytes) -> u64:
    """Parse a decimal or 0x number up to the first other byte. 0 when there is none."""
    radix = 10
    start = 0
    if text.startswith(b"0x"):
        radix = 16
        start = 2
    value: u64 = 0
    for byte in text[start:]:
        digit = digit_value(byte)
        if digit >= radix or value >= 1 << 56:
            break
        value = value * radix + digit
    return value
