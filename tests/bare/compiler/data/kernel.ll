; A PVH kernel: says hello on COM1 and leaves through isa-debug-exit with 41 (QEMU: 83).
target triple = "x86_64-unknown-none-elf"
module asm ".code32"
module asm ".globl pvh_start"
module asm ".type pvh_start,@function"
module asm "pvh_start:"
module asm "  movl $stack_top, %esp"
module asm "  movl $pml4, %eax"
module asm "  movl $pdpt+3, pml4"
module asm "  movl $0x83, pdpt"
module asm "  movl %eax, %cr3"
module asm "  movl %cr4, %eax"
module asm "  orl $0x620, %eax"
module asm "  movl %eax, %cr4"
module asm "  movl $0xC0000080, %ecx"
module asm "  rdmsr"
module asm "  orl $0x100, %eax"
module asm "  wrmsr"
module asm "  movl %cr0, %eax"
module asm "  andl $0xfffffffb, %eax"
module asm "  orl $0x80000003, %eax"
module asm "  movl %eax, %cr0"
module asm "  lgdt gdt_pointer"
module asm "  ljmp $8, $long_mode"
module asm ".code64"
module asm "long_mode:"
module asm "  movw $16, %ax"
module asm "  movw %ax, %ds"
module asm "  movw %ax, %es"
module asm "  movw %ax, %ss"
module asm "  call main"
module asm "1: hlt"
module asm "  jmp 1b"
module asm ".section .rodata.gdt,\22a\22"
module asm ".p2align 4"
module asm "gdt: .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff"
module asm "gdt_pointer: .word 23"
module asm " .long gdt"
module asm ".section .bss.boot,\22aw\22,@nobits"
module asm ".p2align 12"
module asm "pml4: .skip 4096"
module asm "pdpt: .skip 4096"
module asm "stack: .skip 16384"
module asm "stack_top:"
module asm ".text"

@hello = internal constant [18 x i8] c"hello from image\0A\00"
@counter = internal global i32 41
@buffer = internal global [4096 x i8] zeroinitializer
@common = common global [64 x i64] zeroinitializer, align 64
@bare_symbol_table = external dso_local global i32
@pointers = internal constant [2 x ptr] [ptr @hello, ptr @buffer]

define internal void @out(i8 %b) noinline #0 {
  call void asm sideeffect "outb $0, $1", "{ax},{dx}"(i8 %b, i16 1016)
  call void asm sideeffect "outb $0, $1", "{ax},{dx}"(i8 %b, i16 233)
  ret void
}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
define dso_local void @main() #0 !dbg !5 {
entry:
  %n = load volatile i32, ptr @bare_symbol_table, !dbg !8
  %big = icmp ugt i32 %n, 2
  %p = load volatile ptr, ptr @pointers
  %len = select i1 %big, i64 18, i64 1
  call void @llvm.memcpy.p0.p0.i64(ptr @buffer, ptr %p, i64 %len, i1 false)
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %body]
  %q = getelementptr i8, ptr @buffer, i64 %i
  %c = load i8, ptr %q
  %z = icmp eq i8 %c, 0
  br i1 %z, label %done, label %body
body:
  call void @out(i8 %c), !dbg !9
  %next = add i64 %i, 1
  br label %loop
done:
  %v = load volatile i32, ptr @counter
  %cc = load volatile i64, ptr @common
  %ct = trunc i64 %cc to i32
  %w = add i32 %v, %ct
  call void asm sideeffect "outl $0, $1", "{ax},{dx}"(i32 %w, i16 244), !dbg !10
  br label %done
}
attributes #0 = { nounwind noredzone "frame-pointer"="all" }

!llvm.dbg.cu = !{!0}
!llvm.module.flags = !{!2, !3}
!0 = distinct !DICompileUnit(language: DW_LANG_Python, file: !1, producer: "bare", isOptimized: true, runtimeVersion: 0, emissionKind: FullDebug, nameTableKind: None)
!1 = !DIFile(filename: "hello.py", directory: "/source")
!2 = !{i32 7, !"Dwarf Version", i32 5}
!3 = !{i32 2, !"Debug Info Version", i32 3}
!5 = distinct !DISubprogram(name: "hello.main", linkageName: "main", scope: !1, file: !1, line: 10, type: !6, scopeLine: 10, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !0)
!6 = !DISubroutineType(types: !7)
!7 = !{null}
!8 = !DILocation(line: 11, column: 5, scope: !5)
!9 = !DILocation(line: 13, column: 9, scope: !5)
!10 = !DILocation(line: 15, column: 5, scope: !5)
