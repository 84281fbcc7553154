"""Expressions: names, attributes, subscripts, operators, conditions."""

import ast
import enum
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_conditions import FOLD, ConditionChecker, foldable
from bare.compiler.check_integers import OPERATORS
from bare.compiler.check_values import Comptime, Refused, Value
from bare.compiler.tree import Node

CONSTANT_BITS = 4096  # Of an import-time integer on the way to one that fits.
FLOAT_OPERATORS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}


class ExpressionChecker(ConditionChecker):
    """Types expressions that are not calls."""

    def expression(self, node: ast.expr) -> Value:
        """The typed value of an expression."""
        method = getattr(self, "_on_" + type(node).__name__.lower(), None)
        if method is None:
            word = type(node).__name__.lower()
            self.refuse(node, "subset", f"`{word}` is not part of the language")
        ring, strict = self.ring, self.strict
        self.strict = False
        if not isinstance(node, (ast.BinOp, ast.UnaryOp, ast.IfExp)):
            self.ring = 0  # wrap() reaches through arithmetic only.
        try:
            value: Value = method(node)
        finally:
            self.ring, self.strict = ring, strict
        return value

    def _on_constant(self, node: ast.Constant) -> Value:
        if isinstance(node.value, str):
            self.refuse(node, "subset", "text exists only as Bytes at run time", 'write b"…"')
        return Comptime(node.value)

    def _on_name(self, node: ast.Name) -> Value:
        name = node.id
        if name in self.unknown:
            raise Refused
        if name in self.scope:
            found = self.scope[name]
            if isinstance(found, Comptime):
                return found
            value = self.read(found)
            value.span = self.span(node)
            return value
        if name in self.stores:
            self.refuse(
                node,
                "unassigned",
                f"{name} is not assigned here",
                "assign it on every path to here",
            )
        if name in self.globals or self.lookup(name) is not None:
            return Comptime(self.lookup(name))
        self.refuse(node, "name", f"{name} is not defined")

    def _on_tuple(self, node: ast.Tuple) -> Value:
        parts = self.expressions(node.elts)
        if all(isinstance(p, Comptime) for p in parts):
            return Comptime(tuple(p.value for p in parts if isinstance(p, Comptime)))
        found = [self.materialize(p, node) for p in parts]
        nodes = tuple(self.coerce(n, n.type, node) for n in found)  # An element is a store.
        kind = ty.TupleType(*(n.type for n in nodes))
        return Node("make", kind, nodes, span=self.span(node))

    # -- operators -------------------------------------------------------------------------------

    def _on_binop(self, node: ast.BinOp) -> Value:
        ring = self.ring
        if ring and not isinstance(
            node.op,
            (ast.Add, ast.Sub, ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor, ast.LShift),
        ):
            self.ring = 0
        left = self.expression(node.left)
        mark = len(self.out)
        if isinstance(node.op, ast.LShift):
            outer, self.ring = self.ring, 0
            right = self.expression(node.right)
            self.ring = outer
        else:
            right = self.expression(node.right)
        value = self.binary(node, node.op, self.ordered(left, mark), right)
        self.ring = ring
        return value

    def folded(self, node: ast.AST, op: ast.operator, left: Any, right: Any) -> Value:
        """Import-time values are computed by Python itself."""
        power = isinstance(op, (ast.LShift, ast.Pow)) and isinstance(right, int)
        if power and right > CONSTANT_BITS:
            self.refuse(node, "range", "this constant is too large")
        try:
            found = FOLD[type(op)](left, right)
        except (TypeError, ArithmeticError, ValueError, MemoryError) as error:
            self.refuse(node, "constant", str(error))
        if isinstance(found, int) and found.bit_length() > CONSTANT_BITS:
            self.refuse(node, "range", "this constant is too large")
        return Comptime(found)

    def binary(self, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Value:
        """`left op right`."""
        if foldable(left) and foldable(right):
            assert isinstance(left, Comptime)
            assert isinstance(right, Comptime)
            return self.folded(node, op, left.value, right.value)
        kinds = [v.type for v in (left, right) if isinstance(v, Node)]
        if any(isinstance(k, (ty.VecType, ty.MaskType)) for k in kinds):
            return self.vector_binary(node, op, left, right)
        if any(ty.is_float(k) for k in kinds):
            return self.float_binary(node, op, left, right)
        if isinstance(op, ast.Div):
            self.refuse(node, "type", "`/` is for floats", "write // for integers")
        flags = [k for k in kinds if ty.is_enum(k) and issubclass(k, enum.IntFlag)]
        truths = all(
            isinstance(v, Node) or isinstance(v.value, bool) for v in (left, right)
        ) and all(k is bool for k in kinds)
        if truths and isinstance(op, (ast.BitAnd, ast.BitOr, ast.BitXor)):
            a, b = (self.truth(v, node) for v in (left, right))
            return Node(OPERATORS[type(op)], bool, (a, b), "bool", self.span(node))
        if any(isinstance(v, Comptime) and isinstance(v.value, float) for v in (left, right)):
            self.refuse(node, "type", "an integer and a float do not mix", "convert: f32(...)")
        if type(op) not in OPERATORS:
            self.refuse(node, "subset", "this operator is not part of the language")
        result = self.integer_binary(node, OPERATORS[type(op)], left, right)
        bitwise = isinstance(op, (ast.BitAnd, ast.BitOr, ast.BitXor))
        if bitwise and len(flags) == len(kinds) == 2 and flags[0] is flags[1]:
            result.type = flags[0]
        elif flags and bitwise and len(kinds) == 1:
            result.type = ty.enum_storage(flags[0])
        return result

    def float_binary(self, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Node:
        """Float arithmetic; a literal takes the other side's type."""
        if type(op) not in FLOAT_OPERATORS:
            self.refuse(node, "subset", "this operator is not defined for floats")
        a, b = self.float_pair(node, left, right)
        check = isinstance(op, ast.Div) and not self.unchecked and not (b.op == "const" and b.data)
        data = "check" if check else ""
        return Node(FLOAT_OPERATORS[type(op)], a.type, (a, b), data, self.span(node))

    def float_pair(self, node: ast.AST, left: Value, right: Value) -> tuple[Node, Node]:
        """Two operands of one float type."""
        kind = next(v.type for v in (left, right) if isinstance(v, Node) and ty.is_float(v.type))
        found = []
        for value in (left, right):
            if isinstance(value, Node) and value.type != kind:
                self.no_common_type(node, *(v.type for v in (left, right) if isinstance(v, Node)))
            found.append(self.coerce(value, kind, node))
        return found[0], found[1]

    def _on_unaryop(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            value, _, _ = self.condition(node)
            return value
        ring = self.ring
        if isinstance(node.op, ast.UAdd):
            self.ring = 0
        value = self.expression(node.operand)
        self.ring = ring
        if foldable(value):
            assert isinstance(value, Comptime)
            return Comptime(FOLD[type(node.op)](value.value))
        inner = self.materialize(value, node)
        if ty.is_float(inner.type) and isinstance(node.op, ast.USub):
            return Node("fneg", inner.type, (inner,), span=self.span(node))
        if isinstance(inner.type, (ty.VecType, ty.MaskType)):
            return self.vector_negate(node, inner)
        if isinstance(node.op, ast.Invert) and ty.is_enum(inner.type):
            fix = "write ~int(x), or & with the complement of a constant"
            self.refuse(node, "type", "~ of a flag depends on the members it has", fix)
        if isinstance(node.op, ast.Invert):
            return self.invert(node, self.as_integer(inner, node))
        return self.negate(node, self.as_integer(inner, node))

    def _on_ifexp(self, node: ast.IfExp) -> Value:
        ring, self.ring = self.ring, 0
        test, when_true, when_false = self.condition(node.test)
        self.ring = ring
        if isinstance(test, Comptime):
            return self.expression(node.body if test.value else node.orelse)
        before = dict(self.narrowed)
        outer, ended = self.out, self.terminated
        self.narrow(when_true)
        then_out: list[Node] = []
        self.out = then_out
        then = self.expression(node.body)
        self.narrowed = dict(before)
        self.narrow(when_false)
        else_out: list[Node] = []
        self.out = else_out
        other = self.expression(node.orelse)
        self.narrowed, self.out, self.terminated = before, outer, ended
        kind = self.join_types(node, then, other)
        sides = []
        for value, statements in ((then, then_out), (other, else_out)):
            self.out = statements
            side = self.coerce(value, kind, node)
            if statements:
                side = Node(
                    "sequence", kind, (side,), None, None, side.low, side.high, (statements,)
                )
            sides.append(side)
        self.out = outer
        low = min(s.low for s in sides)
        high = max(s.high for s in sides)
        if ty.is_int(kind) and low < 0 and high > ty.I64_MAX:
            low, high = ty.interval(kind)
        return Node("choose", kind, (test, *sides), None, self.span(node), low, high)

    def join_types(self, node: ast.AST, a: Value, b: Value) -> Any:
        """The type of `a if c else b`."""
        if isinstance(a, Comptime) and isinstance(b, Comptime):
            first, second = self.constant_type(a.value), self.constant_type(b.value)
            return first if first == second else ty.UnionType(first, second)
        for x, y in ((a, b), (b, a)):
            if isinstance(y, Comptime) and isinstance(x, Node):
                if y.value is None and not ty.has_none(x.type):
                    return ty.UnionType(x.type, ty.NONE)
                if ty.is_int(x.type) and isinstance(y.value, int):
                    low, high = ty.interval(x.type)
                    return x.type if low <= y.value <= high else ty.INT
                member = self.constant_type(y.value)
                if ty.is_enum(member) and member not in ty.possible(x.type):
                    return ty.normalize(ty.UnionType(*self.possible_of(x), member))
                return x.type
        assert isinstance(a, Node)
        assert isinstance(b, Node)
        if a.type == b.type:
            return a.type
        if ty.is_bytes_like(a.type) and ty.is_bytes_like(b.type):
            return ty.BYTES
        if ty.NONE in (a.type, b.type):
            return ty.UnionType(a.type, b.type)
        if all(ty.is_int(t) or ty.is_int_enum(t) for t in (a.type, b.type)):
            common = ty.common_type(a.type, b.type)
            if common is None:
                self.no_common_type(node, a.type, b.type)
            return common
        return ty.normalize(ty.UnionType(*self.possible_of(a), *self.possible_of(b)))
