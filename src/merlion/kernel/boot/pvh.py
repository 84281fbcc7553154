"""PVH entry: from 32-bit protected mode to `kernel_main` in long mode.

Follows Xen's `docs/misc/pvh.pandoc`: paging off, flat 32-bit segments, ebx = physical address of
`start_info`. The linker's Xen note (type 18) names `pvh_start`.

The temporary page tables map the first 4 GiB one to one with 2 MiB pages. They are data of the
image, not built here: on a PVM host these first instructions are interpreted at about 2,000 cycles
each. Every entry at every level has the U bit, because a PVM guest runs in user mode underneath
and a page without it hangs the virtual CPU (docs/hardware/pvm.md).

The word `pvm` on the command line is found here, because the private page must be announced
before anything else happens in long mode, and on any other machine that MSR does not exist (#GP).
"""

from bare.unsafe import module_asm

BOOT_STACK_BYTES = 256 * 1024
GUARD_BYTES = 4096

# Selectors of the boot GDT; arch/x86_64/gdt.py keeps the same numbers.
DATA = 0x10
CODE64 = 0x18

module_asm(f"""
    .section .data.boot_tables, "aw", @progbits
    .balign 4096
    .globl boot_pml4
boot_pml4:
    .quad boot_pdpt + 7
    .zero 4088
boot_pdpt:
    .quad boot_pd + 0x0007, boot_pd + 0x1007, boot_pd + 0x2007, boot_pd + 0x3007
    .zero 4064
boot_pd:
    .set entry, 0
    .rept 2048
    .quad entry + 0x87
    .set entry, entry + 0x200000
    .endr

    .globl boot_gdt_pointer
boot_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00af9b000000ffff
boot_gdt_pointer:
    .word 31
    .long boot_gdt
    .long 0

    .balign 8
    .globl boot_tsc
boot_tsc:
    .quad 0
    .globl boot_pvm
boot_pvm:
    .quad 0

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .globl pvm_boot_page
pvm_boot_page:
    .zero 4096
    .globl boot_stack_guard
boot_stack_guard:
    .zero {GUARD_BYTES}
    .zero {BOOT_STACK_BYTES}
    .globl boot_stack_top
boot_stack_top:

    .section .text.boot, "ax", @progbits
    .code32
    .globl pvh_start
    .type pvh_start, @function
pvh_start:
    cli
    cld
    movl %ebx, %esi
    rdtsc
    movl %eax, boot_tsc
    movl %edx, boot_tsc + 4
    lgdtl boot_gdt_pointer
    movl %cr4, %eax
    orl $0x620, %eax                # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          # EFER
    rdmsr
    orl $0x900, %eax                # LME, NXE
    wrmsr
    movl %cr0, %eax
    andl $0xfffffff3, %eax          # EM and TS off
    orl $0x80010023, %eax           # PG, WP, NE, MP, PE
    movl %eax, %cr0
    ljmpl ${CODE64}, $pvh_start64

    .code64
    .type pvh_start64, @function
pvh_start64:
    movl ${DATA}, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $boot_stack_top, %esp
    movl %esi, %esi                 # The upper half of every register is undefined here.
    movq 24(%rsi), %rdi             # start_info.cmdline_paddr
    testq %rdi, %rdi
    jz 4f
    movb $32, %cl                   # The byte before the one at rdi.
1:  movb (%rdi), %al
    testb %al, %al
    jz 4f
    cmpb $32, %cl
    jne 2f
    cmpb $'p', %al
    jne 2f
    cmpb $'v', 1(%rdi)
    jne 2f
    cmpb $'m', 2(%rdi)
    jne 2f
    testb $0xdf, 3(%rdi)            # A space or the end.
    jz 3f
2:  movb %al, %cl
    incq %rdi
    jmp 1b
3:  movl $1, boot_pvm
    movl $0x4b564d10, %ecx
    movl $pvm_boot_page, %eax
    xorl %edx, %edx
    wrmsr
4:  fninit
    pushq $0x1f80
    ldmxcsr (%rsp)
    popq %rax                       # The stack is a multiple of 16 at every call.
    xorl %ebp, %ebp                 # The end of every backtrace.
    movq %rsi, %rdi
    callq kernel_main
5:  hlt
    jmp 5b
""")
