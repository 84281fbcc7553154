"""The disk: one type for every driver, and how the machine's first one is found."""

from bare import Arena, Slice, u8
from merlion.kernel.drivers.errors import DISK_ERROR_TEXT, DiskError
from merlion.kernel.drivers.ramdisk import RamDisk
from merlion.kernel.drivers.virtio.blk import VirtioBlk
from merlion.kernel.drivers.virtio.registers import DeviceKind
from merlion.kernel.hardware import hardware

__all__ = ["DISK_ERROR_TEXT", "Disk", "DiskError", "find_disk", "use_memory_as_disk"]

type Disk = VirtioBlk | RamDisk

virtio_disk = VirtioBlk.zeroed()
ram_disk = RamDisk.zeroed()


def find_disk(memory: Arena) -> Disk | DiskError:
    """Start the first disk that works. Of several failures the last is reported."""
    error = DiskError.NONE_FOUND
    if hardware.virtio.has_legacy(DeviceKind.BLOCK):
        error = DiskError.LEGACY
    index = hardware.virtio.find(DeviceKind.BLOCK, 0)
    while index is not None:
        failure = virtio_disk.init(hardware.virtio.transport(index), memory)
        if failure is None:
            return virtio_disk
        error = failure
        index = hardware.virtio.find(DeviceKind.BLOCK, index + 1)
    return error


def use_memory_as_disk(storage: Slice[u8]) -> Disk:
    """Make a disk of what a boot loader put into memory."""
    ram_disk.storage = storage
    return ram_disk
