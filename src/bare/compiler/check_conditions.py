"""Conditions: comparisons, `and`, `or`, `not`, and what they show about unions."""

import ast
import enum
import operator
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_places import PlaceChecker
from bare.compiler.check_values import Comptime, Narrowing, Value
from bare.compiler.tree import Local, Node
from bare.memory import Slice

COMPARISONS = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Is: "eq",
    ast.IsNot: "ne",
}
FOLD: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.Pow: operator.pow,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
    ast.UAdd: operator.pos,
}


class ConditionChecker(PlaceChecker):
    """Types conditions and narrows by them."""

    def truth(self, value: Value, node: ast.AST) -> Node:
        """A value as a condition: a bool, or an integer that is not zero."""
        if isinstance(value, Comptime):
            return Node("const", bool, data=bool(value.value), span=self.span(node))
        if value.type is bool:
            return value
        if ty.is_int(value.type) or ty.is_int_enum(value.type):
            if self.strict:
                self.refuse(
                    node, "condition", "`and` and `or` give one of their operands", "compare with 0"
                )
            number = self.as_integer(value, node)
            return Node("compare", bool, (number, self.integer(0)), "ne", self.span(node))
        fix = "compare with `is not None`" if isinstance(value.type, ty.UnionType) else ""
        if ty.is_slice(value.type):
            fix = "write len(x) != 0"
        self.refuse(node, "condition", f"{ty.name_of(value.type)} is not a condition", fix)

    def condition(self, node: ast.expr) -> tuple[Value, Narrowing, Narrowing]:
        """A condition, with what it shows about unions when it holds and when it does not."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            strict, self.strict = self.strict, False
            value, when_true, when_false = self.condition(node.operand)
            self.strict = strict
            if isinstance(value, Comptime):
                return Comptime(not value.value), {}, {}
            return Node("not", bool, (value,), span=self.span(node)), when_false, when_true
        if isinstance(node, ast.BoolOp):
            return self.bool_condition(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if self.lookup(node.func.id) is isinstance:
                return self.instance_condition(node)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            right = node.comparators[0]
            none = isinstance(right, ast.Constant) and right.value is None
            if none and isinstance(node.ops[0], (ast.Is, ast.IsNot)):
                return self.none_condition(node)
            if isinstance(node.ops[0], (ast.Eq, ast.Is)):
                return self.member_condition(node)
        value = self.expression(node)
        if isinstance(value, Comptime):
            return Comptime(bool(value.value)), {}, {}
        return self.truth(value, node), {}, {}

    def bool_condition(self, node: ast.BoolOp) -> tuple[Value, Narrowing, Narrowing]:
        """`and`, `or`: each operand is checked under what the ones before have shown."""
        conjunction = isinstance(node.op, ast.And)
        before = dict(self.narrowed)
        result: Node | None = None
        facts_true: Narrowing = {}
        facts_false: Narrowing = {}
        outer = self.out
        for index, part in enumerate(node.values):
            self.out = []
            value, when_true, when_false = self.condition(part)
            prelude, self.out = self.out, outer
            if isinstance(value, Comptime):
                if bool(value.value) is not conjunction:
                    self.narrowed = before
                    if result is None:
                        return value, {}, {}
                    known = Node("const", bool, data=not conjunction, span=self.span(node))
                    op = "and_then" if conjunction else "or_else"
                    return Node(op, bool, (result, known), span=self.span(node)), {}, {}
                continue
            if prelude:
                if result is None:
                    outer.extend(prelude)
                else:
                    value = Node("sequence", bool, (value,), bodies=(prelude,))
            if result is None:
                result, facts_true, facts_false = value, dict(when_true), dict(when_false)
            else:
                op = "and_then" if conjunction else "or_else"
                result = Node(op, bool, (result, value), span=self.span(node))
                if conjunction:
                    facts_true, facts_false = _both(facts_true, when_true), {}
                else:
                    facts_true, facts_false = {}, _both(facts_false, when_false)
            if index < len(node.values) - 1:
                self.narrow(when_true if conjunction else when_false)
        self.narrowed = before
        if result is None:
            return Comptime(conjunction), {}, {}
        return result, facts_true, facts_false

    def _on_boolop(self, node: ast.BoolOp) -> Value:
        outer, self.strict = self.strict, True
        value, _, _ = self.condition(node)
        self.strict = outer
        return value

    def union_test(
        self, value: Node, wanted: tuple[Any, ...]
    ) -> tuple[Value, Narrowing, Narrowing]:
        """Test a union value for some of its members."""
        now = self.possible_of(value)
        hit = tuple(m for m in now if m in wanted)
        miss = tuple(m for m in now if m not in wanted)
        if not hit or not miss:
            return Comptime(bool(hit)), {}, {}
        tests = [self.is_member(value, m) for m in hit]
        result = tests[0]
        for test in tests[1:]:
            result = Node("or_else", bool, (result, test))
        if value.op == "local" and isinstance(value.data, Local):
            return result, {value.data: hit}, {value.data: miss}
        return result, {}, {}

    def whole(self, node: ast.expr) -> Value:
        """A value with its union still whole, for a test."""
        if isinstance(node, ast.Name) and isinstance(self.scope.get(node.id), Local):
            local = self.scope[node.id]
            assert isinstance(local, Local)
            if isinstance(local.type, ty.UnionType):
                possible = self.narrowed.get(local)
                return Node("local", local.type, data=local, possible=possible)
        value = self.expression(node)
        if isinstance(value, Node) and isinstance(value.type, ty.UnionType):
            kept = self.hold(value)
            return kept
        return value

    def none_condition(self, node: ast.Compare) -> tuple[Value, Narrowing, Narrowing]:
        """`x is None`, `x is not None`."""
        if not isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            self.refuse(node, "subset", "None has no order and no ==", "write `is None`")
        value = self.whole(node.left)
        negated = isinstance(node.ops[0], ast.IsNot)
        if isinstance(value, Comptime):
            return Comptime((value.value is None) is not negated), {}, {}
        if not isinstance(value.type, ty.UnionType):
            return Comptime((value.type is ty.NONE) is not negated), {}, {}
        test, when_true, when_false = self.union_test(value, (ty.NONE,))
        if not negated:
            return test, when_true, when_false
        if isinstance(test, Comptime):
            return Comptime(not test.value), {}, {}
        return Node("not", bool, (test,)), when_false, when_true

    def instance_condition(self, node: ast.Call) -> tuple[Value, Narrowing, Narrowing]:
        """`isinstance(x, T)` and `isinstance(x, (A, B))`."""
        value = self.whole(node.args[0])
        cls = self.expression(node.args[1])
        if not isinstance(cls, Comptime):
            self.refuse(node, "type", "isinstance takes a class")
        wanted = cls.value if isinstance(cls.value, tuple) else (cls.value,)
        if isinstance(value, Comptime):
            return Comptime(isinstance(value.value, wanted)), {}, {}
        if not isinstance(value.type, ty.UnionType):
            return Comptime(any(self.is_a(value.type, w) for w in wanted)), {}, {}
        hits = tuple(m for m in ty.possible(value.type) if any(self.is_a(m, w) for w in wanted))
        return self.union_test(value, hits)

    def is_a(self, member: Any, wanted: Any) -> bool:
        """A member of a union answers to a class in isinstance."""
        if wanted is Slice:
            return isinstance(member, ty.SliceType)
        if wanted is bytes or isinstance(wanted, ty.BytesType):
            return ty.is_slice(member)
        if wanted is int:
            return ty.is_int(member) or ty.is_int_enum(member) or member is bool
        if wanted is float:
            return ty.is_float(member)
        origin = getattr(member, "_origin_", None)
        return bool(member == wanted or origin is wanted)

    def member_condition(self, node: ast.Compare) -> tuple[Value, Narrowing, Narrowing]:
        """`x == Enum.MEMBER` where x is a union that holds the enum."""
        value = self.whole(node.left)
        mark = len(self.out)
        right = self.expression(node.comparators[0])
        if isinstance(value, Node) and isinstance(value.type, ty.UnionType):
            kind = self.constant_type(right.value) if isinstance(right, Comptime) else right.type
            matches = [
                m for m in ty.members(value.type) if m == kind or (kind is ty.INT and ty.is_int(m))
            ]
            if len(matches) == 1:
                test, when_true, _ = self.union_test(value, (matches[0],))
                inner = self.compare(node, ast.Eq(), self.member(value, matches[0]), right)
                if isinstance(test, Comptime):
                    return inner if test.value else test, {}, {}
                both = Node("and_then", bool, (test, self.truth(inner, node)))
                return both, when_true, {}
            now = self.possible_of(value)
            if len(now) == 1:
                value = self.member(value, now[0])
        found = self.compare(node, node.ops[0], self.ordered(value, mark), right)
        if isinstance(found, Comptime):
            return Comptime(bool(found.value)), {}, {}
        return self.truth(found, node), {}, {}

    def _on_compare(self, node: ast.Compare) -> Value:
        if len(node.ops) == 1:
            right_node = node.comparators[0]
            if isinstance(right_node, ast.Constant) and right_node.value is None:
                value, _, _ = self.none_condition(node)
                return value
            left = self.expression(node.left)
            mark = len(self.out)
            right = self.expression(right_node)
            return self.compare(node, node.ops[0], self.ordered(left, mark), right)
        return self.chain(node)

    def chain(self, node: ast.Compare) -> Value:
        """`a < b < c`: every operand once, and none after the first comparison that fails."""
        left = self.expression(node.left)
        result: Value = Comptime(True)
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            outer = self.out
            if isinstance(result, Node):
                self.out = []
            mark = len(self.out)
            right = self.expression(comparator)
            left = self.ordered(left, mark)
            if isinstance(right, Node) and comparator is not node.comparators[-1]:
                if isinstance(left, Node):
                    left = self.hold(left)
                right = self.hold(right)
            test = self.compare(node, op, left, right)
            left = right
            prelude, self.out = self.out, outer
            if isinstance(result, Comptime):
                result = test
                if isinstance(test, Comptime) and not test.value:
                    return test
                continue
            inner = self.truth(test, node)
            if prelude:
                inner = Node("sequence", bool, (inner,), bodies=(prelude,))
            result = Node("and_then", bool, (result, inner), span=self.span(node))
        return result

    def compare(self, node: ast.AST, op: ast.cmpop, left: Value, right: Value) -> Value:
        """One comparison."""
        if foldable(left) and foldable(right):
            assert isinstance(left, Comptime)
            assert isinstance(right, Comptime)
            return Comptime(FOLD[type(op)](left.value, right.value))
        if isinstance(op, (ast.In, ast.NotIn)):
            return self.contains(node, op, left, right)
        if isinstance(op, (ast.Is, ast.IsNot)) and not self.has_identity(left, right):
            self.refuse(node, "subset", "`is` compares with None only", "write == or !=")
        return self.compare_values(node, COMPARISONS[type(op)], left, right)

    def compare_values(self, node: ast.AST, predicate: str, left: Value, right: Value) -> Value:
        """A comparison by the types of its operands."""
        kinds = [v.type for v in (left, right) if isinstance(v, Node)]
        if any(isinstance(k, ty.VecType) for k in kinds):
            return self.vector_compare(node, predicate, left, right)
        if any(ty.is_slice(k) for k in kinds):
            return self.compare_bytes(node, predicate, left, right)
        if any(ty.is_float(k) for k in kinds):
            a, b = self.float_pair(node, left, right)
            return Node("fcompare", bool, (a, b), predicate, self.span(node))
        if any(k is bool for k in kinds):
            a, b = self.coerce(left, bool, node), self.coerce(right, bool, node)
            if predicate not in ("eq", "ne"):
                self.refuse(node, "type", "bool has no order")
            return Node("compare", bool, (a, b), predicate + " bool", self.span(node))
        if any(ty.is_struct(k) for k in kinds) and predicate in ("eq", "ne"):
            a, b = self.materialize(left, node), self.materialize(right, node)
            test = Node("address_equal", bool, (a, b), span=self.span(node))
            return test if predicate == "eq" else Node("not", bool, (test,))
        enums = [k for k in kinds if ty.is_enum(k) and not ty.is_int_enum(k)]
        if enums:
            a, b = (self.coerce(v, enums[0], node) for v in (left, right))
            return Node("compare", bool, (a, b), predicate, self.span(node))
        if any(isinstance(k, ty.UnionType) for k in kinds):
            self.refuse(
                node, "type", "this may be None", "test it first (`is None`) and return early"
            )
        a, b = self.as_integer(left, node), self.as_integer(right, node)
        if isinstance(left, Node) and isinstance(right, Node):
            small = max(a.high, b.high) <= ty.I64_MAX or min(a.low, b.low) >= 0
            if ty.common_type(a.type, b.type) is None and not small:
                self.no_common_type(node, a.type, b.type)
        return self.compare_integers(predicate, a, b, node)

    def has_identity(self, left: Value, right: Value) -> bool:
        """`is` means the same as `==`: truth values, enum members, structs."""
        kinds = [v.type for v in (left, right) if isinstance(v, Node)]
        return all(k is bool or ty.is_enum(k) or ty.is_struct(k) for k in kinds)

    def contains(self, node: ast.AST, op: ast.cmpop, left: Value, right: Value) -> Value:
        """`x in (1, 2, 3)` and `byte in b"..."` for import-time containers."""
        if not isinstance(right, Comptime) or not hasattr(right.value, "__iter__"):
            self.refuse(node, "constant", "`in` takes an import-time tuple or bytes")
        held = self.hold(left) if isinstance(left, Node) else left
        result: Node | None = None
        for item in right.value:
            test = self.truth(self.compare(node, ast.Eq(), held, Comptime(item)), node)
            result = test if result is None else Node("or_else", bool, (result, test))
        if result is None:
            return Comptime(isinstance(op, ast.NotIn))
        return Node("not", bool, (result,)) if isinstance(op, ast.NotIn) else result

    def compare_bytes(self, node: ast.AST, predicate: str, left: Value, right: Value) -> Node:
        """`==` and `!=` of Bytes."""
        from bare import runtime

        if predicate not in ("eq", "ne"):
            self.refuse(node, "subset", "Bytes have no order")
        a = self.coerce(left, ty.BYTES, node)
        b = self.coerce(right, ty.BYTES, node)
        same = self.call_function(runtime.bytes_equal, [a, b], node)
        assert isinstance(same, Node)
        return same if predicate == "eq" else Node("not", bool, (same,))


def foldable(value: Value) -> bool:
    """An import-time value that Python itself may compute with."""
    return isinstance(value, Comptime) and (
        value.value is None
        or isinstance(value.value, (bool, int, float, bytes, tuple, enum.Enum, type, frozenset))
    )


def _both(a: Narrowing, b: Narrowing) -> Narrowing:
    """Facts that hold together."""
    joined = dict(a)
    for local, possible in b.items():
        joined[local] = tuple(p for p in joined.get(local, possible) if p in possible)
    return joined
