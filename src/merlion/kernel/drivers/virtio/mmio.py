"""Virtio over MMIO (virtio 1.2, section 4.2), version 2 only.

QEMU's microvm offers version 1 (legacy) unless told `-global virtio-mmio.force-legacy=false`; a
legacy device is refused by name, not driven.
"""

from enum import Enum, auto

from bare import u64
from bare.unsafe import registers_at
from merlion.kernel.drivers.virtio.registers import (
    MMIO_CONFIG,
    MMIO_MAGIC,
    MMIO_VERSION,
    MmioRegisters,
)
from merlion.kernel.drivers.virtio.transport import VirtioMmio


class Slot(Enum):
    """What was found in a slot."""

    EMPTY = auto()
    LEGACY = auto()  # A device, but of version 1.
    MODERN = auto()


def attach_slot(transport: VirtioMmio, base: u64) -> Slot:
    """Look what the slot at `base` holds. Only a modern device can be driven."""
    registers = registers_at(MmioRegisters, base)
    transport.kind = 0
    transport.registers = registers
    transport.doorbell.registers = registers
    transport.config = base + MMIO_CONFIG
    if registers.magic.read() != MMIO_MAGIC:
        return Slot.EMPTY
    transport.kind = registers.device_id.read()
    if transport.kind == 0:
        return Slot.EMPTY
    return Slot.MODERN if registers.version.read() == MMIO_VERSION else Slot.LEGACY
