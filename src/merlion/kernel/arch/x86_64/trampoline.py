"""Start-up code of the other cores: from real mode at 0x8000 to `ap_main` in long mode.

See Intel SDM volume 3, section 9.4.4. The boot core copies the bytes between `trampoline_start`
and `trampoline_end` to `TRAMPOLINE`, fills the `ap_*` words, sends INIT and SIPI, and waits until
the core reports itself, so that one set of words serves all cores in turn.

The core uses the boot page tables (every page executable, below 4 GiB) until it runs in the image,
and only then the kernel's own, in which this page is not executable.
"""

from bare.unsafe import module_asm

TRAMPOLINE = 0x8000
PVM_MSR = 0x4B56_4D10

module_asm(f"""
    .section .rodata.trampoline, "a", @progbits
    .balign 16
    .globl trampoline_start
    .code16
trampoline_start:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt_pointer - trampoline_start
    movl %cr0, %eax
    andl $0x9ffffff3, %eax          # CD, NW, EM, TS off
    orl $0x23, %eax                 # NE, MP, PE
    movl %eax, %cr0
    ljmpl $0x08, ${TRAMPOLINE} + trampoline_32 - trampoline_start
    .code32
trampoline_32:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $0x620, %eax               # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          # EFER
    rdmsr
    orl $0x900, %eax                # LME, NXE
    wrmsr
    movl %cr0, %eax
    orl $0x80010000, %eax           # PG, WP
    movl %eax, %cr0
    ljmpl $0x18, $ap_start64
    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00af9b000000ffff
trampoline_gdt_pointer:
    .word 31
    .long {TRAMPOLINE} + trampoline_gdt - trampoline_start
    .globl trampoline_end
trampoline_end:

    .section .text.ap, "ax", @progbits
    .code64
    .type ap_start64, @function
ap_start64:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq ap_pvm_page, %rax
    testq %rax, %rax
    jz 1f
    movl ${PVM_MSR:#x}, %ecx
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
1:  movq ap_page_tables, %rax
    movq %rax, %cr3
    movq ap_stack_top, %rsp
    fninit
    xorl %ebp, %ebp
    movq ap_index, %rdi
    callq ap_main
2:  hlt
    jmp 2b

    .section .data.ap, "aw", @progbits
    .balign 8
    .globl ap_pvm_page, ap_page_tables, ap_stack_top, ap_index
ap_pvm_page:
    .quad 0
ap_page_tables:
    .quad 0
ap_stack_top:
    .quad 0
ap_index:
    .quad 0
""")
