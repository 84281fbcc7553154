"""A machine to plug models into: physical address ranges, ports, a clock that a test can move.

Device memory is behind `registers_at`, ports are behind `bare.cpu.bus`. Ordinary memory is real
memory of this process: a model reads rings by address, as DMA does.
"""

import ctypes
from typing import Protocol

import pytest

import bare.cpu
import bare.mmio


class Window(Protocol):
    """A device that answers in a range of addresses."""

    def read(self, offset: int, size: int) -> int: ...

    def write(self, offset: int, size: int, value: int) -> None: ...


class Machine:
    """Address space, ports and time."""

    def __init__(self) -> None:
        self.windows: list[tuple[int, int, Window]] = []
        self.ports: list[tuple[int, int, Window]] = []
        self.now_ns = 1_000_000
        self.tick_ns = 100  # How much time each look at the clock takes.
        self.accesses = 0  # Exits of a virtual machine.
        self.stray: list[tuple[str, int]] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the machine behind `bare` and behind the kernel's clock."""
        monkeypatch.setattr(bare.mmio, "bus", self)
        monkeypatch.setattr(bare.cpu, "bus", self)
        for module in (
            "merlion.kernel.drivers.virtio.transport",
            "merlion.kernel.drivers.virtio.blk",
            "merlion.kernel.drivers.virtio.net",
        ):
            monkeypatch.setattr(f"{module}.now_ns", self.clock)

    def clock(self) -> int:
        """Nanoseconds."""
        self.now_ns += self.tick_ns
        return self.now_ns

    def add(self, address: int, length: int, window: Window) -> None:
        """Plug a device into an address range."""
        self.windows.append((address, length, window))

    def add_ports(self, port: int, count: int, window: Window) -> None:
        """Plug a device into a range of ports."""
        self.ports.append((port, count, window))

    def find(self, address: int) -> tuple[int, Window] | None:
        for start, length, window in self.windows:
            if start <= address < start + length:
                return address - start, window
        return None

    def read(self, address: int, size: int) -> int:
        """A load. Nobody there: all ones, as PCI and QEMU answer."""
        self.accesses += 1
        found = self.find(address)
        if found is None:
            self.stray.append(("read", address))
            return (1 << size * 8) - 1
        assert address % size == 0, f"unaligned {size}-byte read at {address:#x}"
        return found[1].read(found[0], size)

    def write(self, address: int, size: int, value: int) -> None:
        """A store. Nobody there: lost."""
        self.accesses += 1
        found = self.find(address)
        if found is None:
            self.stray.append(("write", address))
            return
        assert address % size == 0, f"unaligned {size}-byte write at {address:#x}"
        found[1].write(found[0], size, value)

    def port_read(self, port: int, size: int) -> int:
        self.accesses += 1
        for start, count, window in self.ports:
            if start <= port < start + count:
                return window.read(port - start, size)
        return (1 << size * 8) - 1

    def port_write(self, port: int, size: int, value: int) -> None:
        self.accesses += 1
        for start, count, window in self.ports:
            if start <= port < start + count:
                window.write(port - start, size, value)

    def inb(self, port: int) -> int:
        return self.port_read(port, 1)

    def inw(self, port: int) -> int:
        return self.port_read(port, 2)

    def inl(self, port: int) -> int:
        return self.port_read(port, 4)

    def outb(self, port: int, value: int) -> None:
        self.port_write(port, 1, value)

    def outw(self, port: int, value: int) -> None:
        self.port_write(port, 2, value)

    def outl(self, port: int, value: int) -> None:
        self.port_write(port, 4, value)

    def check(self) -> None:
        """After a test: nothing."""


def load(address: int, length: int) -> bytes:
    """Read physical memory, as a device does."""
    return ctypes.string_at(address, length)


def store(address: int, data: bytes) -> None:
    """Write physical memory, as a device does."""
    ctypes.memmove(address, data, len(data))


def load_int(address: int, size: int) -> int:
    """Read a little-endian number."""
    return int.from_bytes(load(address, size), "little")


def store_int(address: int, size: int, value: int) -> None:
    """Write a little-endian number."""
    store(address, value.to_bytes(size, "little"))
