"""Instructions of the processor.

Under CPython port I/O goes to `bus`, which tests replace with a device model; model-specific and
control registers are kept in dictionaries; the rest does nothing that a program could see.
"""

import time
from typing import Any, Protocol

from bare.trap import trap


class PortBus(Protocol):
    """What stands behind the ports."""

    def inb(self, port: int) -> int: ...  # noqa: D102
    def inw(self, port: int) -> int: ...  # noqa: D102
    def inl(self, port: int) -> int: ...  # noqa: D102
    def outb(self, port: int, value: int) -> None: ...  # noqa: D102
    def outw(self, port: int, value: int) -> None: ...  # noqa: D102
    def outl(self, port: int, value: int) -> None: ...  # noqa: D102


bus: Any = None  # A PortBus, or an object with as much of it as the test needs.
msrs: dict[int, int] = {}
control_registers: dict[int, int] = {}
extended_registers: dict[int, int] = {}
cpuid_leaves: dict[tuple[int, int], tuple[int, int, int, int]] = {}


def _device() -> Any:
    if bus is None:
        trap("port I/O without a device: set bare.cpu.bus")
    return bus


def inb(port: int) -> int:
    """Read a byte from a port."""
    return _device().inb(port)  # type: ignore[no-any-return]


def inw(port: int) -> int:
    """Read 16 bits from a port."""
    return _device().inw(port)  # type: ignore[no-any-return]


def inl(port: int) -> int:
    """Read 32 bits from a port."""
    return _device().inl(port)  # type: ignore[no-any-return]


def outb(port: int, value: int) -> None:
    """Write a byte to a port."""
    _device().outb(port, _fits(value, 8))


def outw(port: int, value: int) -> None:
    """Write 16 bits to a port."""
    _device().outw(port, _fits(value, 16))


def outl(port: int, value: int) -> None:
    """Write 32 bits to a port."""
    _device().outl(port, _fits(value, 32))


def _fits(value: int, bits: int) -> int:
    if not 0 <= value < 1 << bits:
        trap(f"value {value} does not fit in u{bits}")
    return int(value)


def rdtsc() -> int:
    """Time-stamp counter; under CPython nanoseconds."""
    return time.perf_counter_ns()


def cpuid(leaf: int, sub: int) -> tuple[int, int, int, int]:
    """EAX, EBX, ECX, EDX of a leaf."""
    return cpuid_leaves.get((leaf, sub), (0, 0, 0, 0))


def rdmsr(index: int) -> int:
    """Read a model-specific register."""
    return msrs.get(index, 0)


def wrmsr(index: int, value: int) -> None:
    """Write a model-specific register."""
    msrs[index] = value


def xgetbv(index: int) -> int:
    """Read an extended control register."""
    return extended_registers.get(index, 0)


def xsetbv(index: int, value: int) -> None:
    """Write an extended control register."""
    extended_registers[index] = value


def read_cr2() -> int:
    """Address of the last page fault."""
    return control_registers.get(2, 0)


def read_cr3() -> int:
    """Page-table root."""
    return control_registers.get(3, 0)


def read_cr4() -> int:
    """Processor extensions."""
    return control_registers.get(4, 0)


def write_cr3(value: int) -> None:
    """Set the page-table root."""
    control_registers[3] = value


def write_cr4(value: int) -> None:
    """Set the processor extensions."""
    control_registers[4] = value


def halt() -> None:
    """Sleep until an interrupt."""
    _tell("halt")


def pause() -> None:
    """Spin-wait hint."""
    time.sleep(0)


def yield_core() -> None:
    """Give this core away for a moment: the kernel halts it, hosted code calls sched_yield."""
    time.sleep(0)


setattr(yield_core, "__bare_external__", "bare_yield")  # noqa: B010


def enable_interrupts() -> None:
    """Set the interrupt flag."""
    _tell("enable_interrupts")


def disable_interrupts() -> None:
    """Clear the interrupt flag."""
    _tell("disable_interrupts")


def enable_interrupts_and_halt() -> None:
    """Set the interrupt flag and sleep, with no gap in which a wake-up could be lost."""
    _tell("enable_interrupts_and_halt")


def _tell(name: str) -> None:
    """Let a device model that cares know."""
    hook = getattr(bus, name, None)
    if hook is not None:
        hook()


def invlpg(address: int) -> None:
    """Forget a page translation."""


def fence() -> None:
    """Order all earlier memory operations before all later ones."""


def lgdt(address: int) -> None:
    """Load the segment-table descriptor at `address`."""


def lidt(address: int) -> None:
    """Load the interrupt-table descriptor at `address`."""


def ltr(selector: int) -> None:
    """Load the task register."""


def prefetch(data: Any, index: int) -> None:
    """Ask for the cache line that holds `data[index]`."""


def prefetch_l2(data: Any, index: int) -> None:
    """Ask for the cache line that holds `data[index]`, but not for a place in the first cache.

    For a stream read far ahead: it comes from memory faster when the few lines that the first
    cache can wait for stay free for what is needed now.
    """
