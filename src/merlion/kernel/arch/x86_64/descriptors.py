"""Segment descriptors, task state and interrupt gates of each core.

Intel SDM volume 3, chapters 3 (GDT), 6 (IDT) and 8.7 (64-bit TSS). All cores share one IDT; each
has its own GDT, because a TSS descriptor is marked busy when loaded. The faults that must be
reported although the stack may be broken run on stacks of their own (IST).
"""

from bare import Array, Struct, array, static, u8, u16, u32, u64, usize
from bare.cpu import lgdt, lidt, ltr
from bare.unsafe import address_of, symbol_address
from merlion.kernel.arch.x86_64.gates import TSS_BYTES, fill_idt, tss_descriptor_low
from merlion.kernel.arch.x86_64.stubs import VECTOR_COUNT
from merlion.kernel.limits import CPU_MAX

TSS_SELECTOR = 0x20
GDT_ENTRIES = 6
TSS_IST_OFFSET = 36  # IST1; the others follow, 8 bytes each.
IST_STACK_BYTES = 8192
IST_COUNT = 3
FLAT_CODE_32 = 0x00CF_9B00_0000_FFFF
FLAT_DATA = 0x00CF_9300_0000_FFFF
FLAT_CODE_64 = 0x00AF_9B00_0000_FFFF


class CpuTables(Struct):
    """What one core's descriptor registers point to."""

    gdt: Array[u64] = array(GDT_ENTRIES)
    tss: Array[u32] = array(TSS_BYTES // 4 + 2)


class TablePointer(Struct):
    """Operand of lgdt and lidt: ten bytes, of which the first two are the limit."""

    words: Array[u16] = array(8)

    def set(self, address: u64, byte_count: u64) -> u64:
        """Point to a table; returns the address of the operand."""
        self.words[0] = u16(byte_count - 1)
        for index in range(4):
            self.words[1 + index] = u16(address >> 16 * index & 0xFFFF)
        return address_of(self)


tables = static(CpuTables, CPU_MAX)
ist_stacks = static(u8, CPU_MAX * IST_COUNT * IST_STACK_BYTES)
idt = static(u64, VECTOR_COUNT * 2)


def fill_tables(cpu: CpuTables, stacks: u64) -> None:
    """Write one core's GDT and TSS; its IST stacks begin at address `stacks`."""
    tss = address_of(cpu.tss[:])
    cpu.gdt[0] = 0
    cpu.gdt[1] = FLAT_CODE_32
    cpu.gdt[2] = FLAT_DATA
    cpu.gdt[3] = FLAT_CODE_64
    cpu.gdt[4] = tss_descriptor_low(tss)
    cpu.gdt[5] = tss >> 32
    for index in range(IST_COUNT):
        top = stacks + IST_STACK_BYTES * (index + 1)
        word = (TSS_IST_OFFSET + 8 * index) // 4
        cpu.tss[word] = u32(top & 0xFFFF_FFFF)
        cpu.tss[word + 1] = u32(top >> 32)
    cpu.tss[25] = TSS_BYTES << 16  # The I/O permission map begins behind the end: there is none.


def init_shared() -> None:
    """Fill what all cores share. Once, before `load`."""
    fill_idt(idt, symbol_address("exception_stubs"))


def load(index: usize) -> None:
    """Give core `index` its tables."""
    cpu = tables[index]
    fill_tables(cpu, address_of(ist_stacks) + index * (IST_COUNT * IST_STACK_BYTES))
    pointer = TablePointer()
    lgdt(pointer.set(address_of(cpu.gdt[:]), GDT_ENTRIES * 8))
    ltr(TSS_SELECTOR)
    lidt(pointer.set(address_of(idt), VECTOR_COUNT * 16))
