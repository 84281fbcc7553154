"""The last thing a core does: say what failed, where, and how it came there; then stop.

Two ways in: a failed check of compiled code calls `bare_trap(site)`; a CPU exception comes through
stubs.py to `on_exception(frame)`. Output is polled and takes no lock. A second failure while the
first is reported (on this core or another) says one line and halts, so this cannot loop.
"""

from bare import Atomic, Bytes, Ref, Struct, export, static, trap_site, u8, u32, u64
from bare.cpu import disable_interrupts, halt, outl, read_cr2, read_cr3
from bare.text import Writer
from bare.unsafe import address_of, slice_at, symbol_address
from merlion.kernel import power
from merlion.kernel.arch.x86_64.stubs import frame_pointer
from merlion.kernel.config import PanicAction, config
from merlion.kernel.log import log
from merlion.kernel.memory.paging import page_tables
from merlion.kernel.screen import screen
from merlion.kernel.symbols import symbols

BACKTRACE_MAX = 24
QEMU_EXIT_PORT = 0xF4  # -device isa-debug-exit: the process ends with 2 * code + 1.
EXIT_PANIC = 0x21
PROTECTION = 13
PAGE_FAULT = 14

EXCEPTION_TEXT = (
    b"divide error",
    b"debug",
    b"non-maskable interrupt",
    b"breakpoint",
    b"overflow",
    b"bound range exceeded",
    b"invalid opcode",
    b"device not available",
    b"double fault",
    b"coprocessor segment overrun",
    b"invalid TSS",
    b"segment not present",
    b"stack fault",
    b"general protection",
    b"page fault",
    b"reserved",
    b"x87 floating point",
    b"alignment check",
    b"machine check",
    b"SIMD floating point",
    b"virtualization",
    b"control protection",
)
BREAKPOINT = 3
REGISTER_NAMES = (
    b"r15 ", b"r14 ", b"r13 ", b"r12 ", b"r11 ", b"r10 ", b"r9  ", b"r8  ",
    b"rbp ", b"rdi ", b"rsi ", b"rdx ", b"rcx ", b"rbx ", b"rax ",
)  # fmt: skip
REGISTER_COUNT = len(REGISTER_NAMES)


class Frame(Struct):
    """What stubs.py leaves on the stack."""

    r15: u64
    r14: u64
    r13: u64
    r12: u64
    r11: u64
    r10: u64
    r9: u64
    r8: u64
    rbp: u64
    rdi: u64
    rsi: u64
    rdx: u64
    rcx: u64
    rbx: u64
    rax: u64
    vector: u64
    error: u64
    rip: u64
    cs: u64
    rflags: u64
    rsp: u64
    ss: u64


class Panic(Struct):
    """Who is reporting, and the line being written."""

    line: Ref[Writer]
    entered: Atomic[u32]
    page_faults: u64 = 0


state = Panic.zeroed(Writer(static(u8, 256)))


def show() -> None:
    """Write the line out, to the console and the log ring, and start the next."""
    state.line.byte(0x0A)
    text = state.line.written()
    log.put(text)
    screen.write(text)
    screen.drain()
    state.line.clear()


def say(text: Bytes) -> None:
    """Write one line of fixed text."""
    state.line.text(text)
    show()


def begin() -> None:
    """Become the only core that reports; any other stops here."""
    disable_interrupts()
    before = state.entered.fetch_add(1)
    if before == 1:
        screen.write(b"\n(another failure while reporting)\n")
        screen.drain()
    if before > 0:
        stop_core()
    state.line.clear()
    show()


def show_address(address: u64) -> None:
    """Write `  0000000000201234  function+0x12`."""
    line = state.line
    line.text(b"  ")
    line.hex(address, 16)
    index = symbols.find(address)
    if index is not None:
        line.text(b"  ")
        line.text(symbols.name(index))
        line.text(b"+0x")
        line.hex(address - symbols.address(index), 4)
    show()


def is_readable(address: u64) -> bool:
    """Whether the 16 bytes at `address` can be read without another fault."""
    if address == 0 or address % 8 != 0:
        return False
    if len(page_tables.pool) == 0:
        return address < 1 << 32
    return page_tables.lookup(address) != 0 and page_tables.lookup(address + 15) != 0


def show_backtrace(first: u64) -> None:
    """Walk the chain of frame pointers: each points to {the caller's, the return address}."""
    say(b"backtrace:")
    pointer = first
    for _ in range(BACKTRACE_MAX):
        if not is_readable(pointer):
            return
        pair = slice_at(u64, pointer, 2)
        if pair[1] == 0:
            return
        show_address(pair[1])
        if pair[0] <= pointer:
            return
        pointer = pair[0]


def stop_core() -> None:
    """Halt this core for ever."""
    while True:
        halt()


def finish() -> None:
    """Do what the configuration says comes after a panic."""
    match config.panic:
        case PanicAction.HALT:
            say(b"halted (panic=halt)")
        case PanicAction.REBOOT:
            say(b"rebooting (panic=reboot)")
            power.reboot()
        case PanicAction.EXIT:
            outl(QEMU_EXIT_PORT, EXIT_PANIC >> 1)
            power.power_off()
    stop_core()


@export("bare_trap")
def bare_trap(index: u32) -> None:
    """Report failed check number `index`. Never returns."""
    begin()
    site = trap_site(index)
    line = state.line
    line.text(b"trap: ")
    line.text(site.file)
    line.byte(0x3A)
    line.unsigned(site.line)
    line.byte(0x3A)
    line.unsigned(site.column)
    line.text(b": ")
    line.text(site.reason)
    show()
    show_backtrace(frame_pointer())
    finish()


def exception_text(vector: u64) -> Bytes:
    """Return the name of exception `vector`."""
    if vector < len(EXCEPTION_TEXT):
        return EXCEPTION_TEXT[vector]
    return b"interrupt"


def show_registers(frame: Frame) -> None:
    """Write all registers, four a line."""
    line = state.line
    values = slice_at(u64, address_of(frame), REGISTER_COUNT)
    column = 0
    for index in range(REGISTER_COUNT):
        line.text(REGISTER_NAMES[index])
        line.hex(values[index], 16)
        column += 1
        if column == 4:
            show()
            column = 0
        else:
            line.text(b"  ")
    line.text(b"rsp ")
    line.hex(frame.rsp, 16)
    show()
    line.text(b"flags ")
    line.hex(frame.rflags, 8)
    line.text(b"  cr3 ")
    line.hex(read_cr3(), 16)
    show()


@export("on_exception")
def on_exception(frame: Frame) -> None:
    """Report a CPU exception. Returns only after a breakpoint, or when it was to be expected."""
    if frame.vector == BREAKPOINT:
        log.say(b"breakpoint")
        return
    if frame.vector == PROTECTION and frame.rip == symbol_address("probe_msr_at"):
        frame.rip = symbol_address("probe_msr_failed")
        return
    begin()
    line = state.line
    line.text(b"exception ")
    line.unsigned(frame.vector)
    line.text(b" (")
    line.text(exception_text(frame.vector))
    line.text(b") error ")
    line.hex(frame.error, 4)
    if frame.vector == PAGE_FAULT:
        state.page_faults += 1
        line.text(b" address ")
        line.hex(read_cr2(), 16)
    show()
    show_address(frame.rip)
    show_registers(frame)
    show_backtrace(frame.rbp)
    finish()
