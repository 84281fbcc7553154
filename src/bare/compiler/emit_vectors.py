"""Prints vector operations as LLVM IR.

A vector has 16, 32 or 64 bytes by the level of the function; levels have their own instructions
for `dot4` (vpdpbusd, vpmaddwd, pmaddwd) and for half floats (F16C from avx2 on).
"""

from bare.compiler import types as ty
from bare.compiler.emit_bf16 import Bf16Emitter
from bare.compiler.emit_numbers import FLOAT, SIGNED, UNSIGNED
from bare.compiler.levels import BY_NUMBER
from bare.compiler.llvm import stored
from bare.compiler.tree import Node

# By the width of the lanes, in bits, and of the vector, in bytes.
MULTIPLY_ADD = {
    (8, 16): "llvm.x86.ssse3.pmadd.ub.sw.128",
    (8, 32): "llvm.x86.avx2.pmadd.ub.sw",
    (8, 64): "llvm.x86.avx512.pmaddubs.w.512",
    (16, 16): "llvm.x86.sse2.pmadd.wd",
    (16, 32): "llvm.x86.avx2.pmadd.wd",
    (16, 64): "llvm.x86.avx512.pmaddw.d.512",
}


class VectorEmitter(Bf16Emitter):
    """The `vector` operation."""

    def _vector(self, node: Node) -> str:
        name = node.data[0]
        result: str = getattr(self, "v_" + name, self.v_arithmetic)(node)
        return result

    # -- lanes -----------------------------------------------------------------------------------

    def v_arithmetic(self, node: Node) -> str:
        """add, sub, mul, div, and, or, xor, shl, shr."""
        op, data = node.data
        kind = self.kind(node.type)
        if op in ("shl", "shr"):
            return self.v_shift(node)
        a, b = self.pair(*node.args)
        if data == "float":
            op = "f" + op
        return self.let(f"{op} {kind} {a}, {b}")

    def v_shift(self, node: Node) -> str:
        """Shift every lane by one scalar count."""
        op, signed = node.data
        kind = self.kind(node.type)
        vector, count = self.pair(*node.args)
        element = stored(node.type.element)
        if node.args[1].op == "const":
            counts = self.constant(kind, int(node.args[1].data))
        else:
            narrow = self.let(f"trunc i64 {count} to {element}") if element != "i64" else count
            counts = self.splat(kind, element, narrow)
        name = {"shl": "shl", "shr": "ashr" if signed else "lshr"}[op]
        return self.let(f"{name} {kind} {vector}, {counts}")

    def v_neg(self, node: Node) -> str:
        """Negate every lane."""
        operand = self.value_of(node.args[0])
        kind = self.kind(node.type)
        if ty.is_float(node.type.element):
            return self.let(f"fneg {kind} {operand}")
        return self.let(f"sub {kind} zeroinitializer, {operand}")

    def v_invert(self, node: Node) -> str:
        """The other lanes of a mask."""
        operand = self.value_of(node.args[0])
        kind = self.kind(node.type)
        ones = "<" + ", ".join(["i1 true"] * node.type.lanes) + ">"
        return self.let(f"xor {kind} {operand}, {ones}")

    def v_compare(self, node: Node) -> str:
        """Lane-wise comparison."""
        a, b = self.pair(*node.args)
        t = node.args[0].type
        predicate = node.data[1]
        if ty.is_float(t.element):
            return self.let(f"fcmp {FLOAT[predicate]} {self.kind(t)} {a}, {b}")
        table = SIGNED if t.element.signed else UNSIGNED
        return self.let(f"icmp {table[predicate]} {self.kind(t)} {a}, {b}")

    def v_select(self, node: Node) -> str:
        """Lanes of a where the mask is set, else of b."""
        mask, a, b = (self.value_of(x) for x in node.args)
        kind = self.kind(node.type)
        return self.let(f"select {self.kind(node.args[0].type)} {mask}, {kind} {a}, {kind} {b}")

    def suffix(self, t: ty.VecType) -> str:
        """The type as it appears in an intrinsic's name."""
        element = t.element
        letter = f"f{element.bits}" if ty.is_float(element) else f"i{element.bits}"
        return f"v{self.lanes(t)}{letter}"

    def intrinsic(self, name: str, node: Node, result: str | None = None) -> str:
        """Call an LLVM vector intrinsic whose operands all have the node's first type."""
        operands = [self.value_of(a) for a in node.args]
        t = node.args[0].type
        kind = self.kind(t)
        text = ", ".join(f"{kind} {o}" for o in operands)
        full = f"llvm.{name}.{self.suffix(t)}"
        result = result or kind
        self.unit.declare(full, result, ", ".join([kind] * len(operands)))
        return self.let(f"call {result} @{full}({text})")

    def v_min(self, node: Node) -> str:
        """Smaller lane; for floats `a if a < b else b`, as minps."""
        return self.extremum(node, "min", "olt")

    def v_max(self, node: Node) -> str:
        """Larger lane; for floats `a if a > b else b`, as maxps."""
        return self.extremum(node, "max", "ogt")

    def extremum(self, node: Node, name: str, predicate: str) -> str:
        """min or max."""
        element = node.type.element
        if not ty.is_float(element):
            return self.intrinsic(("s" if element.signed else "u") + name, node)
        a, b = self.pair(*node.args)
        kind = self.kind(node.type)
        test = self.let(f"fcmp {predicate} {kind} {a}, {b}")
        lanes = self.lanes(node.type)
        return self.let(f"select <{lanes} x i1> {test}, {kind} {a}, {kind} {b}")

    def v_abs(self, node: Node) -> str:
        """Magnitude; the least integer wraps to itself."""
        if ty.is_float(node.type.element):
            return self.intrinsic("fabs", node)
        if not node.type.element.signed:
            return self.value_of(node.args[0])
        operand = self.value_of(node.args[0])
        kind = self.kind(node.type)
        full = f"llvm.abs.{self.suffix(node.type)}"
        self.unit.declare(full, kind, f"{kind}, i1")
        return self.let(f"call {kind} @{full}({kind} {operand}, i1 false)")

    def v_sqrt(self, node: Node) -> str:
        """Square root of every lane."""
        return self.intrinsic("sqrt", node)

    def v_floor(self, node: Node) -> str:
        """Floor of every lane."""
        return self.intrinsic("floor", node)

    # -- reductions ------------------------------------------------------------------------------

    def v_lane(self, node: Node) -> str:
        """One lane."""
        operand = self.value_of(node.args[0])
        t = node.args[0].type
        found = self.let(f"extractelement {self.kind(t)} {operand}, i64 {node.data[1]}")
        return self.from_stored(found, t.element)

    def v_sum(self, node: Node) -> str:
        """Sum of the lanes: floats by halves (the order the language page states), ints modulo."""
        t = node.args[0].type
        operand = self.value_of(node.args[0])
        lanes = self.lanes(t)
        if ty.is_float(t.element):
            return self.halves(operand, lanes, lambda a, b, k: self.let(f"fadd {k} {a}, {b}"))
        kind = stored(t.element)
        full = f"llvm.vector.reduce.add.{self.suffix(t)}"
        self.unit.declare(full, kind, self.kind(t))
        found = self.let(f"call {kind} @{full}({self.kind(t)} {operand})")
        return self.from_stored(found, t.element)

    def halves(self, operand: str, lanes: int, combine: object) -> str:
        """Fold the upper half onto the lower until one lane is left."""
        while lanes > 1:
            half = lanes // 2
            kind = f"<{lanes} x float>"
            parts = []
            for first in (0, half):
                picks = ", ".join(f"i32 {first + i}" for i in range(half))
                parts.append(
                    self.let(
                        f"shufflevector {kind} {operand}, {kind} poison, <{half} x i32> <{picks}>"
                    )
                )
            operand = combine(parts[0], parts[1], f"<{half} x float>")  # type: ignore[operator]
            lanes = half
        return self.let(f"extractelement <1 x float> {operand}, i64 0")

    def reduce(self, node: Node, name: str, predicate: str) -> str:
        """Largest or smallest lane."""
        t = node.args[0].type
        operand = self.value_of(node.args[0])
        lanes = self.lanes(t)
        if ty.is_float(t.element):

            def pick(a: str, b: str, kind: str) -> str:
                test = self.let(f"fcmp {predicate} {kind} {a}, {b}")
                count = kind[1:].split(" ")[0]
                return self.let(f"select <{count} x i1> {test}, {kind} {a}, {kind} {b}")

            return self.halves(operand, lanes, pick)
        letter = "s" if t.element.signed else "u"
        full = f"llvm.vector.reduce.{letter}{name}.{self.suffix(t)}"
        kind = stored(t.element)
        self.unit.declare(full, kind, self.kind(t))
        found = self.let(f"call {kind} @{full}({self.kind(t)} {operand})")
        return self.from_stored(found, t.element)

    def v_max_lane(self, node: Node) -> str:
        """Largest lane."""
        return self.reduce(node, "max", "ogt")

    def v_min_lane(self, node: Node) -> str:
        """Smallest lane."""
        return self.reduce(node, "min", "olt")

    # -- conversions -----------------------------------------------------------------------------

    def v_to(self, node: Node) -> str:
        """Between i32 and f32 lanes; floats truncate."""
        operand = self.value_of(node.args[0])
        source, target = node.args[0].type, node.type
        if source == target:
            return operand
        if ty.is_float(target.element):
            return self.let(f"sitofp {self.kind(source)} {operand} to {self.kind(target)}")
        return self.to_i32(operand, "cvttps2dq", "cvtt.ps2dq")

    def v_round_to_i32(self, node: Node) -> str:
        """Nearest integer, ties to even."""
        return self.to_i32(self.value_of(node.args[0]), "cvtps2dq", "cvt.ps2dq")

    def to_i32(self, operand: str, name: str, name_256: str) -> str:
        """The instruction itself: it defines what becomes of NaN and of what does not fit."""
        lanes = ty.VECTOR_BYTES[self.level] // 4
        floats, words = f"<{lanes} x float>", f"<{lanes} x i32>"
        if lanes < 16:
            full = f"llvm.x86.sse2.{name}" if lanes == 4 else f"llvm.x86.avx.{name_256}.256"
            self.unit.declare(full, words, floats)
            return self.let(f"call {words} @{full}({floats} {operand})")
        full = f"llvm.x86.avx512.mask.{name}.512"
        self.unit.declare(full, words, f"{floats}, {words}, i16, i32")
        tail = f"{words} zeroinitializer, i16 -1, i32 4"  # Every lane; rounding as MXCSR says.
        return self.let(f"call {words} @{full}({floats} {operand}, {tail})")

    def v_bits(self, node: Node) -> str:
        """The same bits as other lanes."""
        operand = self.value_of(node.args[0])
        return self.let(
            f"bitcast {self.kind(node.args[0].type)} {operand} to {self.kind(node.type)}"
        )

    # -- multiply-add ----------------------------------------------------------------------------

    def v_dot4(self, node: Node) -> str:
        """acc + the four products of each 32-bit group, exact."""
        acc, a, b = (self.value_of(x) for x in node.args)
        size = ty.VECTOR_BYTES[self.level]
        words = f"<{size // 4} x i32>"
        octets = f"<{size} x i8>"
        if BY_NUMBER[self.level].dot4:
            name = f"llvm.x86.avx512.vpdpbusd.{size * 8}"
            self.unit.declare(name, words, f"{words}, {octets}, {octets}")
            return self.let(f"call {words} @{name}({words} {acc}, {octets} {a}, {octets} {b})")
        halves = f"<{size // 2} x i16>"
        eight = self.constant(halves, 8)
        left = self.let(f"bitcast {octets} {a} to {halves}")
        right = self.let(f"bitcast {octets} {b} to {halves}")
        even_a = self.let(f"and {halves} {left}, {self.constant(halves, 255)}")
        odd_a = self.let(f"lshr {halves} {left}, {eight}")
        shifted = self.let(f"shl {halves} {right}, {eight}")
        even_b = self.let(f"ashr {halves} {shifted}, {eight}")
        odd_b = self.let(f"ashr {halves} {right}, {eight}")
        total = acc
        for x, y in ((even_a, even_b), (odd_a, odd_b)):
            product = self.multiply_add(16, x, y)
            total = self.let(f"add {words} {total}, {product}")
        return total

    def v_dot4_small(self, node: Node) -> str:
        """dot4 for operands whose pairs of products fit 16 bits, as `bare.simd` demands."""
        if BY_NUMBER[self.level].dot4:
            return self.v_dot4(node)
        acc, a, b = (self.value_of(x) for x in node.args)
        size = ty.VECTOR_BYTES[self.level]
        halves, words = f"<{size // 2} x i16>", f"<{size // 4} x i32>"
        product = self.multiply_add(16, self.multiply_add(8, a, b), self.constant(halves, 1))
        return self.let(f"add {words} {acc}, {product}")

    def v_dot2_i16(self, node: Node) -> str:
        """acc + the two products of each 16-bit group."""
        acc, a, b = (self.value_of(x) for x in node.args)
        halves = self.kind(node.type)
        return self.let(f"add {halves} {acc}, {self.multiply_add(8, a, b)}")

    def v_sum_pairs(self, node: Node) -> str:
        """Neighbours of 16 bits, added."""
        operand = self.value_of(node.args[0])
        return self.multiply_add(16, operand, self.constant(self.kind(node.args[0].type), 1))

    def v_times_sign(self, node: Node) -> str:
        """psignb; compares where there is none."""
        a, signs = (self.value_of(x) for x in node.args)
        octets, size = self.kind(node.type), ty.VECTOR_BYTES[self.level]
        if size < 64:
            name = "llvm.x86.avx2.psign.b" if size == 32 else "llvm.x86.ssse3.psign.b.128"
            self.unit.declare(name, octets, f"{octets}, {octets}")
            return self.let(f"call {octets} @{name}({octets} {a}, {octets} {signs})")
        negated = self.let(f"sub {octets} zeroinitializer, {a}")
        below = self.let(f"icmp slt {octets} {signs}, zeroinitializer")
        some = self.let(f"icmp ne {octets} {signs}, zeroinitializer")
        masks = f"<{size} x i1>"
        turned = self.let(f"select {masks} {below}, {octets} {negated}, {octets} {a}")
        return self.let(f"select {masks} {some}, {octets} {turned}, {octets} zeroinitializer")

    def multiply_add(self, bits: int, a: str, b: str) -> str:
        """Products of lanes, neighbours added: pmaddubsw (unsigned by signed bytes) or pmaddwd."""
        size = ty.VECTOR_BYTES[self.level]
        lanes = size * 8 // bits
        factors, sums = f"<{lanes} x i{bits}>", f"<{lanes // 2} x i{2 * bits}>"
        name = MULTIPLY_ADD[bits, size]
        self.unit.declare(name, sums, f"{factors}, {factors}")
        return self.let(f"call {sums} @{name}({factors} {a}, {factors} {b})")

    def v_prefetch(self, node: Node) -> str:
        """Ask for a cache line, to be read."""
        address = self.value_of(node.args[0])
        locality = node.data[1]
        self.unit.declare("llvm.prefetch.p0", "void", "ptr, i32, i32, i32")
        self.line(f"call void @llvm.prefetch.p0(ptr {address}, i32 0, i32 {locality}, i32 1)")
        return ""
