"""A transport, and the start-up every virtio device shares (virtio 1.2, section 3.1).

The register blocks of MMIO and PCI hold the same registers, at other places and of other widths: a
transport is written once and compiled for each. Every access is an exit from a virtual machine
(7 k to 80 k cycles): none is made twice.

The order of start-up is the specification's and the device models assert it: reset, ACKNOWLEDGE,
DRIVER, features, FEATURES_OK, read it back, queues, DRIVER_OK.
"""

from enum import Enum, auto

from bare import Arena, Struct, u8, u16, u32, u64
from bare.cpu import pause
from bare.unsafe import address_of, registers_at
from merlion.kernel.clock import now_ns
from merlion.kernel.drivers.virtio.doorbell import MmioDoorbell, PciDoorbells
from merlion.kernel.drivers.virtio.queue import Queue, ring_bytes
from merlion.kernel.drivers.virtio.registers import (
    FEATURE_ACCESS_PLATFORM,
    FEATURE_VERSION_1,
    STATUS_ACKNOWLEDGE,
    STATUS_DRIVER,
    STATUS_DRIVER_OK,
    STATUS_FAILED,
    STATUS_FEATURES_OK,
    CommonRegisters,
    MmioRegisters,
    Register8,
    Register32,
)

RESET_TIMEOUT_NS = 1_000_000_000
RESET_POLLS_MAX = 1_000_000  # For a clock that stands still.
CONFIG_READS_MAX = 16  # A configuration that changes this often under our hands is broken.


class VirtioTransport[
    Common: (MmioRegisters, CommonRegisters),
    Doorbell: (MmioDoorbell, PciDoorbells),
](Struct):
    """The way to one device."""

    kind: u32  # Device type, or 0.
    registers: Common
    doorbell: Doorbell
    config: u64  # Where the device's own configuration begins.

    def status(self) -> u8:
        """Read the device status."""
        return self.registers.status.read() & 0xFF

    def set_status(self, status: u8) -> None:
        """Write the device status; 0 resets."""
        self.registers.status.write(status)

    def device_features(self, half: u32) -> u32:
        """Read 32 of the features the device offers: 0 the low, 1 the high."""
        self.registers.device_features_select.write(half)
        return self.registers.device_features.read()

    def set_driver_features(self, half: u32, features: u32) -> None:
        """Accept 32 of the features."""
        self.registers.driver_features_select.write(half)
        self.registers.driver_features.write(features)

    def queue_size_max(self, index: u16) -> u32:
        """Select a queue and return how many entries it may have; 0 when it does not exist."""
        self.registers.queue_select.write(index)
        return self.registers.queue_size_max.read()

    def enable_queue(self, queue: Queue) -> None:
        """Give the device the rings of the queue that `queue_size_max` selected."""
        registers = self.registers
        descriptors = address_of(queue.descriptors)
        avail = address_of(queue.avail)
        used = address_of(queue.used)
        registers.queue_size.write(queue.size)
        registers.queue_descriptors_low.write(u32(descriptors & 0xFFFF_FFFF))
        registers.queue_descriptors_high.write(u32(descriptors >> 32))
        registers.queue_avail_low.write(u32(avail & 0xFFFF_FFFF))
        registers.queue_avail_high.write(u32(avail >> 32))
        registers.queue_used_low.write(u32(used & 0xFFFF_FFFF))
        registers.queue_used_high.write(u32(used >> 32))
        self.doorbell.find(queue.index)
        registers.queue_enable.write(1)

    def notify(self, queue: u16) -> None:
        """Ring a queue's doorbell."""
        self.doorbell.ring(queue)

    def config_generation(self) -> u32:
        """Return a number that changes when the device's configuration does."""
        return self.registers.config_generation.read()

    def config_u8(self, offset: u32) -> u8:
        """Read the device's own configuration."""
        return registers_at(Register8, self.config + offset).value.read()

    def config_u32(self, offset: u32) -> u32:
        """Read the device's own configuration."""
        return registers_at(Register32, self.config + offset).value.read()


VirtioMmio = VirtioTransport[MmioRegisters, MmioDoorbell]
VirtioPci = VirtioTransport[CommonRegisters, PciDoorbells]
type Transport = VirtioMmio | VirtioPci


class VirtioError(Enum):
    """Why a device could not be started."""

    RESET_TIMEOUT = auto()
    LEGACY = auto()  # It does not offer VERSION_1.
    FEATURES_REFUSED = auto()
    QUEUE_MISSING = auto()
    NO_MEMORY = auto()


def reset(transport: Transport) -> bool:
    """Stop the device. Afterwards it owns none of our memory. False when it does not answer."""
    transport.set_status(0)
    deadline = now_ns() + RESET_TIMEOUT_NS
    for _ in range(RESET_POLLS_MAX):
        if transport.status() == 0:
            return True
        if now_ns() > deadline:
            return False
        pause()
    return False


def fail(transport: Transport) -> None:
    """Tell the device that we have given it up."""
    transport.set_status(STATUS_FAILED)


def negotiate(transport: Transport, wanted: u64) -> u64 | VirtioError:
    """Reset the device and agree on features: those of `wanted` that it has, and VERSION_1.

    ACCESS_PLATFORM is accepted where offered: no IOMMU translates, so bus addresses are physical.
    """
    if not reset(transport):
        fail(transport)
        return VirtioError.RESET_TIMEOUT
    status = STATUS_ACKNOWLEDGE
    transport.set_status(status)
    status |= STATUS_DRIVER
    transport.set_status(status)

    offered = u64(transport.device_features(1)) << 32 | transport.device_features(0)
    if offered & FEATURE_VERSION_1 == 0:
        fail(transport)
        return VirtioError.LEGACY
    accepted: u64 = offered & (wanted | FEATURE_VERSION_1 | FEATURE_ACCESS_PLATFORM)
    transport.set_driver_features(0, accepted & 0xFFFF_FFFF)
    transport.set_driver_features(1, u32(accepted >> 32))

    status |= STATUS_FEATURES_OK
    transport.set_status(status)
    if not transport.status() & STATUS_FEATURES_OK:
        fail(transport)
        return VirtioError.FEATURES_REFUSED
    return accepted


def make_queue(
    transport: Transport, queue: Queue, memory: Arena, index: u16, size_max: u16
) -> VirtioError | None:
    """Size a queue by what the device allows and we want, and give it memory.

    A queue that has memory of an earlier start keeps it.
    """
    offered = transport.queue_size_max(index)
    if offered == 0:
        return VirtioError.QUEUE_MISSING
    if queue.size != 0:
        if offered < queue.size:
            return VirtioError.QUEUE_MISSING
        queue.clear()
    else:
        size: u16 = 1
        while size * 2 <= offered and size * 2 <= size_max:
            size *= 2
        if not memory.fits(u8, ring_bytes(size) + size):
            return VirtioError.NO_MEMORY
        queue.init(memory, index, size)
    transport.enable_queue(queue)
    return None


def go(transport: Transport) -> None:
    """Let the device run: from here on it may use its queues."""
    transport.set_status(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK)


def config_u64(transport: Transport, offset: u16) -> u64:
    """Read 64 bits of configuration that the device does not change half-way."""
    for _ in range(CONFIG_READS_MAX):
        before = transport.config_generation()
        value = u64(transport.config_u32(offset + 4)) << 32 | transport.config_u32(offset)
        if transport.config_generation() == before:
            return value
    return 0
