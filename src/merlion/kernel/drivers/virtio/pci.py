"""Virtio over PCI (virtio 1.2, section 4.1), modern interface only.

Three structures in the function's BARs are found through vendor capabilities: common
configuration, doorbells, the device's own configuration. A capability that points outside its BAR
makes the device unusable, and is refused rather than followed.
"""

from bare import Array, Struct, array, u8, u16, u32, u64
from bare.unsafe import address_of, registers_at
from merlion.kernel.drivers.virtio.queue import Queue
from merlion.kernel.drivers.virtio.registers import (
    CAPABILITY_BAR,
    CAPABILITY_COMMON,
    CAPABILITY_DEVICE,
    CAPABILITY_KIND,
    CAPABILITY_LENGTH,
    CAPABILITY_NOTIFY,
    CAPABILITY_NOTIFY_MULTIPLIER,
    CAPABILITY_OFFSET,
    PCI_DEVICE_MODERN,
    PCI_DEVICE_TRANSITIONAL_BLOCK,
    PCI_DEVICE_TRANSITIONAL_NET,
    PCI_VENDOR,
    CommonRegisters,
    DeviceKind,
    Register8,
    Register16,
    Register32,
)
from merlion.kernel.pci.bus import PciDevice
from merlion.kernel.pci.config import ConfigSpace
from merlion.kernel.pci.registers import BAR_COUNT, CAPABILITY_VENDOR

QUEUES_MAX = 4  # We use one queue of a disk and two of a network device.
COMMON_BYTES = 56
NOTIFY_BYTES = 2
KINDS_MAX = 64  # Device types go up to 42 in virtio 1.2.


def device_kind(vendor_id: u16, device_id: u16) -> u32:
    """Return the virtio device type of a PCI function, or 0."""
    if vendor_id != PCI_VENDOR:
        return DeviceKind.NONE
    if device_id == PCI_DEVICE_TRANSITIONAL_NET:
        return DeviceKind.NET
    if device_id == PCI_DEVICE_TRANSITIONAL_BLOCK:
        return DeviceKind.BLOCK
    if PCI_DEVICE_MODERN < device_id < PCI_DEVICE_MODERN + KINDS_MAX:
        return device_id - PCI_DEVICE_MODERN
    return DeviceKind.NONE


class VirtioPci(Struct):
    """One function. The addresses are physical."""

    kind: u32
    common: u64
    device: u64
    doorbells: u64
    doorbell_multiplier: u32
    doorbell_address: Array[u64] = array(QUEUES_MAX)

    def attach(self, config: ConfigSpace, function: PciDevice) -> bool:
        """Find the three structures of a function whose BARs are assigned."""
        self.common = 0
        self.device = 0
        self.doorbells = 0
        self.kind = device_kind(function.vendor_id, function.device_id)
        if self.kind == 0:
            return False
        offset = config.find_capability(function.address, CAPABILITY_VENDOR, 0)
        while offset != 0:
            self.note_capability(config, function, offset)
            offset = config.find_capability(function.address, CAPABILITY_VENDOR, offset)
        return self.common != 0 and self.doorbells != 0 and self.device != 0

    def note_capability(self, config: ConfigSpace, function: PciDevice, offset: u16) -> None:
        """Keep the address a capability names, the first of each kind (section 4.1.4)."""
        kind = config.read_u8(function.address, offset + CAPABILITY_KIND)
        wanted = (
            (kind == CAPABILITY_COMMON and self.common == 0)
            or (kind == CAPABILITY_DEVICE and self.device == 0)
            or (kind == CAPABILITY_NOTIFY and self.doorbells == 0)
        )
        bar_index = config.read_u8(function.address, offset + CAPABILITY_BAR)
        if not wanted or bar_index >= BAR_COUNT:
            return
        bar = function.bars[bar_index]
        start = config.read_u32(function.address, offset + CAPABILITY_OFFSET)
        length = config.read_u32(function.address, offset + CAPABILITY_LENGTH)
        if bar.address == 0 or not bar.is_memory or start + length > bar.byte_count:
            return
        if kind == CAPABILITY_COMMON and length >= COMMON_BYTES:
            self.common = bar.address + start
        elif kind == CAPABILITY_DEVICE:
            self.device = bar.address + start
        elif kind == CAPABILITY_NOTIFY and length >= NOTIFY_BYTES:
            self.doorbells = bar.address + start
            self.doorbell_multiplier = config.read_u32(
                function.address, offset + CAPABILITY_NOTIFY_MULTIPLIER
            )

    def status(self) -> u8:
        """Read the device status."""
        return registers_at(CommonRegisters, self.common).status.read()

    def set_status(self, status: u8) -> None:
        """Write the device status; 0 resets."""
        registers_at(CommonRegisters, self.common).status.write(status)

    def device_features(self, half: u32) -> u32:
        """Read 32 of the features the device offers: 0 the low, 1 the high."""
        registers = registers_at(CommonRegisters, self.common)
        registers.device_features_select.write(half)
        return registers.device_features.read()

    def set_driver_features(self, half: u32, features: u32) -> None:
        """Accept 32 of the features."""
        registers = registers_at(CommonRegisters, self.common)
        registers.driver_features_select.write(half)
        registers.driver_features.write(features)

    def queue_size_max(self, index: u16) -> u32:
        """Select a queue and return how many entries it may have; 0 when it does not exist."""
        registers = registers_at(CommonRegisters, self.common)
        registers.queue_select.write(index)
        return registers.queue_size.read()

    def enable_queue(self, queue: Queue) -> None:
        """Give the device the rings of a queue, and learn where its doorbell is."""
        registers = registers_at(CommonRegisters, self.common)
        descriptors = address_of(queue.descriptors)
        avail = address_of(queue.avail)
        used = address_of(queue.used)
        registers.queue_select.write(queue.index)
        registers.queue_size.write(queue.size)
        registers.queue_descriptors_low.write(u32(descriptors & 0xFFFF_FFFF))
        registers.queue_descriptors_high.write(u32(descriptors >> 32))
        registers.queue_avail_low.write(u32(avail & 0xFFFF_FFFF))
        registers.queue_avail_high.write(u32(avail >> 32))
        registers.queue_used_low.write(u32(used & 0xFFFF_FFFF))
        registers.queue_used_high.write(u32(used >> 32))
        doorbell = registers.queue_notify_offset.read() * self.doorbell_multiplier
        self.doorbell_address[queue.index] = self.doorbells + doorbell
        registers.queue_enable.write(1)

    def notify(self, queue: u16) -> None:
        """Ring a queue's doorbell."""
        registers_at(Register16, self.doorbell_address[queue]).value.write(queue)

    def config_generation(self) -> u32:
        """Return a number that changes when the device's configuration does."""
        return registers_at(CommonRegisters, self.common).config_generation.read()

    def config_u8(self, offset: u32) -> u8:
        """Read the device's own configuration."""
        return registers_at(Register8, self.device + offset).value.read()

    def config_u16(self, offset: u32) -> u16:
        """Read the device's own configuration."""
        return registers_at(Register16, self.device + offset).value.read()

    def config_u32(self, offset: u32) -> u32:
        """Read the device's own configuration."""
        return registers_at(Register32, self.device + offset).value.read()
