"""Prints how vectors come from and go to memory: loads, stores, conversion of half floats."""

from bare.compiler import types as ty
from bare.compiler.emit_aggregates import AggregateEmitter
from bare.compiler.llvm import stored
from bare.compiler.tree import Node


class VectorMemoryEmitter(AggregateEmitter):
    """Vectors and memory."""

    def kind(self, t: object) -> str:
        """The LLVM type of a vector at this level."""
        return stored(t, self.level)

    def lanes(self, t: ty.VecType) -> int:
        """Number of lanes at this level."""
        return int(ty.VECTOR_BYTES[self.level] // t.element.size)

    def splat(self, kind: str, scalar_kind: str, scalar: str) -> str:
        """One value in every lane."""
        one = self.let(f"insertelement {kind} poison, {scalar_kind} {scalar}, i64 0")
        lanes = kind[1:].split(" ")[0]
        return self.let(
            f"shufflevector {kind} {one}, {kind} poison, <{lanes} x i32> zeroinitializer"
        )

    def constant(self, kind: str, number: int) -> str:
        """An integer constant in every lane, as an operand."""
        lanes, _, scalar = kind[1:-1].split(" ")
        return "<" + ", ".join([f"{scalar} {number}"] * int(lanes)) + ">"

    def v_zero(self, node: Node) -> str:
        """All lanes zero."""
        return "zeroinitializer"

    def v_splat(self, node: Node) -> str:
        """A scalar in every lane."""
        element = node.type.element
        operand = self.value_of(node.args[0])
        if ty.is_float(element) and element.bits == 16:
            half = self.let(f"bitcast {stored(element)} {self.narrow(operand, element)} to i16")
            return self.splat(self.kind(node.type), "i16", half)
        scalar = self.to_stored(operand, element)
        return self.splat(self.kind(node.type), stored(element), scalar)

    def v_broadcast4(self, node: Node) -> str:
        """Four bytes repeated in each 32-bit group."""
        address = self.value_of(node.args[0])
        word = self.let(f"load i32, ptr {address}, align 1")
        groups = ty.VECTOR_BYTES[self.level] // 4
        all_groups = self.splat(f"<{groups} x i32>", "i32", word)
        return self.let(f"bitcast <{groups} x i32> {all_groups} to {self.kind(node.type)}")

    def v_load(self, node: Node) -> str:
        """Unaligned load, widening small elements."""
        address = self.value_of(node.args[0])
        _, source = node.data
        target = node.type.element
        kind = self.kind(node.type)
        lanes = self.lanes(node.type)
        if source == target:
            return self.let(f"load {kind}, ptr {address}, align 1")
        if ty.is_float(source):
            return self.load_half(address, source.name, lanes)
        narrow = f"<{lanes} x {stored(source)}>"
        found = self.let(f"load {narrow}, ptr {address}, align 1")
        return self.let(f"{'sext' if source.signed else 'zext'} {narrow} {found} to {kind}")

    def load_half(self, address: str, name: str, lanes: int) -> str:
        """f16 or bf16 lanes as f32."""
        kind = f"<{lanes} x float>"
        if name == "f16" and self.level > 0:
            found = self.let(f"load <{lanes} x half>, ptr {address}, align 1")
            return self.let(f"fpext <{lanes} x half> {found} to {kind}")
        words = self.let(f"load <{lanes} x i16>, ptr {address}, align 1")
        wide = self.let(f"zext <{lanes} x i16> {words} to <{lanes} x i32>")
        if name == "bf16":
            sixteen = self.constant(f"<{lanes} x i32>", 16)
            wide = self.let(f"shl <{lanes} x i32> {wide}, {sixteen}")
            return self.let(f"bitcast <{lanes} x i32> {wide} to {kind}")
        return self.let(f"bitcast <{lanes} x i32> {self.widen_half(wide, lanes)} to {kind}")

    def widen_half(self, wide: str, lanes: int) -> str:
        """f16 bits (zero-extended) to f32 bits, with integer operations and one multiply.

        Shifted by 13 a half is an f32 whose exponent is 112 too small: multiplying by 2**112 mends
        normals and subnormals alike; infinities and NaNs get the full exponent.
        """
        words = f"<{lanes} x i32>"
        floats = f"<{lanes} x float>"

        def const(number: int) -> str:
            return self.constant(words, number)

        magnitude = self.let(f"and {words} {wide}, {const(0x7FFF)}")
        shifted = self.let(f"shl {words} {magnitude}, {const(13)}")
        as_float = self.let(f"bitcast {words} {shifted} to {floats}")
        scale = "<" + ", ".join(["float 0x46F0000000000000"] * lanes) + ">"
        scaled = self.let(f"fmul {floats} {as_float}, {scale}")
        bits = self.let(f"bitcast {floats} {scaled} to {words}")
        special = self.let(f"icmp uge {words} {magnitude}, {const(0x7C00)}")
        full = self.let(f"or {words} {shifted}, {const(0x7F800000)}")
        number = self.let(f"icmp ugt {words} {magnitude}, {const(0x7C00)}")
        quiet = self.let(f"or {words} {full}, {const(0x400000)}")
        full = self.let(f"select <{lanes} x i1> {number}, {words} {quiet}, {words} {full}")
        bits = self.let(f"select <{lanes} x i1> {special}, {words} {full}, {words} {bits}")
        sign = self.let(f"and {words} {wide}, {const(0x8000)}")
        sign = self.let(f"shl {words} {sign}, {const(16)}")
        return self.let(f"or {words} {bits}, {sign}")

    def v_store(self, node: Node) -> str:
        """Unaligned store, narrowing to the slice's element."""
        operand, address = (self.value_of(a) for a in node.args)
        _, target = node.data
        source = node.args[0].type
        lanes = self.lanes(source)
        kind = self.kind(source)
        if target == source.element:
            self.line(f"store {kind} {operand}, ptr {address}, align 1")
        elif ty.is_float(target):
            self.store_half(operand, address, target.name, lanes)
        else:
            narrow = f"<{lanes} x {stored(target)}>"
            cut = self.let(f"trunc {kind} {operand} to {narrow}")
            self.line(f"store {narrow} {cut}, ptr {address}, align 1")
        return ""

    def store_half(self, operand: str, address: str, name: str, lanes: int) -> None:
        """f32 lanes rounded to f16 or bf16."""
        if name == "f16" and self.level > 0:
            cut = self.let(f"fptrunc <{lanes} x float> {operand} to <{lanes} x half>")
            self.line(f"store <{lanes} x half> {cut}, ptr {address}, align 1")
            return
        if name == "bf16":
            words = f"<{lanes} x i32>"
            high = self.round_bf16(operand, lanes)
            cut = self.let(f"lshr {words} {high}, {self.constant(words, 16)}")
            halves = self.let(f"trunc {words} {cut} to <{lanes} x i16>")
            self.line(f"store <{lanes} x i16> {halves}, ptr {address}, align 1")
            return
        convert = self.unit.half_conversion("to " + name)
        for lane in range(lanes):
            one = self.let(f"extractelement <{lanes} x float> {operand}, i64 {lane}")
            bits = self.let(f"bitcast float {one} to i32")
            half = self.let(f'call i16 @"{convert.symbol}"(i32 {bits})')
            place = self.let(f"getelementptr inbounds i16, ptr {address}, i64 {lane}")
            self.line(f"store i16 {half}, ptr {place}, align 1")

    def round_bf16(self, operand: str, lanes: int) -> str:
        """f32 lanes rounded to bf16: the upper halves of the words (the lower ones are any bits).

        As `bare.runtime.f32_to_bf16_bits`: to nearest, ties to even; a NaN becomes a quiet one.
        """
        words = f"<{lanes} x i32>"

        def const(number: int) -> str:
            return self.constant(words, number)

        bits = self.let(f"bitcast <{lanes} x float> {operand} to {words}")
        upper = self.let(f"lshr {words} {bits}, {const(16)}")
        last = self.let(f"and {words} {upper}, {const(1)}")
        half = self.let(f"add {words} {last}, {const(0x7FFF)}")
        rounded = self.let(f"add {words} {bits}, {half}")
        number = self.let(f"fcmp ord <{lanes} x float> {operand}, zeroinitializer")
        quiet = self.let(f"or {words} {bits}, {const(0x400000)}")
        return self.let(f"select <{lanes} x i1> {number}, {words} {rounded}, {words} {quiet}")
