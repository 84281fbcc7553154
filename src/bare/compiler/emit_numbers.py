"""Prints arithmetic, comparison and conversion of integers and floats."""

from bare.compiler import types as ty
from bare.compiler.check_integers import interval_of
from bare.compiler.emit_values import ValueEmitter
from bare.compiler.llvm import (
    float_text,
    int_text,
    stored,
)
from bare.compiler.tree import Node

SIGNED = {"eq": "eq", "ne": "ne", "lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge"}
UNSIGNED = {"eq": "eq", "ne": "ne", "lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge"}
FLOAT = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
INTRINSIC = {"add": "add", "sub": "sub", "mul": "mul"}
_F64 = ty.FloatType("f64", 64, "d")


class NumberEmitter(ValueEmitter):
    """Numbers: every check that the typed tree asks for, and no other."""

    def arithmetic(self, node: Node) -> str:
        """add, sub, mul by mode."""
        a, b = self.pair(*node.args)
        op, mode = node.op, node.data
        if mode in ("plain", "ring"):
            flags = ""
            if mode == "plain":
                low, high = interval_of(op, *node.args)
                signed = low >= ty.I64_MIN and high <= ty.I64_MAX
                if signed and not any(map(unsigned, node.args)):
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
        return self.let(f"call i64 @llvm.{letter}{node.data}.i64(i64 {left}, i64 {right})")

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
            return self.let(
                f"fptrunc double {self.let(f'{convert} i64 {operand} to double')} to float"
            )
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
        return self.let(
            f"{'fpext' if target == 'double' else 'fptrunc'} {source} {operand} to {target}"
        )

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


def unsigned(node: Node) -> bool:
    """Held as an unsigned word: it can exceed the signed range."""
    return node.high > ty.I64_MAX
