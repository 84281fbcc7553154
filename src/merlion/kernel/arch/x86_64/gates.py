"""Interrupt gates and the TSS descriptor, bit by bit.

Intel SDM volume 3, section 6.14.1 (64-bit gates) and 8.2.3 (TSS descriptor).
"""

from bare import Slice, u64
from merlion.kernel.arch.x86_64.stubs import VECTOR_COUNT

CODE_SELECTOR = 0x18
TSS_BYTES = 104
# NMI and machine check, double fault, page fault.
IST_OF_VECTOR = tuple({2: 1, 8: 2, 14: 3, 18: 1}.get(vector, 0) for vector in range(VECTOR_COUNT))
INTERRUPT_GATE = 0x8E  # Present, ring 0, interrupts off on entry.


def gate_low(handler: u64, ist: u64) -> u64:
    """Return the first eight bytes of an interrupt gate."""
    low = handler & 0xFFFF
    middle = handler >> 16 & 0xFFFF
    return low | CODE_SELECTOR << 16 | ist << 32 | u64(INTERRUPT_GATE) << 40 | middle << 48


def fill_idt(gates: Slice[u64], stubs: u64) -> None:
    """Write one gate a vector; stub `n` lies 16 bytes times n behind `stubs`."""
    for vector in range(VECTOR_COUNT):
        handler = stubs + 16 * vector
        gates[2 * vector] = gate_low(handler, IST_OF_VECTOR[vector])
        gates[2 * vector + 1] = handler >> 32


def tss_descriptor_low(base: u64) -> u64:
    """Return the first eight bytes of an available 64-bit TSS descriptor."""
    low = TSS_BYTES - 1 | (base & 0xFF_FFFF) << 16 | u64(0x89) << 40
    high: u64 = (base >> 24 & 0xFF) << 56
    return low | high
