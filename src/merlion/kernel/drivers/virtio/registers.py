"""Virtio 1.2: numbers and register layouts, no logic.

Sections are of "Virtual I/O Device (VIRTIO) Version 1.2", OASIS, July 2022.
"""

from enum import IntEnum

from bare import Struct, Wire, u8, u16, u32, u64
from bare.mmio import ReadOnly, ReadWrite, Registers, WriteOnly, at


class DeviceKind(IntEnum):
    """Device types (section 5)."""

    NONE = 0
    NET = 1
    BLOCK = 2


# Device status bits (section 2.1). They are set one after another and never cleared but by reset.
STATUS_ACKNOWLEDGE = 1
STATUS_DRIVER = 2
STATUS_DRIVER_OK = 4
STATUS_FEATURES_OK = 8
STATUS_FAILED = 128

# Feature bits that belong to no device type (section 6).
FEATURE_VERSION_1 = 1 << 32
FEATURE_ACCESS_PLATFORM = 1 << 33

# Split ring (section 2.7).
DESCRIPTOR_NEXT = 1
DESCRIPTOR_WRITE = 2  # The device writes this buffer.
AVAIL_NO_INTERRUPT = 1
USED_NO_NOTIFY = 1


class Descriptor(Struct):
    """One buffer (section 2.7.5). `address` is physical and the bytes are contiguous."""

    address: u64
    length: u32
    flags: u16
    next: u16


class UsedElement(Struct):
    """One finished chain (section 2.7.8). `length` is what the device wrote."""

    id: u32
    length: u32


# Block device (section 5.2).
BLOCK_FEATURE_SIZE_MAX = 1 << 1
BLOCK_FEATURE_SEG_MAX = 1 << 2
BLOCK_FEATURE_BLK_SIZE = 1 << 6
BLOCK_CAPACITY = 0x00  # u64, in 512-byte sectors whatever the block size is.
BLOCK_SIZE_MAX = 0x08  # u32
BLOCK_SEG_MAX = 0x0C  # u32
BLOCK_BLK_SIZE = 0x14  # u32
BLOCK_SECTOR_BYTES = 512
BLOCK_TYPE_IN = 0
BLOCK_STATUS_OK = 0
BLOCK_STATUS_IOERR = 1
BLOCK_STATUS_UNSUPPORTED = 2


class BlockHeader(Struct):
    """First, device-readable part of a block request (section 5.2.6)."""

    kind: u32
    reserved: u32
    sector: u64


# Network device (section 5.1).
NET_FEATURE_MAC = 1 << 5
NET_FEATURE_MRG_RXBUF = 1 << 15
NET_MAC = 0x00  # u8[6]
NET_RECEIVE_QUEUE = 0
NET_TRANSMIT_QUEUE = 1


class NetHeader(Wire):
    """Before every frame in both directions (section 5.1.6).

    12 bytes with VERSION_1 whether MRG_RXBUF was negotiated or not; a legacy device has 10.
    """

    flags: u8
    gso_kind: u8
    header_bytes: u16
    gso_bytes: u16
    checksum_start: u16
    checksum_offset: u16
    buffer_count: u16


NET_HEADER_BYTES = 12


class MmioRegisters(Registers):
    """Virtio over MMIO, version 2 (section 4.2.2). Where PCI has the register too, by its name."""

    magic: ReadOnly[u32] = at(0x000)
    version: ReadOnly[u32] = at(0x004)
    device_id: ReadOnly[u32] = at(0x008)
    device_features: ReadOnly[u32] = at(0x010)
    device_features_select: WriteOnly[u32] = at(0x014)
    driver_features: WriteOnly[u32] = at(0x020)
    driver_features_select: WriteOnly[u32] = at(0x024)
    queue_select: WriteOnly[u32] = at(0x030)
    queue_size_max: ReadOnly[u32] = at(0x034)
    queue_size: WriteOnly[u32] = at(0x038)
    queue_enable: ReadWrite[u32] = at(0x044)  # QueueReady.
    queue_notify: WriteOnly[u32] = at(0x050)
    status: ReadWrite[u32] = at(0x070)
    queue_descriptors_low: WriteOnly[u32] = at(0x080)
    queue_descriptors_high: WriteOnly[u32] = at(0x084)
    queue_avail_low: WriteOnly[u32] = at(0x090)
    queue_avail_high: WriteOnly[u32] = at(0x094)
    queue_used_low: WriteOnly[u32] = at(0x0A0)
    queue_used_high: WriteOnly[u32] = at(0x0A4)
    config_generation: ReadOnly[u32] = at(0x0FC)


MMIO_MAGIC = 0x74726976  # "virt"
MMIO_VERSION = 2
MMIO_CONFIG = 0x100
MMIO_BYTES = 0x200


class CommonRegisters(Registers):
    """Virtio over PCI, common configuration (section 4.1.4.3).

    64-bit fields are written as two 32-bit halves, which is what the section demands.
    """

    device_features_select: ReadWrite[u32] = at(0x00)
    device_features: ReadOnly[u32] = at(0x04)
    driver_features_select: ReadWrite[u32] = at(0x08)
    driver_features: ReadWrite[u32] = at(0x0C)
    queue_count: ReadOnly[u16] = at(0x12)
    status: ReadWrite[u8] = at(0x14)
    config_generation: ReadOnly[u8] = at(0x15)
    queue_select: ReadWrite[u16] = at(0x16)
    queue_size_max: ReadOnly[u16] = at(0x18)  # Until it is written.
    queue_size: WriteOnly[u16] = at(0x18)
    queue_enable: ReadWrite[u16] = at(0x1C)
    queue_notify_offset: ReadOnly[u16] = at(0x1E)
    queue_descriptors_low: ReadWrite[u32] = at(0x20)
    queue_descriptors_high: ReadWrite[u32] = at(0x24)
    queue_avail_low: ReadWrite[u32] = at(0x28)
    queue_avail_high: ReadWrite[u32] = at(0x2C)
    queue_used_low: ReadWrite[u32] = at(0x30)
    queue_used_high: ReadWrite[u32] = at(0x34)


class Register8(Registers):
    """One byte of a device's own configuration."""

    value: ReadWrite[u8] = at(0)


class Register16(Registers):
    """Two bytes of a device's own configuration, or a PCI doorbell."""

    value: ReadWrite[u16] = at(0)


class Register32(Registers):
    """Four bytes of a device's own configuration."""

    value: ReadWrite[u32] = at(0)


# Virtio over PCI: identity and capabilities (sections 4.1.2 and 4.1.4).
PCI_VENDOR = 0x1AF4
PCI_DEVICE_MODERN = 0x1040  # + device type
PCI_DEVICE_TRANSITIONAL_NET = 0x1000
PCI_DEVICE_TRANSITIONAL_BLOCK = 0x1001
CAPABILITY_COMMON = 1
CAPABILITY_NOTIFY = 2
CAPABILITY_DEVICE = 4
CAPABILITY_KIND = 3  # Offsets within the capability.
CAPABILITY_BAR = 4
CAPABILITY_OFFSET = 8
CAPABILITY_LENGTH = 12
CAPABILITY_NOTIFY_MULTIPLIER = 16
