"""The machine's disk, once boot has found it."""

from bare import Struct, u64, usize
from merlion.kernel.disk import Disk, DiskError
from merlion.kernel.drivers.ramdisk import RamDisk
from merlion.kernel.drivers.virtio.blk import VirtioBlk


class Storage(Struct):
    """Where the model is read from."""

    disk: Disk | None = None


storage = Storage()


def byte_count(disk: Disk) -> u64:
    """Return how much a disk holds."""
    match disk:
        case VirtioBlk():
            return disk.byte_count
        case RamDisk():
            return disk.byte_count


def done_bytes(disk: Disk) -> usize:
    """Return how much of the read under way is there."""
    match disk:
        case VirtioBlk():
            return disk.done_bytes
        case RamDisk():
            return disk.done_bytes


def front_bytes(disk: Disk) -> usize:
    """Return how much of the read under way is there from its beginning, without a gap."""
    match disk:
        case VirtioBlk():
            return disk.front_bytes
        case RamDisk():
            return disk.front_bytes


def read_error(disk: Disk) -> DiskError | None:
    """Return why the last read failed, None if it did not."""
    match disk:
        case VirtioBlk():
            return disk.error
        case RamDisk():
            return disk.error
