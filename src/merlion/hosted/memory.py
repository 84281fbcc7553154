"""Memory for the engine: one reservation in huge pages where Linux gives them, and the model file.

A reservation costs nothing until it is touched, so it is made as large as could be needed and is
bounded by what the machine has left: a model that does not fit is an error message, not a swap
storm.
"""

import mmap
from collections.abc import Callable
from pathlib import Path

from bare import Slice
from merlion.hosted.errors import HostedError

HUGE_BYTES = 2 << 20
READ_BYTES = 16 << 20
# Room beside the weights for cache, workspace and requests.
WORK_BYTES = 16 << 30
# Of the free memory; the rest is for Linux and its page cache.
USABLE = 0.9
MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)

type Progress = Callable[[int, int], None]


def available_bytes() -> int:
    """What Linux says can be had without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 62


def huge_pages(memory: mmap.mmap) -> None:
    """Ask for huge pages. A system that has none, or forbids it, serves all the same."""
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except (OSError, AttributeError):
        return


def anonymous(size: int) -> mmap.mmap:
    """Zeroed memory, untouched, of at least `size` bytes."""
    whole = -(-size // HUGE_BYTES) * HUGE_BYTES
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    try:
        memory = mmap.mmap(-1, whole, flags=flags)
    except OSError as error:
        raise HostedError(
            f"cannot reserve {whole >> 20} MiB: {error.strerror}",
            "raise the limit on virtual memory (ulimit -v)",
        ) from error
    huge_pages(memory)
    return memory


def reserve(file_bytes: int) -> "Slice[int]":
    """The arena's storage, for a model file of this size."""
    wanted = 3 * file_bytes + WORK_BYTES
    usable = max(int(available_bytes() * USABLE), HUGE_BYTES)
    return Slice.over(anonymous(min(wanted, usable)))


def read_file(path: Path, progress: Progress | None = None) -> "Slice[int]":
    """The whole file: read into huge pages, or mapped when memory is short of two copies."""
    try:
        with path.open("rb", buffering=0) as file:
            size = path.stat().st_size
            if size == 0:
                raise HostedError(f"{path} is empty", "give a GGUF file")
            if size * 2 > available_bytes():
                # Private and writable because a Slice is; nothing ever writes.
                return Slice.over(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))
            memory = memoryview(anonymous(size))
            done = 0
            while done < size:
                count = file.readinto(memory[done : min(done + READ_BYTES, size)])
                if not count:
                    raise HostedError(f"{path} ends after {done} of {size} bytes")
                done += count
                if progress is not None:
                    progress(done, size)
            return Slice.over(memory[:size])
    except OSError as error:
        raise HostedError(f"{path} cannot be read: {error.strerror}") from error
