"""A disk that is memory: what a boot loader loaded beside the kernel (PVH module, `-initrd`).

It answers like a device driver, so the rest of the kernel needs no second way to a model.
"""

from bare import Slice, Struct, u8, u64, usize
from merlion.kernel.drivers.errors import DiskError

SECTOR_BYTES = 512


class RamDisk(Struct):
    """Bytes that are there already."""

    storage: Slice[u8]
    done_bytes: usize
    front_bytes: usize
    error: DiskError | None

    @property
    def sector_count(self) -> u64:
        """Sectors of 512 bytes, the last perhaps not whole."""
        return (len(self.storage) + SECTOR_BYTES - 1) // SECTOR_BYTES

    @property
    def byte_count(self) -> u64:
        """How much the disk holds."""
        return len(self.storage)

    def start_read(self, sector: u64, buffer: Slice[u8]) -> DiskError | None:
        """Read at once; `poll_read` then has nothing to do."""
        self.done_bytes = 0
        self.front_bytes = 0
        self.error = None
        if sector > self.sector_count:
            self.error = DiskError.SHORT_DISK
            return self.error
        start = usize(sector * SECTOR_BYTES)
        if start > len(self.storage) or len(buffer) > len(self.storage) - start:
            self.error = DiskError.SHORT_DISK
            return self.error
        buffer.copy_from(self.storage[start : start + len(buffer)])
        self.done_bytes = len(buffer)
        self.front_bytes = len(buffer)
        return None

    def poll_read(self) -> bool:
        """Say that nothing is under way."""
        return False

    def stop_read(self) -> None:
        """Do nothing: reading is over when `start_read` is."""

    def read(self, sector: u64, buffer: Slice[u8]) -> DiskError | None:
        """Fill `buffer` from `sector` on."""
        return self.start_read(sector, buffer)
