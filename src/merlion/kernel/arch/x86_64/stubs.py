"""Entry points that only assembler can be: exception stubs, the wake-up interrupt, halting.

Every vector has a stub of 16 bytes at `exception_stubs + 16 * vector`; it brings the stack to one
shape (`frame.Frame`: registers, vector, error code, then what the CPU pushed) and calls
`on_exception(frame)`, exported by panic.py. See Intel SDM volume 3, section 6.14.

The wake-up interrupt only has to end `hlt`. Its handler touches no vector register and calls
nothing, so the code it interrupts needs no saving. It also closes the race between looking for
work and halting: on a PVM host there is no "sti shadow", so an interrupt that arrives on the very
`hlt` instruction is returned from behind it.
"""

from bare import u32, u64
from bare.cpu import rdmsr
from bare.unsafe import external, module_asm

VECTOR_COUNT = 64
SPURIOUS_VECTOR = 0x2F
WAKE_VECTOR = 0x30
# Exceptions for which the CPU pushes an error code (SDM volume 3, table 6-1).
WITH_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17, 21, 29, 30)


def _stub(vector: int) -> str:
    if vector == WAKE_VECTOR:
        return "    .balign 16\n    jmp wake_entry\n"
    if vector == SPURIOUS_VECTOR:
        return "    .balign 16\n    iretq\n"
    zero = "" if vector in WITH_ERROR_CODE else "    pushq $0\n"
    return f"    .balign 16\n{zero}    pushq ${vector}\n    jmp exception_entry\n"


_REGISTERS = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"]
_REGISTERS += [f"r{number}" for number in range(8, 16)]
_PUSH = "".join(f"    pushq %{name}\n" for name in _REGISTERS)
_POP = "".join(f"    popq %{name}\n" for name in reversed(_REGISTERS))

module_asm(f"""
    .section .text.stubs, "ax", @progbits
    .code64
    .balign 16
    .globl exception_stubs
exception_stubs:
{"".join(_stub(vector) for vector in range(VECTOR_COUNT))}
    .balign 16
    .type exception_entry, @function
exception_entry:
{_PUSH}
    cld
    movq %rsp, %rdi
    movq %rsp, %rbx
    andq $-16, %rsp
    callq on_exception
    movq %rbx, %rsp
{_POP}
    addq $16, %rsp
    iretq

    .type wake_entry, @function
wake_entry:
    incq %gs:8                      # Core.interrupts.
    pushq %rax
    pushq %rcx
    pushq %rdx
    movq apic_eoi_address, %rax
    testq %rax, %rax
    jz 1f
    movl $0, (%rax)
    jmp 2f
1:  movl $0x80b, %ecx               # IA32_X2APIC_EOI
    xorl %edx, %edx
    wrmsr
2:  cmpq $halt_window, 24(%rsp)     # Interrupted on the hlt itself: return behind it.
    jne 3f
    movq $halt_window_end, 24(%rsp)
3:  popq %rdx
    popq %rcx
    popq %rax
    iretq

    .globl wait_for_wake
    .type wait_for_wake, @function
wait_for_wake:
    testq %rdi, %rdi
    jnz 1f
    sti
    hlt
    cli
    retq
1:  movb $1, (%rdi)                 # PVM: the virtual interrupt flag is this byte.
halt_window:
    hlt
halt_window_end:
    movb $0, (%rdi)
    retq

    .globl this_core
    .type this_core, @function
this_core:
    movq %gs:0, %rax                # Core.address.
    retq

    .globl probe_msr, probe_msr_at, probe_msr_failed
    .type probe_msr, @function
probe_msr:
    movl %edi, %ecx
probe_msr_at:
    rdmsr
    shlq $32, %rdx
    orq %rdx, %rax
    retq
probe_msr_failed:
    xorl %eax, %eax
    retq

    .globl hardware_random
    .type hardware_random, @function
hardware_random:
    movl $10, %ecx
1:  rdrand %rax
    jc 2f
    decl %ecx
    jnz 1b
    xorl %eax, %eax
2:  retq

    .globl write_port
    .type write_port, @function
write_port:                         # A string instruction leaves a virtual machine once.
    movq %rdx, %rcx
    movq %rdi, %rdx
    cld
    rep outsb
    retq

    .globl exhaust_stack
    .type exhaust_stack, @function
exhaust_stack:
    pushq %rax
    jmp exhaust_stack

    .globl frame_pointer
    .type frame_pointer, @function
frame_pointer:
    movq %rbp, %rax
    retq

    .section .data.stubs, "aw", @progbits
    .balign 8
    .globl apic_eoi_address
apic_eoi_address:
    .quad 0xfee000b0
""")


@external("wait_for_wake")
def wait_for_wake(pvm_page: u64) -> None:
    """Halt until an interrupt. `pvm_page` is this CPU's private page, 0 when not on PVM."""


@external("probe_msr")
def probe_msr(register: u32) -> u64:
    """Return a model-specific register, 0 where there is none: panic.py steps over the fault."""
    return rdmsr(register)


@external("this_core")
def this_core() -> u64:
    """Return the address of this core's `smp.Core`."""
    return 0


@external("frame_pointer")
def frame_pointer() -> u64:
    """Return the caller's frame pointer."""
    return 0


@external("hardware_random")
def hardware_random() -> u64:
    """Return RDRAND's number, 0 when it has none after ten tries (SDM volume 1, 7.3.17)."""
    return 0


@external("write_port")
def write_port(port: u64, address: u64, byte_count: u64) -> None:
    """Write the bytes at `address` to an I/O port, one after the other."""


@external("exhaust_stack")
def exhaust_stack() -> None:
    """Push until the guard page is hit: the shell's `crash stack`."""
