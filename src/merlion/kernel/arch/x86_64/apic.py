"""Local APIC: identity, and interrupts from core to core.

Intel SDM volume 3, chapter 11. x2APIC registers are MSRs (2 µs on a PVM host), the older ones are
memory (25 µs there), so x2APIC is used wherever CPUID offers it. Interrupt vectors: stubs.py.
"""

from bare import Struct, u32, u64
from bare.cpu import inb, outb, pause, rdmsr, wrmsr
from bare.mmio import ReadOnly, ReadWrite, Registers, WriteOnly, at
from bare.unsafe import registers_at, slice_at, symbol_address
from merlion.kernel.arch.x86_64.features import Features, Leaf1
from merlion.kernel.arch.x86_64.stubs import SPURIOUS_VECTOR, WAKE_VECTOR

APIC_BASE_MSR = 0x1B
APIC_ENABLE = 1 << 11
X2APIC_ENABLE = 1 << 10
DEFAULT_BASE = 0xFEE0_0000
SOFTWARE_ENABLE = 1 << 8
MASKED = 1 << 16

X2_ID = 0x802
X2_SPURIOUS = 0x80F
X2_COMMAND = 0x830
X2_TIMER = 0x832
X2_TIMER_COUNT = 0x838
X2_TIMER_DIVIDE = 0x83E
X2_LINT0 = 0x835

COMMAND_INIT = 0x4500
COMMAND_STARTUP = 0x4600
COMMAND_FIXED = 0x4000
DELIVERY_PENDING = 1 << 12
DELIVERY_POLL_MAX = 100_000

PIC1_DATA = 0x21
PIC2_DATA = 0xA1


class ApicRegisters(Registers):
    """The memory-mapped registers we use."""

    id: ReadOnly[u32] = at(0x20)
    eoi: WriteOnly[u32] = at(0xB0)
    spurious: ReadWrite[u32] = at(0xF0)
    command_low: ReadWrite[u32] = at(0x300)
    command_high: ReadWrite[u32] = at(0x310)
    timer: ReadWrite[u32] = at(0x320)
    lint0: ReadWrite[u32] = at(0x350)
    timer_count: WriteOnly[u32] = at(0x380)
    timer_divide: WriteOnly[u32] = at(0x3E0)


class Apic(Struct):
    """The mode all cores use."""

    x2: bool = False
    base: u64 = DEFAULT_BASE

    def choose(self, features: Features, base: u64) -> None:
        """Choose the mode; `base` is the register address from the MADT, 0 if unknown."""
        self.x2 = features.leaf1_ecx & Leaf1.X2APIC != 0
        self.base = base if base != 0 else DEFAULT_BASE
        eoi = slice_at(u64, symbol_address("apic_eoi_address"), 1)
        eoi[0] = 0 if self.x2 else self.base + 0xB0

    def enable(self) -> None:
        """Switch on this core's APIC, with its timer and the old PIC's line masked."""
        value = rdmsr(APIC_BASE_MSR) | APIC_ENABLE
        if self.x2:
            wrmsr(APIC_BASE_MSR, value | X2APIC_ENABLE)
            wrmsr(X2_SPURIOUS, SOFTWARE_ENABLE | SPURIOUS_VECTOR)
            wrmsr(X2_TIMER, MASKED)
            wrmsr(X2_LINT0, MASKED)
            return
        wrmsr(APIC_BASE_MSR, value)
        registers = registers_at(ApicRegisters, self.base)
        registers.spurious.write(SOFTWARE_ENABLE | SPURIOUS_VECTOR)
        registers.timer.write(MASKED)
        registers.lint0.write(MASKED)

    def id(self) -> u32:
        """Return this core's APIC id."""
        if self.x2:
            return u32(rdmsr(X2_ID))
        return registers_at(ApicRegisters, self.base).id.read() >> 24

    def send(self, target: u32, command: u32) -> None:
        """Send an interrupt command to the core with APIC id `target`."""
        if self.x2:
            wrmsr(X2_COMMAND, u64(target) << 32 | command)
            return
        registers = registers_at(ApicRegisters, self.base)
        registers.command_high.write(target << 24)
        registers.command_low.write(command)
        for _ in range(DELIVERY_POLL_MAX):
            if not registers.command_low.read() & DELIVERY_PENDING:
                return
            pause()

    def wake(self, target: u32) -> None:
        """End the `hlt` of a core."""
        self.send(target, COMMAND_FIXED | WAKE_VECTOR)

    def start_timer(self, count: u32) -> None:
        """Let this core's timer send it one wake-up after `count` bus ticks (divided by 1)."""
        if self.x2:
            wrmsr(X2_TIMER_DIVIDE, 0xB)
            wrmsr(X2_TIMER, WAKE_VECTOR)
            wrmsr(X2_TIMER_COUNT, count)
            return
        registers = registers_at(ApicRegisters, self.base)
        registers.timer_divide.write(0xB)
        registers.timer.write(WAKE_VECTOR)
        registers.timer_count.write(count)


apic = Apic()


def mask_pic() -> None:
    """Mask the two 8259s, where they exist: they would deliver the timer as exception 8."""
    outb(PIC1_DATA, 0xFF)
    outb(PIC2_DATA, 0xFF)
    _ = inb(PIC1_DATA)
