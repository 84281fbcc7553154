"""The five C functions LLVM calls without being asked, for images, which have no libc.

`memcpy`, `memmove`, `memset`, `memcmp` and `bcmp` in assembly, so that no optimisation can turn
their loops back into calls of themselves. `rep movsb` is slow for small sizes, and always slow
under an emulator; these use 16-byte SSE moves (part of the base ISA). Up to 16 bytes go in two
overlapping accesses; longer copies run 64 bytes a round and finish with a block that overlaps.

Calling convention: System V.
"""

MEMCPY = """
.globl memcpy
.type memcpy,@function
.globl memmove
.type memmove,@function
.p2align 4
memcpy:
memmove:
    movq %rdi, %rax
    cmpq $16, %rdx
    jbe .Lcopy_small
    cmpq $32, %rdx
    jbe .Lcopy_32
    cmpq $64, %rdx
    jbe .Lcopy_64
    movq %rdi, %rcx
    subq %rsi, %rcx
    cmpq %rdx, %rcx
    jb .Lcopy_backward              # 0 <= destination - source < length
    movdqu -16(%rsi,%rdx), %xmm4    # the last 64 bytes, read before anything is written
    movdqu -32(%rsi,%rdx), %xmm5
    movdqu -48(%rsi,%rdx), %xmm6
    movdqu -64(%rsi,%rdx), %xmm7
    leaq -64(%rdi,%rdx), %r8
.p2align 4
.Lcopy_forward:
    movdqu (%rsi), %xmm0
    movdqu 16(%rsi), %xmm1
    movdqu 32(%rsi), %xmm2
    movdqu 48(%rsi), %xmm3
    movdqu %xmm0, (%rdi)
    movdqu %xmm1, 16(%rdi)
    movdqu %xmm2, 32(%rdi)
    movdqu %xmm3, 48(%rdi)
    addq $64, %rsi
    addq $64, %rdi
    cmpq %r8, %rdi
    jb .Lcopy_forward
    movdqu %xmm4, 48(%r8)
    movdqu %xmm5, 32(%r8)
    movdqu %xmm6, 16(%r8)
    movdqu %xmm7, (%r8)
    ret
.Lcopy_backward:
    movdqu (%rsi), %xmm4            # the first 64 bytes
    movdqu 16(%rsi), %xmm5
    movdqu 32(%rsi), %xmm6
    movdqu 48(%rsi), %xmm7
.p2align 4
.Lcopy_backward_loop:
    movdqu -16(%rsi,%rdx), %xmm0
    movdqu -32(%rsi,%rdx), %xmm1
    movdqu -48(%rsi,%rdx), %xmm2
    movdqu -64(%rsi,%rdx), %xmm3
    movdqu %xmm0, -16(%rdi,%rdx)
    movdqu %xmm1, -32(%rdi,%rdx)
    movdqu %xmm2, -48(%rdi,%rdx)
    movdqu %xmm3, -64(%rdi,%rdx)
    subq $64, %rdx
    cmpq $64, %rdx
    ja .Lcopy_backward_loop
    movdqu %xmm4, (%rdi)
    movdqu %xmm5, 16(%rdi)
    movdqu %xmm6, 32(%rdi)
    movdqu %xmm7, 48(%rdi)
    ret
.Lcopy_64:
    movdqu (%rsi), %xmm0
    movdqu 16(%rsi), %xmm1
    movdqu -32(%rsi,%rdx), %xmm2
    movdqu -16(%rsi,%rdx), %xmm3
    movdqu %xmm0, (%rdi)
    movdqu %xmm1, 16(%rdi)
    movdqu %xmm2, -32(%rdi,%rdx)
    movdqu %xmm3, -16(%rdi,%rdx)
    ret
.Lcopy_32:
    movdqu (%rsi), %xmm0
    movdqu -16(%rsi,%rdx), %xmm1
    movdqu %xmm0, (%rdi)
    movdqu %xmm1, -16(%rdi,%rdx)
    ret
.Lcopy_small:
    cmpl $8, %edx
    jb .Lcopy_7
    movq (%rsi), %rcx
    movq -8(%rsi,%rdx), %r8
    movq %rcx, (%rdi)
    movq %r8, -8(%rdi,%rdx)
    ret
.Lcopy_7:
    cmpl $4, %edx
    jb .Lcopy_3
    movl (%rsi), %ecx
    movl -4(%rsi,%rdx), %r8d
    movl %ecx, (%rdi)
    movl %r8d, -4(%rdi,%rdx)
    ret
.Lcopy_3:
    cmpl $1, %edx
    jb .Lcopy_done
    movzbl (%rsi), %ecx
    je .Lcopy_1
    movzwl -2(%rsi,%rdx), %r8d
    movb %cl, (%rdi)
    movw %r8w, -2(%rdi,%rdx)
    ret
.Lcopy_1:
    movb %cl, (%rdi)
.Lcopy_done:
    ret
.size memcpy, .-memcpy
.size memmove, .-memmove
"""

MEMSET = """
.globl memset
.type memset,@function
.p2align 4
memset:
    movq %rdi, %rax
    movzbl %sil, %esi
    movabsq $0x0101010101010101, %rcx
    imulq %rsi, %rcx
    cmpq $16, %rdx
    jb .Lset_small
    movq %rcx, %xmm0
    punpcklqdq %xmm0, %xmm0
    cmpq $64, %rdx
    jbe .Lset_64
    leaq -64(%rdi,%rdx), %r8
.p2align 4
.Lset_loop:
    movdqu %xmm0, (%rdi)
    movdqu %xmm0, 16(%rdi)
    movdqu %xmm0, 32(%rdi)
    movdqu %xmm0, 48(%rdi)
    addq $64, %rdi
    cmpq %r8, %rdi
    jb .Lset_loop
    movdqu %xmm0, (%r8)
    movdqu %xmm0, 16(%r8)
    movdqu %xmm0, 32(%r8)
    movdqu %xmm0, 48(%r8)
    ret
.Lset_64:
    movdqu %xmm0, (%rdi)
    movdqu %xmm0, -16(%rdi,%rdx)
    cmpq $32, %rdx
    jbe .Lset_done
    movdqu %xmm0, 16(%rdi)
    movdqu %xmm0, -32(%rdi,%rdx)
    ret
.Lset_small:
    cmpl $8, %edx
    jb .Lset_7
    movq %rcx, (%rdi)
    movq %rcx, -8(%rdi,%rdx)
    ret
.Lset_7:
    cmpl $4, %edx
    jb .Lset_3
    movl %ecx, (%rdi)
    movl %ecx, -4(%rdi,%rdx)
    ret
.Lset_3:
    testl %edx, %edx
    je .Lset_done
    movb %cl, (%rdi)
    movb %cl, -1(%rdi,%rdx)
    shrl $1, %edx
    movb %cl, (%rdi,%rdx)
.Lset_done:
    ret
.size memset, .-memset
"""

MEMCMP = """
.globl memcmp
.type memcmp,@function
.globl bcmp
.type bcmp,@function
.p2align 4
memcmp:
bcmp:
    xorl %ecx, %ecx
    subq $16, %rdx
    jb .Lcompare_tail
.p2align 4
.Lcompare_loop:
    movdqu (%rdi,%rcx), %xmm0
    movdqu (%rsi,%rcx), %xmm1
    pcmpeqb %xmm1, %xmm0
    pmovmskb %xmm0, %eax
    subl $0xffff, %eax
    jne .Lcompare_differ
    addq $16, %rcx
    cmpq %rdx, %rcx
    jbe .Lcompare_loop
.Lcompare_tail:
    addq $16, %rdx
.Lcompare_bytes:
    cmpq %rdx, %rcx
    jae .Lcompare_equal
    movzbl (%rdi,%rcx), %eax
    movzbl (%rsi,%rcx), %r8d
    incq %rcx
    subl %r8d, %eax
    je .Lcompare_bytes
    ret
.Lcompare_differ:
    bsfl %eax, %eax                 # (mask - 0xffff) has its lowest set bit at the first difference
    addq %rax, %rcx
    movzbl (%rdi,%rcx), %eax
    movzbl (%rsi,%rcx), %r8d
    subl %r8d, %eax
    ret
.Lcompare_equal:
    xorl %eax, %eax
    ret
.size memcmp, .-memcmp
.size bcmp, .-bcmp
"""


def module_asm(text: str) -> str:
    """Assembler `text` as `module asm` lines of LLVM IR."""
    escaped = text.replace("\\", "\\5C").replace('"', "\\22")
    return "".join(f'module asm "{line}"\n' for line in escaped.splitlines() if line.strip())


def runtime_ir() -> str:
    """What an image appends to its IR."""
    return module_asm(".text\n" + MEMCPY + MEMSET + MEMCMP)
