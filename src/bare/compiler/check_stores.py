"""Conversion on a store: what fits is free, what may not fit is checked, the rest is refused."""

import ast
import typing
from typing import Any, NoReturn

from bare.compiler import types as ty
from bare.compiler.check_values import Comptime, Value, ValueChecker
from bare.compiler.tree import Node
from bare.ints import f64, u8


class StoreChecker(ValueChecker):
    """Makes a value fit the place it goes to."""

    def coerce(self, value: Value, target: Any, node: ast.AST) -> Node:
        """`value` as it is stored into a place of type `target`: checked, converted or refused."""
        target = ty.value_type(target)
        if isinstance(value, Comptime):
            return self.coerce_constant(value.value, target, node)
        found = value.type
        if found is typing.NoReturn:
            return value
        if isinstance(target, ty.UnionType):
            return self.coerce_union(value, target, node)
        if isinstance(found, ty.UnionType) and found != target:
            self.refuse_optional(value, target, node)
        if ty.is_int(target):
            return self.fit(self.as_integer(value, node, target), target, node)
        if found == target:
            return value
        if isinstance(target, ty.BytesType) and ty.is_bytes_like(found):
            return Node(value.op, target, value.args, value.data, value.span, bodies=value.bodies)
        if isinstance(target, ty.TupleType) and isinstance(found, ty.TupleType):
            if len(target.parts) == len(found.parts):
                return self.coerce_parts(value, target, node)
        if ty.is_struct(target) and ty.is_struct(found) and issubclass(found, target):
            return value
        self.refuse_type(found, target, node)

    def refuse_type(self, found: Any, target: Any, node: ast.AST) -> NoReturn:
        """A value of a type that never fits."""
        fix = ""
        if isinstance(found, ty.ArrayType) and ty.is_slice(target):
            fix = "write x[:] to make a slice of the array"
        elif ty.is_float(target) and (ty.is_int(found) or ty.is_float(found)):
            fix = f"convert: {ty.name_of(target)}(...)"
        self.refuse(node, "type", f"expected {ty.name_of(target)}, found {ty.name_of(found)}", fix)

    def coerce_parts(self, value: Node, target: Any, node: ast.AST) -> Node:
        """A tuple as one with other element types."""
        if value.op == "make":
            elements = list(value.args)
        else:
            held = self.hold(value)
            elements = [self.part(held, i, t) for i, t in enumerate(value.type.parts)]
        parts: list[Node] = []
        for element, kind in zip(elements, target.parts, strict=True):
            mark = len(self.out)
            part = self.coerce(element, kind, node)
            parts = [self.materialize(p, node) for p in self.all_ordered(parts, mark)]
            parts.append(part)
        return Node("make", target, tuple(parts), span=self.span(node))

    def refuse_optional(self, value: Node, target: Any, node: ast.AST) -> NoReturn:
        """A union where one of its members is wanted."""
        message = f"expected {ty.name_of(target)}, found {ty.name_of(value.type)}"
        self.refuse(node, "type", message, "test it first (`is None`, isinstance) and return early")

    def coerce_constant(self, value: Any, target: Any, node: ast.AST) -> Node:
        """An import-time object into a place of type `target`."""
        if isinstance(target, ty.UnionType):
            if value is None:
                if not ty.has_none(target):
                    self.refuse(node, "type", f"expected {ty.name_of(target)}, found None")
                return Node("null", target, span=self.span(node))
            for index, member in enumerate(ty.members(target)):
                if self.constant_fits(value, member):
                    inner = self.coerce_constant(value, member, node)
                    return self.wrap_member(inner, target, index)
        elif ty.is_float(target) and isinstance(value, (int, float)):
            return Node("const", target, data=float(value), span=self.span(node))
        elif ty.is_int(target) and isinstance(value, int) and not isinstance(value, bool):
            number = int(value)
            low, high = ty.interval(target)
            if not low <= number <= high:
                message = f"{number} does not fit in {ty.name_of(target)}"
                self.refuse(node, "range", message)
            return Node("const", target, data=number, span=self.span(node), low=number, high=number)
        elif isinstance(target, ty.TupleType) and isinstance(value, tuple):
            parts = [
                self.coerce_constant(v, t, node) for v, t in zip(value, target.parts, strict=True)
            ]
            return Node("make", target, tuple(parts), span=self.span(node))
        elif ty.is_struct(type(value)) or not (
            value is None or isinstance(value, type) or callable(value)
        ):
            return self.coerce(self.constant(value, node), target, node)
        self.refuse(
            node,
            "type",
            f"expected {ty.name_of(target)}, found {ty.name_of(self.constant_type(value))}",
        )

    def constant_fits(self, value: Any, member: Any) -> bool:
        """An import-time object can be this member of a union."""
        kind = self.constant_type(value)
        if ty.is_int(member):
            low, high = ty.interval(member)
            return kind is ty.INT and low <= value <= high
        if isinstance(member, ty.BytesType):
            return isinstance(kind, ty.BytesType) or ty.is_bytes_like(kind)
        if ty.is_float(member):
            return kind is f64
        return bool(kind == member)

    def coerce_union(self, value: Node, target: Any, node: ast.AST) -> Node:
        """A value, or a union with fewer members, into a union."""
        found = value.type
        if found == target:
            return value
        now = self.possible_of(value)
        wanted = ty.possible(target)
        if isinstance(found, ty.UnionType):
            missing = [m for m in now if m not in wanted]
            if missing:
                self.refuse_optional(value, target, node)
            return self.convert_union(value, target, now)
        if found is ty.NONE and ty.has_none(target):
            return Node("null", target, span=self.span(node))
        some = ty.members(target)
        if found in some:
            return self.wrap_member(value, target, some.index(found))
        for index, member in enumerate(some):
            alike = (
                (ty.is_int(member) and (ty.is_int(found) or ty.is_int_enum(found)))
                or (isinstance(member, ty.BytesType) and ty.is_bytes_like(found))
                or (isinstance(member, ty.TupleType) and isinstance(found, ty.TupleType))
            )
            if alike:
                return self.wrap_member(self.coerce(value, member, node), target, index)
        self.refuse(node, "type", f"expected {ty.name_of(target)}, found {ty.name_of(found)}")

    def wrap_member(self, value: Node, target: Any, index: int) -> Node:
        """One member as a value of the union."""
        if ty.union_kind(target) == "nullable":
            return Node(value.op, target, value.args, value.data, value.span, bodies=value.bodies)
        return Node("make_union", target, (value,), index, value.span)

    def convert_union(self, value: Node, target: Any, now: tuple[Any, ...]) -> Node:
        """Between unions: rebuild by tag, as the members have other places."""
        if ty.union_kind(value.type) == "nullable" and ty.union_kind(target) == "nullable":
            return Node(value.op, target, value.args, value.data, value.span)
        held = self.hold(value)
        result: Node | None = None
        for member in reversed(now):
            if member is ty.NONE:
                one = Node("null", target)
            else:
                index = ty.members(target).index(member)
                one = self.wrap_member(self.member(held, member), target, index)
            if result is None:
                result = one
            else:
                result = Node("choose", target, (self.is_member(held, member), one, result))
        assert result is not None
        return result

    def is_member(self, whole: Node, member: Any) -> Node:
        """Test a union for one member (None included)."""
        if ty.union_kind(whole.type) == "nullable":
            null = Node("is_null", bool, (whole,))
            return null if member is ty.NONE else Node("not", bool, (null,))
        tag = Node("union_tag", u8, (whole,), low=0, high=255)
        number = 0 if member is ty.NONE else ty.members(whole.type).index(member) + 1
        return Node("compare", bool, (tag, self.integer(number)), "eq")

    def part(self, whole: Node, index: int, kind: Any) -> Node:
        """One element of a tuple or record."""
        if whole.op == "make" and all(a.op in ("const", "local", "static") for a in whole.args):
            return whole.args[index]
        low, high = self.type_bounds(kind)
        return Node("part", kind, (whole,), index, low=low, high=high)

    def as_integer(self, value: Value, node: ast.AST, target: Any = None) -> Node:
        """A value as an integer node; booleans and floats are refused."""
        if isinstance(value, Comptime):
            found = value.value
            if isinstance(found, int) and not isinstance(found, bool):
                return self.constant(int(found), node)
            value = self.materialize(value, node)
        kind = value.type
        if ty.is_int(kind):
            return value
        if ty.is_int_enum(kind) or ty.is_bitfield(kind):
            return Node(
                value.op,
                ty.storage_int(kind),
                value.args,
                value.data,
                value.span,
                value.low,
                value.high,
                value.bodies,
            )
        wanted = ty.name_of(target) if target is not None else "an integer"
        fix = f"convert: {wanted}(...)" if ty.is_float(kind) else ""
        self.refuse(node, "type", f"expected {wanted}, found {ty.name_of(kind)}", fix)

    def fit(self, value: Node, target: Any, node: ast.AST) -> Node:
        """An integer into storage of type `target`: free, checked, or refused by its type."""
        low, high = ty.interval(target)
        if low <= value.low and value.high <= high:
            return _typed(value, target)
        kind = value.type
        if kind is not ty.INT and kind != target and not ty.widens(kind, target):
            wide = ty.name_of(target)
            self.refuse(
                node,
                "narrowing",
                f"expected {wide}, found {ty.name_of(kind)}",
                f"write {wide}(...) to convert with a check, or wrap({wide}, ...) to truncate",
            )
        return self.range_check(value, target, node)

    def range_check(self, value: Node, target: Any, node: ast.AST) -> Node:
        """Trap where the value is outside the type."""
        low, high = ty.interval(target)
        low, high = max(low, value.low), min(high, value.high)
        if low > high:
            low = high = 0
        if self.unchecked:
            return Node("wrap", target, (value,), target, self.span(node), low, high)
        reason = f"value does not fit in {ty.name_of(target)}"
        limits = (*ty.interval(target), reason)
        return Node("range_check", target, (value,), limits, self.span(node), low, high)


def _typed(value: Node, target: Any) -> Node:
    """The same integer under another width."""
    if value.type == target:
        return value
    return Node(
        value.op,
        target,
        value.args,
        value.data,
        value.span,
        value.low,
        value.high,
        value.bodies,
        value.possible,
    )
