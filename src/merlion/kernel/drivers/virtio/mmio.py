"""Virtio over MMIO (virtio 1.2, section 4.2), version 2 only.

QEMU's microvm offers version 1 (legacy) unless told `-global virtio-mmio.force-legacy=false`; a
legacy device is refused by name, not driven.

Registers have no form in memory, so the transport keeps the address and overlays them per access.
Every access is an exit from a virtual machine (7 k to 80 k cycles): none is made twice.
"""

from bare import Struct, u8, u16, u32, u64
from bare.unsafe import address_of, registers_at
from merlion.kernel.drivers.virtio.queue import Queue
from merlion.kernel.drivers.virtio.registers import (
    MMIO_CONFIG,
    MMIO_MAGIC,
    MMIO_VERSION,
    MmioRegisters,
    Register8,
    Register16,
    Register32,
)


class VirtioMmio(Struct):
    """One slot with a device in it. `base` is its physical address."""

    base: u64
    kind: u32  # Device type, or 0.
    legacy: bool  # There is a device, but of version 1.

    def attach(self, base: u64) -> bool:
        """Look whether the slot at `base` holds a device that we can drive."""
        self.base = base
        self.kind = 0
        self.legacy = False
        registers = registers_at(MmioRegisters, base)
        if registers.magic.read() != MMIO_MAGIC:
            return False
        kind = registers.device_id.read()
        if kind == 0:  # An empty slot.
            return False
        self.kind = kind
        self.legacy = registers.version.read() != MMIO_VERSION
        return not self.legacy

    def status(self) -> u8:
        """Read the device status."""
        return registers_at(MmioRegisters, self.base).status.read() & 0xFF

    def set_status(self, status: u8) -> None:
        """Write the device status; 0 resets."""
        registers_at(MmioRegisters, self.base).status.write(status)

    def device_features(self, half: u32) -> u32:
        """Read 32 of the features the device offers: 0 the low, 1 the high."""
        registers = registers_at(MmioRegisters, self.base)
        registers.device_features_select.write(half)
        return registers.device_features.read()

    def set_driver_features(self, half: u32, features: u32) -> None:
        """Accept 32 of the features."""
        registers = registers_at(MmioRegisters, self.base)
        registers.driver_features_select.write(half)
        registers.driver_features.write(features)

    def queue_size_max(self, index: u16) -> u32:
        """Select a queue and return how many entries it may have; 0 when it does not exist."""
        registers = registers_at(MmioRegisters, self.base)
        registers.queue_select.write(index)
        return registers.queue_size_max.read()

    def enable_queue(self, queue: Queue) -> None:
        """Give the device the rings of the queue that `queue_size_max` selected."""
        registers = registers_at(MmioRegisters, self.base)
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
        registers.queue_ready.write(1)

    def notify(self, queue: u16) -> None:
        """Ring a queue's doorbell."""
        registers_at(MmioRegisters, self.base).queue_notify.write(queue)

    def config_generation(self) -> u32:
        """Return a number that changes when the device's configuration does."""
        return registers_at(MmioRegisters, self.base).config_generation.read()

    def config_u8(self, offset: u32) -> u8:
        """Read the device's own configuration."""
        return registers_at(Register8, self.base + MMIO_CONFIG + offset).value.read()

    def config_u16(self, offset: u32) -> u16:
        """Read the device's own configuration."""
        return registers_at(Register16, self.base + MMIO_CONFIG + offset).value.read()

    def config_u32(self, offset: u32) -> u32:
        """Read the device's own configuration."""
        return registers_at(Register32, self.base + MMIO_CONFIG + offset).value.read()
