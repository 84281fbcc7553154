"""Prints operations on pairs of bf16, with AVX512-BF16 where the level has it.

The instructions round to nearest, ties to even, whatever MXCSR says; vdpbf16ps adds the product of
the odd lanes first, then that of the even ones, each with one rounding (Intel SDM volume 2,
VDPBF16PS and VCVTNE2PS2BF16). They take subnormal numbers for zero. So do conversions here; in
products and sums that would cost more than it is worth, as weights and activations are normal.
"""

from bare.compiler import types as ty
from bare.compiler.emit_vector_memory import VectorMemoryEmitter
from bare.compiler.levels import BY_NUMBER
from bare.compiler.tree import Node

EXPONENT = 0x7F80_0000
SIGN = -0x8000_0000
UPPER = -0x1_0000


class Bf16Emitter(VectorMemoryEmitter):
    """Vec[bf16]."""

    def shape(self) -> tuple[int, str, str, str]:
        """Pairs in a vector, and its types as words, floats and halves."""
        pairs = ty.VECTOR_BYTES[self.level] // 4
        return pairs, f"<{pairs} x i32>", f"<{pairs} x float>", f"<{2 * pairs} x i16>"

    def v_broadcast2(self, node: Node) -> str:
        """One pair in every place."""
        address = self.value_of(node.args[0])
        _, words, _, halves = self.shape()
        pair = self.let(f"load i32, ptr {address}, align 1")
        return self.let(f"bitcast {words} {self.splat(words, 'i32', pair)} to {halves}")

    def v_even(self, node: Node) -> str:
        """The lower halves as f32."""
        return self.widened(self.value_of(node.args[0]), "even")

    def v_odd(self, node: Node) -> str:
        """The upper halves as f32."""
        return self.widened(self.value_of(node.args[0]), "odd")

    def widened(self, operand: str, which: str) -> str:
        """One half of each pair as f32."""
        _, words, floats, halves = self.shape()
        pair = self.let(f"bitcast {halves} {operand} to {words}")
        if which == "even":
            bits = self.let(f"shl {words} {pair}, {self.constant(words, 16)}")
        else:
            bits = self.let(f"and {words} {pair}, {self.constant(words, UPPER)}")
        return self.let(f"bitcast {words} {bits} to {floats}")

    def v_dot2(self, node: Node) -> str:
        """acc + odd * odd, then + even * even."""
        acc, a, b = (self.value_of(x) for x in node.args)
        if not BY_NUMBER[self.level].dot2:
            for which in ("odd", "even"):
                acc = self.fused(self.widened(a, which), self.widened(b, which), acc)
            return acc
        pairs, _, floats, halves = self.shape()
        numbers = f"<{2 * pairs} x bfloat>"
        left = self.let(f"bitcast {halves} {a} to {numbers}")
        right = self.let(f"bitcast {halves} {b} to {numbers}")
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        self.unit.declare(name, floats, f"{floats}, {numbers}, {numbers}")
        return self.let(
            f"call {floats} @{name}({floats} {acc}, {numbers} {left}, {numbers} {right})"
        )

    def v_fma(self, node: Node) -> str:
        """a * b + c."""
        a, b, c = (self.value_of(x) for x in node.args)
        return self.fused(a, b, c)

    def fused(self, a: str, b: str, c: str) -> str:
        """a * b + c in f32: one rounding where the level has FMA, two at the baseline."""
        lanes, _, floats, _ = self.shape()
        if self.level > 0:
            name = f"llvm.fma.v{lanes}f32"
            self.unit.declare(name, floats, f"{floats}, {floats}, {floats}")
            return self.let(f"call {floats} @{name}({floats} {a}, {floats} {b}, {floats} {c})")
        product = self.let(f"fmul {floats} {a}, {b}")
        return self.let(f"fadd {floats} {product}, {c}")

    def v_pack(self, node: Node) -> str:
        """The lanes of one vector, then those of another, as bf16."""
        low, high = (self.value_of(x) for x in node.args)
        pairs, words, _, halves = self.shape()
        if BY_NUMBER[self.level].dot2:
            return self.converted(low, high)
        parts = []
        for operand in (low, high):
            upper = self.rounded(operand)
            parts.append(self.let(f"lshr {words} {upper}, {self.constant(words, 16)}"))
        picks = ", ".join(f"i32 {lane}" for lane in range(2 * pairs))
        both = self.let(
            f"shufflevector {words} {parts[0]}, {words} {parts[1]}, <{2 * pairs} x i32> <{picks}>"
        )
        return self.let(f"trunc <{2 * pairs} x i32> {both} to {halves}")

    def v_pairs(self, node: Node) -> str:
        """The lanes of two vectors in turn, as bf16."""
        even, odd = (self.value_of(x) for x in node.args)
        pairs, words, _, halves = self.shape()
        if BY_NUMBER[self.level].dot2:
            both = self.converted(even, odd)
            picks = ", ".join(f"i32 {lane}, i32 {lane + pairs}" for lane in range(pairs))
            return self.let(
                f"shufflevector {halves} {both}, {halves} poison, <{2 * pairs} x i32> <{picks}>"
            )
        lower = self.let(f"lshr {words} {self.rounded(even)}, {self.constant(words, 16)}")
        upper = self.let(f"and {words} {self.rounded(odd)}, {self.constant(words, UPPER)}")
        both = self.let(f"or {words} {lower}, {upper}")
        return self.let(f"bitcast {words} {both} to {halves}")

    def rounded(self, operand: str) -> str:
        """round_bf16 of what is no subnormal number, those as zero."""
        lanes, words, floats, _ = self.shape()
        bits = self.let(f"bitcast {floats} {operand} to {words}")
        exponent = self.let(f"and {words} {bits}, {self.constant(words, EXPONENT)}")
        tiny = self.let(f"icmp eq {words} {exponent}, zeroinitializer")
        zero = self.let(f"and {words} {bits}, {self.constant(words, SIGN)}")
        kept = self.let(f"select <{lanes} x i1> {tiny}, {words} {zero}, {words} {bits}")
        return self.round_bf16(self.let(f"bitcast {words} {kept} to {floats}"), lanes)

    def converted(self, low: str, high: str) -> str:
        """vcvtne2ps2bf16: its second source is the lower half."""
        pairs, _, floats, halves = self.shape()
        numbers = f"<{2 * pairs} x bfloat>"
        name = "llvm.x86.avx512bf16.cvtne2ps2bf16.512"
        self.unit.declare(name, numbers, f"{floats}, {floats}")
        both = self.let(f"call {numbers} @{name}({floats} {high}, {floats} {low})")
        return self.let(f"bitcast {numbers} {both} to {halves}")
