"""Prints expressions of the typed tree as LLVM IR."""

from typing import Any

from bare.compiler import types as ty
from bare.compiler.diagnostics import Span
from bare.compiler.llvm import (
    PAIR,
    Constants,
    float_text,
    int_text,
    is_integer,
    stored,
    value,
)
from bare.compiler.tree import Function, Local, Node

SITES_SYMBOL = "bare_sites"  # The arrays of trap sites, by the upper part of a site number.
SITE_BITS = 16
TRAP_GROUP = 6  # Attributes of what does not return.


class ValueEmitter:
    """Expressions of one function. `value_of` gives an operand; its type follows from the node."""

    def __init__(self, unit: Any, function: Function) -> None:
        self.unit = unit
        self.constants: Constants = unit.constants
        self.function = function
        self.level = function.level
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.slots: dict[Local, str] = {}
        self.count = 0
        self.block = "entry"
        self.place = ""  # `, !dbg !N` of the current source line.
        self.scope = 0
        self.span: Span | None = None

    # -- text ------------------------------------------------------------------------------------

    def fresh(self) -> str:
        """A new register."""
        self.count += 1
        return f"%t{self.count}"

    def line(self, text: str) -> None:
        """One instruction without a result."""
        self.lines.append(f"  {text}{self.place}")

    def let(self, text: str) -> str:
        """One instruction with a result."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}{self.place}")
        return name

    def label(self) -> str:
        """A new block name."""
        self.count += 1
        return f"b{self.count}"

    def start(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        """End the block with a branch."""
        self.line(f"br label %{label}")

    def locate(self, span: Span | None) -> None:
        """Instructions from here on belong to this place."""
        if span is not None:
            self.span = span
            self.place = self.unit.debug.location(span, self.scope)

    def trap_unless(self, condition: str, reason: str) -> None:
        """Go on where `condition` holds, else report the site."""
        good, bad = self.label(), self.label()
        self.line(f"br i1 {condition}, label %{good}, label %{bad}, !prof !0")
        self.start(bad)
        self.trap(reason)
        self.start(good)

    def trap(self, reason: str) -> None:
        """Report the site and never return."""
        site = self.unit.site(self.span or self.function.span, reason)
        self.line(f"call void @bare_trap(i32 {site}) #{TRAP_GROUP}")
        self.line("unreachable")

    # -- widths ----------------------------------------------------------------------------------

    def to_stored(self, operand: str, t: Any) -> str:
        """A register value in its memory width."""
        if t is bool:
            return self.let(f"zext i1 {operand} to i8")
        if is_integer(t) and ty.storage_int(t).bits < 64:
            return self.let(f"trunc i64 {operand} to {stored(t)}")
        return operand

    def from_stored(self, operand: str, t: Any) -> str:
        """A memory-width value as a register value."""
        if t is bool:
            return self.let(f"icmp ne i8 {operand}, 0")
        if is_integer(t):
            word = ty.storage_int(t)
            if word.bits < 64:
                extend = "sext" if word.signed else "zext"
                return self.let(f"{extend} i{word.bits} {operand} to i64")
        return operand

    def value_of(self, node: Node) -> str:
        """The operand that holds the node's value."""
        before = self.place, self.span
        self.locate(node.span)
        result: str = getattr(self, "_" + node.op)(node)
        self.place, self.span = before
        return result

    def pair(self, a: Node, b: Node) -> tuple[str, str]:
        """Two operands, left first."""
        left = self.value_of(a)
        return left, self.value_of(b)

    # -- constants and places --------------------------------------------------------------------

    def _const(self, node: Node) -> str:
        if node.type is bool:
            return "true" if node.data else "false"
        if ty.is_float(node.type):
            return float_text(node.data, node.type)
        return int_text(int(node.data))

    def _null(self, node: Node) -> str:
        text = value(node.type, self.level)
        return "null" if text == "ptr" else "zeroinitializer"

    def _bytes(self, node: Node) -> str:
        if not node.data:
            return "zeroinitializer"
        return f"{{ ptr {self.constants.literal(node.data)}, i64 {len(node.data)} }}"

    def _static(self, node: Node) -> str:
        return self.constants.address(*node.data)

    def _symbol(self, node: Node) -> str:
        self.unit.need_symbol(node.data)
        return self.let(f'ptrtoint ptr @"{node.data}" to i64')

    def _trap_site(self, node: Node) -> str:
        index = self.value_of(node.args[0])
        kind = stored(node.type)
        self.unit.need_symbol(SITES_SYMBOL)
        shard = self.let(f"lshr i64 {index}, {SITE_BITS}")
        row = self.let(f"and i64 {index}, {(1 << SITE_BITS) - 1}")
        table = self.let(f"getelementptr inbounds ptr, ptr @{SITES_SYMBOL}, i64 {shard}")
        rows = self.let(f"load ptr, ptr {table}, align 8")
        place = self.let(f"getelementptr inbounds {kind}, ptr {rows}, i64 {row}")
        return self.let(f"load {kind}, ptr {place}, align 8")

    def _table(self, node: Node) -> str:
        values, t = node.data
        index = self.value_of(node.args[0])
        if not 0 <= node.args[0].low <= node.args[0].high < len(values):
            inside = self.let(f"icmp ult i64 {index}, {len(values)}")
            self.trap_unless(inside, "index out of range")
        name = self.constants.table(values, t)
        kind = stored(t)
        place = self.let(
            f"getelementptr inbounds [{len(values)} x {kind}], ptr {name}, i64 0, i64 {index}"
        )
        return self.from_stored(self.let(f"load {kind}, ptr {place}"), t)

    def _lookup(self, node: Node) -> str:
        keys, values, t = node.data
        index = self.value_of(node.args[0])
        end, missing = self.label(), self.label()
        cases = [(self.label(), k, v) for k, v in zip(keys, values, strict=True)]
        arms = " ".join(f"i64 {int_text(k)}, label %{name}" for name, k, _ in cases)
        self.line(f"switch i64 {index}, label %{missing} [ {arms} ]")
        kind = stored(t)
        for name, _, _ in cases:
            self.start(name)
            self.jump(end)
        self.start(missing)
        self.trap("no such key")
        self.start(end)
        incoming = ", ".join(
            f"[ {self.constants.constant(v, t)}, %{name} ]" for name, _, v in cases
        )
        return self.from_stored(self.let(f"phi {kind} {incoming}"), t)

    def _local(self, node: Node) -> str:
        local: Local = node.data
        kind = stored(local.type, self.level)
        return self.from_stored(self.let(f"load {kind}, ptr {self.slots[local]}"), local.type)

    def _stack(self, node: Node) -> str:
        size, align = node.data
        name = self.fresh()
        self.allocas.append(f"  {name} = alloca [{max(size, 1)} x i8], align {align}")
        if size:
            operands = f"ptr align {align} {name}, i8 0, i64 {size}, i1 false"
            self.line(f"call void @llvm.memset.p0.i64({operands})")
        return name

    def _field_address(self, node: Node) -> str:
        base = self.value_of(node.args[0])
        if node.data == 0:
            return base
        return self.let(f"getelementptr inbounds i8, ptr {base}, i64 {node.data}")

    def _element_address(self, node: Node) -> str:
        size, checked = node.data
        source, index = self.pair(*node.args)
        pointer = self.let(f"extractvalue {PAIR} {source}, 0")
        if checked:
            length = self.let(f"extractvalue {PAIR} {source}, 1")
            inside = self.let(f"icmp ult i64 {index}, {length}")
            self.trap_unless(inside, "index out of range")
        return self.let(f"getelementptr inbounds [{size} x i8], ptr {pointer}, i64 {index}")

    def _load(self, node: Node) -> str:
        address = self.value_of(node.args[0])
        t, align = node.data
        kind = stored(t, self.level)
        suffix = f", align {align}" if align else ""
        found = self.let(f"load {kind}, ptr {address}{suffix}")
        if isinstance(t, ty.BigEndianType):
            if t.base.bits > 8:
                found = self.let(f"call {kind} @llvm.bswap.{kind}({kind} {found})")
            return self.from_stored(found, t.base)
        if ty.is_float(t) and t.bits == 16:
            return self.widen(found, t)
        return self.from_stored(found, ty.value_type(t))

    def widen(self, found: str, t: Any) -> str:
        """A scalar f16 or bf16 as f32; below avx2 there is no instruction for it."""
        if t.name == "f16" and self.level > 0:
            return self.let(f"fpext half {found} to float")
        half = self.let(f"bitcast {stored(t)} {found} to i16")
        if t.name == "bf16":
            wide = self.let(f"zext i16 {half} to i32")
            bits = self.let(f"shl i32 {wide}, 16")
        else:
            soft = self.unit.half_conversion("from f16")
            bits = self.let(f'call i32 @"{soft.symbol}"(i16 {half})')
        return self.let(f"bitcast i32 {bits} to float")

    def narrow(self, operand: str, t: Any) -> str:
        """A scalar f32 rounded to f16 or bf16."""
        if t.name == "f16" and self.level > 0:
            return self.let(f"fptrunc float {operand} to half")
        bits = self.let(f"bitcast float {operand} to i32")
        soft = self.unit.half_conversion("to " + t.name)
        half = self.let(f'call i16 @"{soft.symbol}"(i32 {bits})')
        return self.let(f"bitcast i16 {half} to {stored(t)}")

    def _volatile_load(self, node: Node) -> str:
        address = self.value_of(node.args[0])
        kind = stored(node.data)
        return self.from_stored(self.let(f"load volatile {kind}, ptr {address}"), node.data)

    def _volatile_store(self, node: Node) -> str:
        address, operand = self.pair(*node.args)
        word = self.to_stored(operand, node.data)
        self.line(f"store volatile {stored(node.data)} {word}, ptr {address}")
        return ""

    def _atomic(self, node: Node) -> str:
        name, t = node.data
        address, *operands = [self.value_of(a) for a in node.args]
        kind = stored(t)
        size = int(kind[1:]) // 8
        words = [self.to_stored(o, t) for o in operands]
        if name == "load":
            found = self.let(f"load atomic {kind}, ptr {address} acquire, align {size}")
            return self.from_stored(found, t)
        if name == "store":
            self.line(f"store atomic {kind} {words[0]}, ptr {address} release, align {size}")
            return ""
        if name == "compare_exchange":
            pair = self.let(
                f"cmpxchg ptr {address}, {kind} {words[0]}, {kind} {words[1]} seq_cst seq_cst"
            )
            return self.let(f"extractvalue {{ {kind}, i1 }} {pair}, 1")
        operation = {"exchange": "xchg"}.get(name, name.removeprefix("fetch_"))
        found = self.let(f"atomicrmw {operation} ptr {address}, {kind} {words[0]} seq_cst")
        return self.from_stored(found, t)
