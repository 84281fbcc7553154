"""Loading an object into this process, and entering and leaving its code.

The object is laid out by the same code as an image (relocate.py), into one anonymous mapping:
text R-X, constants R--, data RW-. Symbols outside (static data in Python allocations, the
C library's memcpy and friends) are reached through slots, so they may lie anywhere.

Entering: `bare_enter(wrapper, block, slot)` saves the callee-saved registers, remembers the stack
pointer in the thread's slot, calls the wrapper and returns 0. A failed check calls
`bare_trap(site)`, which finds the slot of its own thread (the smallest remembered stack pointer at
or above the current one: other threads' stacks do not interleave), unwinds to it, and makes
`bare_enter` return site + 1.

Invariant: a slot is in use by at most one thread, and compiled code never calls back into Python.
"""

import ctypes
import mmap
from collections.abc import Callable, Mapping, Sequence

from bare.compiler.elf import ObjectFile
from bare.compiler.merge import merge
from bare.compiler.relocate import GROUPS, Linkage
from bare.compiler.runtime_ir import module_asm

SLOTS = 1024  # Threads that may be inside compiled code at once.
PAGE = mmap.PAGESIZE
LIBC_NAMES = ("memcpy", "memmove", "memset", "memcmp", "bcmp")

_ENTER = f"""
.text
# bare.cpu.yield_core in a Linux process: sched_yield, system call 24.
.globl bare_yield
.type bare_yield,@function
.p2align 4
bare_yield:
    movl $24, %eax
    syscall
    retq
.size bare_yield, .-bare_yield

.globl bare_enter
.type bare_enter,@function
.p2align 4
bare_enter:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    leaq bare_slots(%rip), %rax
    movl %edx, %edx
    leaq (%rax,%rdx,8), %rbx
    movq %rsp, (%rbx)
    subq $8, %rsp
    movq %rdi, %rax
    movq %rsi, %rdi
    callq *%rax
    addq $8, %rsp
    movq $0, (%rbx)
    xorl %eax, %eax
.Lbare_leave:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    retq
.size bare_enter, .-bare_enter

.globl bare_trap
.type bare_trap,@function
.p2align 4
bare_trap:
    leal 1(%rdi), %eax
    leaq bare_slots(%rip), %rcx
    leaq {8 * SLOTS}(%rcx), %rdx
    movq $-1, %rsi
.Lbare_scan:
    movq (%rcx), %rdi
    cmpq %rsp, %rdi
    jb .Lbare_next
    cmpq %rsi, %rdi
    jae .Lbare_next
    movq %rdi, %rsi
    movq %rcx, %r8
.Lbare_next:
    addq $8, %rcx
    cmpq %rdx, %rcx
    jne .Lbare_scan
    cmpq $-1, %rsi
    je .Lbare_lost
    movq $0, (%r8)
    movq %rsi, %rsp
    cld
    jmp .Lbare_leave
.Lbare_lost:
    ud2
.size bare_trap, .-bare_trap

.section .bss.bare_slots,"aw",@nobits
.p2align 6
bare_slots:
    .zero {8 * SLOTS}
.text
"""


def enter_ir() -> str:
    """What the JIT appends to a unit's IR."""
    return module_asm(_ENTER)


def libc_symbols() -> dict[str, int]:
    """Addresses of the functions LLVM calls without being asked."""
    libc = ctypes.CDLL(None)
    found = {}
    for name in LIBC_NAMES:
        found[name] = ctypes.cast(getattr(libc, name), ctypes.c_void_p).value or 0
    return found


class LoadedObject:
    """Objects in executable memory. Their code is valid for as long as this lives."""

    def __init__(self, data: bytes | Sequence[bytes], outside: Mapping[str, int]) -> None:
        """Load the object(s) `data`; `outside` gives the address of every undefined symbol."""
        objects = [data] if isinstance(data, bytes) else data
        parsed = merge([ObjectFile.parse(item) for item in objects])
        linkage = Linkage.prepare(parsed, stubs=True)
        size = max(linkage.place(0, PAGE), 1)
        self._mapping = mmap.mmap(
            -1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))
        linkage.place(self.address, PAGE)
        linkage.resolve(libc_symbols() | dict(outside))
        linkage.relocate(s for group in GROUPS for s in linkage.groups[group])
        for group in ("text", "rodata", "data"):
            start, _ = linkage.spans[group]
            content = linkage.contents([group], start)
            self._mapping[start - self.address : start - self.address + len(content)] = content
        self._protect(*linkage.spans["text"], mmap.PROT_READ | mmap.PROT_EXEC)
        self._protect(*linkage.spans["rodata"], mmap.PROT_READ)
        self.symbols = linkage.defined()
        self.spans = dict(linkage.spans)

    @staticmethod
    def _protect(start: int, end: int, protection: int) -> None:
        size = -(-(end - start) // PAGE) * PAGE
        if not size:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(size), protection) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")

    def enter_function(self) -> Callable[[int, int, int], int]:
        """`bare_enter` as a Python callable; it releases the GIL while inside."""
        kind = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32)
        return kind(self.symbols["bare_enter"])
