"""Prints expressions of the typed tree as LLVM IR."""

from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_integers import interval_of
from bare.compiler.diagnostics import Span
from bare.compiler.llvm import PAIR, Constants, float_text, int_text, is_integer, parts_of, stored, value
from bare.compiler.tree import Function, Local, Node

SIGNED = {"eq": "eq", "ne": "ne", "lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge"}
UNSIGNED = {"eq": "eq", "ne": "ne", "lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge"}
FLOAT = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
SITES_SYMBOL = "bare_sites"  # The arrays of trap sites, by the upper part of a site number.
SITE_BITS = 16
INTRINSIC = {"add": "add", "sub": "sub", "mul": "mul"}


def unsigned(node: Node) -> bool:
    """Held as an unsigned word: it can exceed the signed range."""
    return node.high > ty.I64_MAX


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
        self.line(f"call void @bare_trap(i32 {site}) #3")
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
        incoming = ", ".join(f"[ {self.constants.constant(v, t)}, %{name} ]" for name, _, v in cases)
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
            self.line(
                f"call void @llvm.memset.p0.i64(ptr align {align} {name}, i8 0, i64 {size}, i1 false)"
            )
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

    # -- integers --------------------------------------------------------------------------------

    def arithmetic(self, node: Node) -> str:
        """add, sub, mul by mode."""
        a, b = self.pair(*node.args)
        op, mode = node.op, node.data
        if mode in ("plain", "ring"):
            flags = ""
            if mode == "plain":
                low, high = interval_of(op, *node.args)
                if ty.I64_MIN <= low and high <= ty.I64_MAX and not any(map(unsigned, node.args)):
                    flags = " nsw"
                    if min(n.low for n in node.args) >= 0 and low >= 0:
                        flags = " nuw nsw"
            return self.let(f"{op}{flags} i64 {a}, {b}")
        reason = "integer overflow"
        if mode in ("signed", "unsigned"):
            name = f"llvm.{mode[0]}{op}.with.overflow.i64"
            both = self.let(f"call {{ i64, i1 }} @{name}(i64 {a}, i64 {b})")
            result = self.let(f"extractvalue {{ i64, i1 }} {both}, 0")
            over = self.let(f"extractvalue {{ i64, i1 }} {both}, 1")
            fine = self.let(f"xor i1 {over}, true")
            self.trap_unless(fine, reason)
            return result
        wide = [
            self.let(f"{'zext' if unsigned(n) else 'sext'} i64 {v} to i128")
            for n, v in zip(node.args, (a, b), strict=True)
        ]
        total = self.let(f"{op} i128 {wide[0]}, {wide[1]}")
        above = self.let(f"icmp sge i128 {total}, {node.low}")
        below = self.let(f"icmp sle i128 {total}, {node.high}")
        self.trap_unless(self.let(f"and i1 {above}, {below}"), reason)
        return self.let(f"trunc i128 {total} to i64")

    _add = _sub = _mul = arithmetic

    def divide(self, node: Node) -> str:
        """Floor division and its remainder."""
        (mode, check_zero) = node.data
        a, b = self.pair(*node.args)
        left, right = node.args
        if check_zero:
            self.trap_unless(self.let(f"icmp ne i64 {b}, 0"), "division by zero")
        if left.low >= 0 and right.low >= 0:
            return self.let(f"{'udiv' if node.op == 'floordiv' else 'urem'} i64 {a}, {b}")
        if mode == "signed" and node.op == "floordiv":
            least = self.let(f"icmp ne i64 {a}, {ty.I64_MIN}")
            minus = self.let(f"icmp ne i64 {b}, -1")
            self.trap_unless(self.let(f"or i1 {least}, {minus}"), "integer overflow")
        if node.op == "mod" and right.low <= -1 <= right.high and left.low == ty.I64_MIN:
            minus = self.let(f"icmp eq i64 {b}, -1")  # The remainder is 0, as by 1.
            b = self.let(f"select i1 {minus}, i64 1, i64 {b}")
        rest = self.let(f"srem i64 {a}, {b}")
        some = self.let(f"icmp ne i64 {rest}, 0")
        signs = self.let(f"xor i64 {rest}, {b}")
        differ = self.let(f"icmp slt i64 {signs}, 0")
        adjust = self.let(f"and i1 {some}, {differ}")
        if node.op == "mod":
            moved = self.let(f"add i64 {rest}, {b}")
            return self.let(f"select i1 {adjust}, i64 {moved}, i64 {rest}")
        quotient = self.let(f"sdiv i64 {a}, {b}")
        less = self.let(f"sub i64 {quotient}, 1")
        return self.let(f"select i1 {adjust}, i64 {less}, i64 {quotient}")

    _floordiv = _mod = divide

    def bitwise(self, node: Node) -> str:
        """and, or, xor."""
        a, b = self.pair(*node.args)
        return self.let(f"{node.op} {'i1' if node.data == 'bool' else 'i64'} {a}, {b}")

    _and = _or = _xor = bitwise

    def _shl(self, node: Node) -> str:
        mode, check_count = node.data
        a, b = self.pair(*node.args)
        if check_count:
            self.trap_unless(self.let(f"icmp ult i64 {b}, 64"), "shift count out of range")
        result = self.let(f"shl i64 {a}, {b}")
        if mode in ("signed", "unsigned"):
            back = "ashr" if mode == "signed" else "lshr"
            again = self.let(f"{back} i64 {result}, {b}")
            self.trap_unless(self.let(f"icmp eq i64 {again}, {a}"), "integer overflow")
        return result

    def _shr(self, node: Node) -> str:
        _, check_count = node.data
        a, b = self.pair(*node.args)
        if check_count:
            self.trap_unless(self.let(f"icmp ult i64 {b}, 64"), "shift count out of range")
        return self.let(f"{'lshr' if node.args[0].low >= 0 else 'ashr'} i64 {a}, {b}")

    def _range_check(self, node: Node) -> str:
        low, high, reason = node.data
        inner = node.args[0]
        operand = self.value_of(inner)
        if unsigned(inner):
            if high < inner.high:
                self.trap_unless(self.let(f"icmp ule i64 {operand}, {int_text(high)}"), reason)
            return operand
        if low == 0 and high <= ty.I64_MAX:
            self.trap_unless(self.let(f"icmp ule i64 {operand}, {high}"), reason)
            return operand
        if inner.low < low:
            self.trap_unless(self.let(f"icmp sge i64 {operand}, {low}"), reason)
        if inner.high > high:
            self.trap_unless(self.let(f"icmp sle i64 {operand}, {high}"), reason)
        return operand

    def _wrap(self, node: Node) -> str:
        operand = self.value_of(node.args[0])
        word = node.data
        if word.name == "usize":
            return self.let(f"and i64 {operand}, {ty.I64_MAX}")
        if word.bits == 64:
            return operand
        cut = self.let(f"trunc i64 {operand} to i{word.bits}")
        return self.let(f"{'sext' if word.signed else 'zext'} i{word.bits} {cut} to i64")

    def _saturate(self, node: Node) -> str:
        low, high = node.data
        inner = node.args[0]
        operand = self.value_of(inner)
        if unsigned(inner):
            return self.let(f"call i64 @llvm.umin.i64(i64 {operand}, i64 {int_text(high)})")
        raised = self.let(f"call i64 @llvm.smax.i64(i64 {operand}, i64 {low})")
        if high >= ty.I64_MAX:
            return raised
        return self.let(f"call i64 @llvm.smin.i64(i64 {raised}, i64 {high})")

    def _compare(self, node: Node) -> str:
        predicate = node.data
        a, b = node.args
        left, right = self.pair(a, b)
        if predicate.endswith(" bool"):
            return self.let(f"icmp {predicate.split()[0]} i1 {left}, {right}")
        if not unsigned(a) and not unsigned(b):
            return self.let(f"icmp {SIGNED[predicate]} i64 {left}, {right}")
        if a.low >= 0 and b.low >= 0:
            return self.let(f"icmp {UNSIGNED[predicate]} i64 {left}, {right}")
        return self.compare_wide(predicate, a, left, b, right)

    def compare_wide(self, predicate: str, a: Node, left: str, b: Node, right: str) -> str:
        """Compare an unsigned word with a signed one."""
        wide = [
            self.let(f"{'zext' if unsigned(n) else 'sext'} i64 {v} to i128")
            for n, v in ((a, left), (b, right))
        ]
        return self.let(f"icmp {SIGNED[predicate]} i128 {wide[0]}, {wide[1]}")

    def _minmax(self, node: Node) -> str:
        a, b = node.args
        left, right = self.pair(a, b)
        if max(a.high, b.high) > ty.I64_MAX and min(a.low, b.low) < 0:
            predicate = "lt" if node.data == "min" else "gt"
            test = self.compare_wide(predicate, a, left, b, right)
            return self.let(f"select i1 {test}, i64 {left}, i64 {right}")
        letter = "u" if a.low >= 0 and b.low >= 0 else "s"
        return self.let(
            f"call i64 @llvm.{letter}{node.data}.i64(i64 {left}, i64 {right})"
        )

    # -- floats ----------------------------------------------------------------------------------

    def float_binary(self, node: Node) -> str:
        """fadd, fsub, fmul, fdiv."""
        a, b = self.pair(*node.args)
        kind = stored(node.type)
        if node.op == "fdiv" and node.data == "check":
            self.trap_unless(self.let(f"fcmp une {kind} {b}, 0.0"), "division by zero")
        return self.let(f"{node.op} {kind} {a}, {b}")

    _fadd = _fsub = _fmul = _fdiv = float_binary

    def _fneg(self, node: Node) -> str:
        operand = self.value_of(node.args[0])
        return self.let(f"fneg {stored(node.type)} {operand}")

    def _fcompare(self, node: Node) -> str:
        a, b = self.pair(*node.args)
        return self.let(f"fcmp {FLOAT[node.data]} {stored(node.args[0].type)} {a}, {b}")

    def _math(self, node: Node) -> str:
        operand = self.value_of(node.args[0])
        kind = stored(node.type)
        suffix = "f32" if kind == "float" else "f64"
        return self.let(f"call {kind} @llvm.{node.data}.{suffix}({kind} {operand})")

    def _int_to_float(self, node: Node) -> str:
        operand = self.value_of(node.args[0])
        inner = node.args[0]
        convert = "uitofp" if unsigned(inner) else "sitofp"
        kind = stored(node.type)
        if kind == "float" and max(-inner.low, inner.high) > 2**53:  # As Python: by way of f64.
            return self.let(f"fptrunc double {self.let(f'{convert} i64 {operand} to double')} to float")
        return self.let(f"{convert} i64 {operand} to {kind}")

    def _float_to_int(self, node: Node) -> str:
        target, reason = node.data
        inner = node.args[0]
        operand = self.value_of(inner)
        if stored(inner.type) == "float":
            operand = self.let(f"fpext float {operand} to double")
        low, high = ty.interval(target)
        if reason:
            if target.bits < 64:
                floor, ceiling = float_text(float(low - 1), _F64), float_text(float(high + 1), _F64)
                above = self.let(f"fcmp ogt double {operand}, {floor}")
            else:
                bottom = float(low) if low < 0 else -1.0
                floor, ceiling = float_text(bottom, _F64), float_text(float(high + 1), _F64)
                above = self.let(f"fcmp {'oge' if low < 0 else 'ogt'} double {operand}, {floor}")
            below = self.let(f"fcmp olt double {operand}, {ceiling}")
            self.trap_unless(self.let(f"and i1 {above}, {below}"), reason)
        convert = "fptoui" if high > ty.I64_MAX else "fptosi"
        return self.let(f"{convert} double {operand} to i64")

    def _float_cast(self, node: Node) -> str:
        operand = self.value_of(node.args[0])
        source, target = stored(node.args[0].type), stored(node.type)
        return self.let(f"{'fpext' if target == 'double' else 'fptrunc'} {source} {operand} to {target}")

    def _bitcast(self, node: Node) -> str:
        operand = self.value_of(node.args[0])
        target = node.data
        source = node.args[0].type
        if ty.is_float(target):
            word = f"i{target.bits}"
            if target.bits < 64:
                operand = self.let(f"trunc i64 {operand} to {word}")
            return self.let(f"bitcast {word} {operand} to {stored(target)}")
        found = self.let(f"bitcast {stored(source)} {operand} to i{target.bits}")
        return self.from_stored(found, target)

    # -- booleans and choice ---------------------------------------------------------------------

    def _not(self, node: Node) -> str:
        return self.let(f"xor i1 {self.value_of(node.args[0])}, true")

    def short_circuit(self, node: Node) -> str:
        """`and`, `or`: the right side only when it decides."""
        left = self.value_of(node.args[0])
        first, more, end = self.block, self.label(), self.label()
        if node.op == "and_then":
            self.line(f"br i1 {left}, label %{more}, label %{end}")
        else:
            self.line(f"br i1 {left}, label %{end}, label %{more}")
        self.start(more)
        right = self.value_of(node.args[1])
        last = self.block
        self.jump(end)
        self.start(end)
        known = "false" if node.op == "and_then" else "true"
        return self.let(f"phi i1 [ {known}, %{first} ], [ {right}, %{last} ]")

    _and_then = _or_else = short_circuit

    def _choose(self, node: Node) -> str:
        test = self.value_of(node.args[0])
        then, other, end = self.label(), self.label(), self.label()
        self.line(f"br i1 {test}, label %{then}, label %{other}")
        found = []
        for name, side in ((then, node.args[1]), (other, node.args[2])):
            self.start(name)
            found.append((self.value_of(side), self.block))
            self.jump(end)
        self.start(end)
        kind = value(node.type, self.level)
        if kind == "void":
            return ""
        incoming = ", ".join(f"[ {v}, %{b} ]" for v, b in found)
        return self.let(f"phi {kind} {incoming}")

    def _is_null(self, node: Node) -> str:
        return self.let(f"icmp eq ptr {self.value_of(node.args[0])}, null")

    def _address_equal(self, node: Node) -> str:
        a, b = self.pair(*node.args)
        return self.let(f"icmp eq ptr {a}, {b}")

    def _sequence(self, node: Node) -> str:
        self.statements(node.bodies[0])  # type: ignore[attr-defined]
        if self.ended:  # type: ignore[has-type]
            self.ended = False
            self.start(self.label())  # Never reached.
        return self.value_of(node.args[0])

    # -- aggregates ------------------------------------------------------------------------------

    def _make(self, node: Node) -> str:
        kind = stored(node.type, self.level)
        whole = "undef"
        for index, part in enumerate(node.args):
            operand = self.to_stored(self.value_of(part), part.type)
            inner = stored(part.type, self.level)
            whole = self.let(f"insertvalue {kind} {whole}, {inner} {operand}, {index}")
        return whole

    def _part(self, node: Node) -> str:
        whole = self.value_of(node.args[0])
        outer = node.args[0].type
        found = self.let(f"extractvalue {stored(outer, self.level)} {whole}, {node.data}")
        parts = parts_of(outer)
        assert parts is not None
        return self.from_stored(found, parts[node.data])

    def _make_slice(self, node: Node) -> str:
        pointer, length = self.pair(*node.args)
        half = self.let(f"insertvalue {PAIR} undef, ptr {pointer}, 0")
        return self.let(f"insertvalue {PAIR} {half}, i64 {length}, 1")

    def _slice_length(self, node: Node) -> str:
        return self.let(f"extractvalue {PAIR} {self.value_of(node.args[0])}, 1")

    def _slice_pointer(self, node: Node) -> str:
        return self.let(f"extractvalue {PAIR} {self.value_of(node.args[0])}, 0")

    def _subslice(self, node: Node) -> str:
        size, checked = node.data
        source, first, last = (self.value_of(a) for a in node.args)
        pointer = self.let(f"extractvalue {PAIR} {source}, 0")
        if checked:
            length = self.let(f"extractvalue {PAIR} {source}, 1")
            ordered = self.let(f"icmp ule i64 {first}, {last}")
            inside = self.let(f"icmp ule i64 {last}, {length}")
            self.trap_unless(self.let(f"and i1 {ordered}, {inside}"), "slice out of range")
        moved = self.let(f"getelementptr inbounds [{size} x i8], ptr {pointer}, i64 {first}")
        count = self.let(f"sub nuw nsw i64 {last}, {first}")
        half = self.let(f"insertvalue {PAIR} undef, ptr {moved}, 0")
        return self.let(f"insertvalue {PAIR} {half}, i64 {count}, 1")

    def _make_union(self, node: Node) -> str:
        inner = node.args[0]
        operand = self.value_of(inner)
        kind = stored(node.type, self.level)
        tag = node.data + 1
        if ty.union_kind(node.type) == "closed":
            half = self.let(f"insertvalue {PAIR} undef, ptr {operand}, 0")
            return self.let(f"insertvalue {PAIR} {half}, i64 {tag}, 1")
        member = ty.members(node.type)[node.data]
        word = self.to_stored(operand, member)
        half = self.let(f"insertvalue {kind} zeroinitializer, i8 {tag}, 0")
        return self.let(
            f"insertvalue {kind} {half}, {stored(member, self.level)} {word}, {tag}"
        )

    def _union_tag(self, node: Node) -> str:
        whole = self.value_of(node.args[0])
        t = node.args[0].type
        if ty.union_kind(t) == "closed":
            return self.let(f"extractvalue {PAIR} {whole}, 1")
        tag = self.let(f"extractvalue {stored(t, self.level)} {whole}, 0")
        return self.let(f"zext i8 {tag} to i64")

    def _union_part(self, node: Node) -> str:
        whole = self.value_of(node.args[0])
        t = node.args[0].type
        if ty.union_kind(t) == "closed":
            return self.let(f"extractvalue {PAIR} {whole}, 0")
        found = self.let(f"extractvalue {stored(t, self.level)} {whole}, {node.data + 1}")
        return self.from_stored(found, ty.members(t)[node.data])

    def _address_to_int(self, node: Node) -> str:
        return self.let(f"ptrtoint ptr {self.value_of(node.args[0])} to i64")

    def _int_to_address(self, node: Node) -> str:
        return self.let(f"inttoptr i64 {self.value_of(node.args[0])} to ptr")

    # -- calls -----------------------------------------------------------------------------------

    def _call(self, node: Node) -> str:
        target: Function = node.data
        words = []
        for argument, parameter in zip(node.args, target.parameters, strict=True):
            operand = self.to_stored(self.value_of(argument), parameter.type)
            words.append(f"{stored(parameter.type, target.level)} {operand}")
        kind = stored(target.result, target.level)
        call = f'call {kind} @"{target.symbol}"({", ".join(words)})'
        if kind == "void":
            self.line(call)
            return ""
        return self.from_stored(self.let(call), target.result)

    def _asm(self, node: Node) -> str:
        text, constraints, parameters, results = node.data
        words = []
        for argument, t in zip(node.args, parameters, strict=True):
            operand = self.to_stored(self.value_of(argument), t)
            words.append(f"{stored(t)} {operand}")
        kinds = [stored(t) for t in results]
        result = "void" if not kinds else kinds[0] if len(kinds) == 1 else f"{{ {', '.join(kinds)} }}"
        clobbers = "~{memory},~{dirflag},~{fpsr},~{flags}"
        full = f"{constraints},{clobbers}" if constraints else clobbers
        call = f'call {result} asm sideeffect "{text}", "{full}"({", ".join(words)})'
        if not kinds:
            self.line(call)
            return ""
        found = self.let(call)
        return self.from_stored(found, results[0]) if len(kinds) == 1 else found

    def _memory(self, node: Node) -> str:
        target, source, size = (self.value_of(a) for a in node.args)
        if node.data == "fill":
            byte = self.let(f"trunc i64 {source} to i8")
            self.line(f"call void @llvm.memset.p0.i64(ptr {target}, i8 {byte}, i64 {size}, i1 false)")
        else:
            name = "memmove" if node.data == "move" else "memcpy"
            self.line(
                f"call void @llvm.{name}.p0.p0.i64(ptr {target}, ptr {source}, i64 {size}, i1 false)"
            )
        return ""


_F64 = ty.FloatType("f64", 64, "d")
