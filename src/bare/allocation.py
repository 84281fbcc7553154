"""Storage with a stable address, shared by CPython objects and compiled code.

An `Allocation` also remembers which Python object each pointer written into it stands for
(`refs`, keyed by offset). That keeps the target alive, gives the compiler its relocations for
static data, and makes `queue.owner` the object that was stored and not a copy of it.
"""

import ctypes
import mmap
import weakref
from bisect import bisect_right
from typing import Any

MMAP_THRESHOLD = 1 << 20  # Larger storage is mapped, so that untouched pages cost nothing.
RECENT_MAX = 4

_addressof = ctypes.addressof
_from_buffer = ctypes.c_char.from_buffer
_live: dict[int, "weakref.ref[Allocation]"] = {}
# What the last look-ups found: most come from one arena.
_recent: list["weakref.ref[Allocation]"] = []


class Allocation:
    """`size` bytes at `address`; `constant` marks what came from a bytes literal."""

    __slots__ = ("__weakref__", "address", "buffer", "constant", "owner", "refs", "size")

    def __init__(self, buffer: memoryview, address: int, owner: object) -> None:
        """Describe storage that `owner` keeps alive; use `new`, `of` or `at`."""
        self.buffer = buffer
        self.address = address
        self.size = len(buffer)
        self.refs: dict[int, Any] = {}
        self.owner = owner
        self.constant = False

    @staticmethod
    def new(size: int, align: int = 16) -> "Allocation":
        """Zeroed storage."""
        raw: Any
        if size >= MMAP_THRESHOLD:
            raw = mmap.mmap(-1, size)
        else:
            raw = bytearray(size + align if align > 16 else size or 1)
        address = _addressof(_from_buffer(raw))
        pad = -address % align
        view = memoryview(raw)
        if pad or len(view) != size:
            view = view[pad : pad + size]
        result = Allocation(view, address + pad, raw)
        _live[result.address] = weakref.ref(result)
        return result

    @staticmethod
    def of(data: bytes) -> "Allocation":
        """A read-only copy of a bytes literal."""
        result = Allocation.new(len(data))
        result.buffer[:] = data
        result.buffer = result.buffer.toreadonly()
        result.constant = True
        return result

    @staticmethod
    def over(data: Any) -> "Allocation":
        """The storage of a writable buffer (bytearray, mmap, numpy array), not a copy."""
        view = memoryview(data).cast("B")
        address = ctypes.addressof(ctypes.c_char.from_buffer(view)) if len(view) else 0
        result = Allocation(view, address, data)
        _live[address] = weakref.ref(result)
        return result

    @staticmethod
    def at(address: int, size: int) -> "Allocation":
        """Somebody else's memory: valid for as long as they say."""
        raw = (ctypes.c_ubyte * size).from_address(address)
        return Allocation(memoryview(raw).cast("B"), address, None)

    def __del__(self, live: dict[int, Any] = _live) -> None:
        """Forget the address, which may now be used again (`live` outlasts the module)."""
        reference = live.get(self.address)
        if reference is not None and reference() is None:  # Not another view of the same buffer.
            live.pop(self.address, None)


def locate(address: int, size: int) -> tuple[Allocation, int]:
    """Find the allocation that holds [address, address + size), and the offset in it."""
    for reference in _recent:
        found = reference()
        if found is not None and found.address <= address <= found.address + found.size - size:
            return found, address - found.address
    bases = sorted(_live)
    index = bisect_right(bases, address) - 1
    reference_or_none = _live.get(bases[index]) if index >= 0 else None
    found = reference_or_none() if reference_or_none is not None else None
    if found is None or address + size > found.address + found.size:
        return Allocation.at(address, size), 0
    _recent[:] = [weakref.ref(found), *_recent[: RECENT_MAX - 1]]
    return found, address - found.address


def copy_refs(source: Allocation, start: int, target: Allocation, at: int, size: int) -> None:
    """Carry the objects behind the pointers in a copied range."""
    if source.refs:
        inside = {k: v for k, v in source.refs.items() if start <= k < start + size}
        for key, value in inside.items():
            target.refs[at + key - start] = value
