"""What both transports can do, and the start-up every virtio device shares (virtio 1.2, 3.1).

The order is the specification's and the device models assert it: reset, ACKNOWLEDGE, DRIVER,
features, FEATURES_OK, read it back, queues, DRIVER_OK.
"""

from enum import Enum, auto

from bare import Arena, u8, u16, u32, u64
from bare.cpu import pause
from merlion.kernel.clock import now_ns
from merlion.kernel.drivers.virtio.mmio import VirtioMmio
from merlion.kernel.drivers.virtio.pci import VirtioPci
from merlion.kernel.drivers.virtio.queue import Queue, ring_bytes
from merlion.kernel.drivers.virtio.registers import (
    FEATURE_ACCESS_PLATFORM,
    FEATURE_VERSION_1,
    STATUS_ACKNOWLEDGE,
    STATUS_DRIVER,
    STATUS_DRIVER_OK,
    STATUS_FAILED,
    STATUS_FEATURES_OK,
)

RESET_TIMEOUT_NS = 1_000_000_000
RESET_POLLS_MAX = 1_000_000  # For a clock that stands still.
CONFIG_READS_MAX = 16  # A configuration that changes this often under our hands is broken.

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
