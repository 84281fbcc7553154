"""Virtio over PCI (virtio 1.2, section 4.1), modern interface only.

Three structures in the function's BARs are found through vendor capabilities: common
configuration, doorbells, the device's own configuration. A capability that points outside its BAR
makes the device unusable, and is refused rather than followed.
"""

from bare import Struct, u16, u32, u64
from bare.unsafe import registers_at
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
)
from merlion.kernel.drivers.virtio.transport import VirtioPci
from merlion.kernel.pci.bus import PciDevice
from merlion.kernel.pci.config import ConfigSpace
from merlion.kernel.pci.registers import BAR_COUNT, CAPABILITY_VENDOR

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


class Structures(Struct):
    """Where the three structures of a function are: physical addresses, 0 while not found."""

    common: u64
    device: u64
    doorbells: u64
    doorbell_stride: u32

    def note(self, config: ConfigSpace, function: PciDevice, offset: u16) -> None:
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
            self.doorbell_stride = config.read_u32(
                function.address, offset + CAPABILITY_NOTIFY_MULTIPLIER
            )


def attach_function(transport: VirtioPci, config: ConfigSpace, function: PciDevice) -> bool:
    """Find the three structures of a function whose BARs are assigned."""
    transport.kind = device_kind(function.vendor_id, function.device_id)
    if transport.kind == 0:
        return False
    found = Structures.zeroed()
    offset = config.find_capability(function.address, CAPABILITY_VENDOR, 0)
    while offset != 0:
        found.note(config, function, offset)
        offset = config.find_capability(function.address, CAPABILITY_VENDOR, offset)
    if found.common == 0 or found.doorbells == 0 or found.device == 0:
        return False
    registers = registers_at(CommonRegisters, found.common)
    transport.registers = registers
    transport.config = found.device
    transport.doorbell.registers = registers
    transport.doorbell.start = found.doorbells
    transport.doorbell.stride = found.doorbell_stride
    return True
