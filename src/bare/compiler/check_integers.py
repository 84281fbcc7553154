"""Integer rules: exact results, proved by intervals where possible, checked where not.

Every integer node carries the interval of values it can have. An operation whose interval stays
inside 64 bits needs no check; otherwise one of these modes is chosen:

    plain     cannot leave 64 bits
    signed    both operands are signed 64-bit: trap on signed overflow
    unsigned  both operands are not negative: trap on unsigned overflow
    wide      one of each: computed in 128 bits, then checked
    ring      inside wrap(): modulo 2**64

A node with a lower bound of at least zero and an upper bound above 2**63 - 1 is held as an unsigned
64-bit word, every other node as a signed one.
"""

import ast
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_stores import StoreChecker
from bare.compiler.check_values import Value
from bare.compiler.tree import Node

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.LShift: "shl",
    ast.RShift: "shr",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
}


class IntegerChecker(StoreChecker):
    """Arithmetic and comparison of integers."""

    def integer_binary(self, node: ast.AST, op: str, left: Value, right: Value) -> Node:
        """`left op right` for two integers."""
        if op in ("shl", "shr"):
            return self.shift(node, op, left, right)
        ring = self.ring > 0
        if op in ("floordiv", "mod"):
            ring = False
        a, b = self.as_integer(left, node), self.as_integer(right, node)
        kind = self.result_type(node, op, left, right, a, b)
        low, high = interval_of(op, a, b)
        mode = "ring" if ring else self.mode(a, b, low, high)
        low, high = self.clip(mode, kind, low, high)
        mode = self.unless_unchecked(mode)
        if op in ("and", "or", "xor") and not ring:
            mode = "plain"
            if (a.low < 0 or b.low < 0) and max(a.high, b.high) > ty.I64_MAX and op != "and":
                self.no_common_type(node, a.type, b.type)
        data: Any = mode
        if op in ("floordiv", "mod"):
            mixed = max(a.high, b.high) > ty.I64_MAX and min(a.low, b.low) < 0
            if mixed:
                self.no_common_type(node, a.type, b.type)
            data = (mode, b.low <= 0 <= b.high and not self.unchecked)
        return Node(op, kind, (a, b), data, self.span(node), low, high)

    def result_type(
        self, node: ast.AST, op: str, left: Value, right: Value, a: Node, b: Node
    ) -> Any:
        """The type of a result; an import-time constant takes the other side's."""
        if not isinstance(left, Node):
            return b.type if a.high <= ty.interval(b.type)[1] or op == "and" else self.join(a, b)
        if not isinstance(right, Node):
            return a.type if b.high <= ty.interval(a.type)[1] or op == "and" else self.join(a, b)
        kind = ty.common_type(a.type, b.type)
        if kind is None:
            if op == "and" and min(a.low, b.low) >= 0:
                return a.type if a.high <= b.high else b.type
            self.no_common_type(node, a.type, b.type)
        return kind

    def join(self, a: Node, b: Node) -> Any:
        """A constant too wide for the other side widens the result to 64 bits."""
        return self.u64 if max(a.high, b.high) > ty.I64_MAX else ty.INT

    def mode(self, a: Node, b: Node, low: int, high: int) -> str:
        """How the operation has to be carried out."""
        if (low >= ty.I64_MIN and high <= ty.I64_MAX) or (low >= 0 and high <= ty.U64_MAX):
            words = {n.high > ty.I64_MAX for n in (a, b)}
            if max(a.high, b.high) <= ty.I64_MAX or min(a.low, b.low) >= 0 or len(words) == 1:
                return "plain"
        if a.low >= 0 and b.low >= 0:
            return "unsigned"
        if a.high <= ty.I64_MAX and b.high <= ty.I64_MAX:
            return "signed"
        return "wide"

    def unless_unchecked(self, mode: str) -> str:
        """Without checks the same interval holds, as the reason says that nothing overflows."""
        return "plain" if self.unchecked and mode != "ring" else mode

    def clip(self, mode: str, kind: Any, low: int, high: int) -> tuple[int, int]:
        """The interval after the check of `mode`."""
        if mode == "ring":
            return (0, ty.U64_MAX)
        least, most = ty.I64_MIN, ty.I64_MAX
        wide = mode == "wide" and ty.interval(kind)[1] > ty.I64_MAX
        if mode == "unsigned" or wide or (mode == "plain" and low >= 0):
            least, most = 0, ty.U64_MAX
        # An operation that never fits always traps: then any interval is right.
        return min(max(low, least), most), max(min(high, most), least)

    def shift(self, node: ast.AST, op: str, left: Value, right: Value) -> Node:
        """`<<` and `>>`; the count takes no part in the type and must be below 64."""
        a = self.as_integer(left, node)
        ring, self.ring = self.ring, 0
        b = self.as_integer(right, node)
        self.ring = ring
        kind = a.type
        if not isinstance(left, Node):
            kind = ty.INT
        if isinstance(right, Node) is False and b.low < 0:
            self.refuse(node, "range", "a shift count is not negative")
        check_count = not (b.low >= 0 and b.high < 64) and not self.unchecked
        top = min(max(b.high, 0), 64)
        bottom = min(max(b.low, 0), 63)
        if op == "shr":
            low = min(a.low >> bottom, a.low >> top)
            high = max(a.high >> bottom, a.high >> top)
            return Node(op, kind, (a, b), ("plain", check_count), self.span(node), low, high)
        if self.ring:
            data = ("ring", check_count)
            return Node(op, kind, (a, b), data, self.span(node), 0, ty.U64_MAX)
        low, high = min(a.low << top, a.low), max(a.high << top, a.high)
        if a.low >= 0:
            mode = "plain" if high <= ty.U64_MAX or self.unchecked else "unsigned"
            if mode == "unsigned" and kind is not self.u64 and a.high <= ty.I64_MAX:
                high = min(high, ty.U64_MAX)
            return Node(
                op,
                kind,
                (a, b),
                (mode, check_count),
                self.span(node),
                a.low << bottom if (a.low << bottom) <= ty.U64_MAX else 0,
                min(high, ty.U64_MAX),
            )
        fits = low >= ty.I64_MIN and high <= ty.I64_MAX
        mode = "plain" if fits or self.unchecked else "signed"
        low, high = max(low, ty.I64_MIN), min(high, ty.I64_MAX)
        return Node(op, kind, (a, b), (mode, check_count), self.span(node), low, high)

    def negate(self, node: ast.AST, value: Node) -> Node:
        """`-value`."""
        zero = self.integer(0)
        low, high = -value.high, -value.low
        mode = "ring" if self.ring else self.mode(zero, value, low, high)
        if mode == "unsigned":
            mode = "wide" if value.high > ty.I64_MAX else "signed"
        kind = value.type if value.type.signed else ty.INT
        low, high = self.clip(mode, kind, low, high)
        mode = self.unless_unchecked(mode)
        return Node("sub", kind, (zero, value), mode, self.span(node), low, high)

    def invert(self, node: ast.AST, value: Node) -> Node:
        """`~value`: -value - 1, so an unsigned operand needs wrap()."""
        ones = self.integer(-1)
        if self.ring:
            return Node("xor", value.type, (value, ones), "ring", self.span(node), 0, ty.U64_MAX)
        if value.high > ty.I64_MAX:
            self.refuse(
                node, "range", "~ of a u64 is negative", f"write wrap({ty.name_of(value.type)}, ~x)"
            )
        kind = value.type if value.type.signed else ty.INT
        return Node(
            "xor", kind, (value, ones), "plain", self.span(node), -value.high - 1, -value.low - 1
        )

    def compare_integers(self, predicate: str, a: Node, b: Node, node: ast.AST) -> Node:
        """An exact comparison, whatever the widths and signs."""
        return Node("compare", bool, (a, b), predicate, self.span(node))


def interval_of(op: str, a: Node, b: Node) -> tuple[int, int]:
    """The interval of an exact result."""
    if op == "add":
        return a.low + b.low, a.high + b.high
    if op == "sub":
        return a.low - b.high, a.high - b.low
    if op == "mul":
        corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
        return min(corners), max(corners)
    if op == "floordiv":
        return divide(a, b)
    if op == "mod":
        if b.low > 0:
            top = b.high - 1
            return 0, min(top, a.high) if a.low >= 0 else top
        return min(b.low + 1, 0), max(b.high - 1, 0)
    if op == "and":
        if a.low >= 0 or b.low >= 0:
            return 0, min(n.high for n in (a, b) if n.low >= 0)
        return min(a.low, b.low, ty.I64_MIN), max(a.high, b.high)
    bits = max(n.bit_length() for n in (a.low, a.high, b.low, b.high))
    if a.low >= 0 and b.low >= 0:
        return 0, (1 << bits) - 1
    return -(1 << bits), (1 << bits) - 1


def divide(a: Node, b: Node) -> tuple[int, int]:
    """The interval of a // b for the divisors that do not trap."""
    divisors = [d for d in (b.low, b.high, 1, -1) if b.low <= d <= b.high and d != 0]
    if not divisors:
        return 0, 0
    corners = [x // d for x in (a.low, a.high) for d in divisors]
    return min(corners), max(corners)
