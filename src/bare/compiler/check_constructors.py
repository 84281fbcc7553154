"""Calls of classes and builtins: constructors, conversions, len, min, max, abs."""

import ast
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_conditions import foldable
from bare.compiler.check_values import Comptime, Value
from bare.compiler.check_vectors import VectorChecker
from bare.compiler.tree import Node


class ConstructorChecker(VectorChecker):
    """Types calls that make or convert a value."""

    def call_class(self, cls: Any, node: ast.Call) -> Value:
        """A constructor, or a conversion to bool or an enum."""
        if cls in (bool, int, float):
            if cls is bool:
                value = self.expression(node.args[0])
                if isinstance(value, Comptime):
                    return Comptime(bool(value.value))
                return self.truth(value, node)
            return self.convert_builtin(cls, node)
        if cls in (range, enumerate):
            self.refuse(node, "subset", f"{cls.__name__} is used in `for` only")
        if ty.is_enum(cls):
            return self.convert_enum(cls, node)
        if ty.is_struct(cls):
            return self.construct(cls, node)
        if ty.is_bitfield(cls):
            return self.construct_bits(cls, node)
        if ty.is_record(cls):
            return self.construct_record(cls, node)
        self.refuse(node, "subset", f"{ty.name_of(cls)} cannot be made at run time")

    def convert_builtin(self, cls: Any, node: ast.Call) -> Value:
        """`int(x)` and `float(x)`: of constants, and of what is an integer already."""
        value = self.expression(node.args[0])
        if isinstance(value, Comptime):
            return Comptime(cls(value.value))
        if cls is int and (ty.is_int(value.type) or ty.is_int_enum(value.type)):
            return self.as_integer(value, node)
        if cls is int and value.type is bool:
            return Node(
                "choose", ty.INT, (value, self.integer(1), self.integer(0)), None, None, 0, 1
            )
        self.refuse(node, "subset", "name a width", "write i64(...) or f64(...)")

    def convert_int(self, target: Any, node: ast.Call) -> Value:
        """`u8(x)`: checked, from integers, floats (truncated), enums and bools."""
        value = self.expression(node.args[0])
        if isinstance(value, Comptime):
            if isinstance(value.value, (int, float)):
                return self.coerce(Comptime(int(value.value)), target, node)
            value = self.materialize(value, node)
        if ty.is_float(value.type):
            low, high = ty.interval(target)
            reason = f"value does not fit in {ty.name_of(target)}"
            data = (target, "" if self.unchecked else reason)
            return Node("float_to_int", target, (value,), data, self.span(node), low, high)
        if value.type is bool:
            one, zero = self.integer(1), self.integer(0)
            return Node("choose", target, (value, one, zero), None, self.span(node), 0, 1)
        if ty.is_enum(value.type):
            number = ty.enum_storage(value.type)
            value = Node("wrap", number, (value,), number, None, value.low, value.high)
        whole = self.as_integer(value, node, target)
        low, high = ty.interval(target)
        if low <= whole.low and whole.high <= high:
            return Node("wrap", target, (whole,), target, self.span(node), whole.low, whole.high)
        return self.range_check(whole, target, node)

    def convert_float(self, target: Any, node: ast.Call) -> Value:
        """`f32(x)` from an integer or another float."""
        value = self.expression(node.args[0])
        if isinstance(value, Comptime):
            return self.coerce(Comptime(float(value.value)), target, node)
        if ty.is_float(value.type):
            if value.type == target:
                return value
            return Node("float_cast", target, (value,), span=self.span(node))
        return Node(
            "int_to_float", target, (self.as_integer(value, node, target),), span=self.span(node)
        )

    def convert_enum(self, cls: Any, node: ast.Call) -> Value:
        """`Kind(number)`: traps when there is no such member; flags take any bits they have."""
        value = self.expression(node.args[0])
        if isinstance(value, Comptime):
            return Comptime(cls(value.value))
        if value.type == cls:
            return value
        number = self.hold(self.as_integer(value, node))
        storage = ty.enum_storage(cls)
        low, high = ty.interval(cls)
        fits = low <= number.low and number.high <= high
        checked = number if fits else self.range_check(number, storage, node)
        values = sorted({int(m.value) for m in cls})
        import enum

        dense = values == list(range(values[0], values[-1] + 1))
        if not issubclass(cls, enum.Flag) and not self.unchecked:
            if not dense or not (values[0] <= number.low and number.high <= values[-1]):
                known = self.contains(node, ast.In(), number, Comptime(tuple(values)))
                reason = f"no such {cls.__name__}"
                self.emit(Node("check", None, (self.truth(known, node),), reason, self.span(node)))
        return Node("wrap", cls, (checked,), storage, self.span(node), low, high)

    def construct(self, cls: Any, node: ast.Call) -> Node:
        """A struct on this function's stack."""
        if getattr(cls, "__type_params__", ()) and not getattr(cls, "_arguments_", None):
            self.refuse(node, "generic", "name the type", f"write {cls.__name__}[T](...)")
        size, align = self.size_align(cls)
        names = list(cls._fields_)
        given: dict[str, Value] = {}
        if len(node.args) > len(names):
            self.refuse(node, "call", f"{cls.__name__} has {len(names)} fields")
        for keyword in node.keywords:
            if keyword.arg not in cls._fields_:
                self.refuse(node, "call", f"{cls.__name__} has no field {keyword.arg}")
        for name, value in self.named(node, names):
            # The storage may be the one that the arguments are read from, in a loop.
            given[name] = self.hold(value) if isinstance(value, Node) else value
        pointer = self.hold(Node("stack", cls, data=(size, align), span=self.span(node)))
        self.default_fields(pointer, cls, set(given), node)
        for name, value in given.items():
            address, stored, alignment = self.field(pointer, name)
            if ty.is_struct(stored):
                origin = self.coerce(value, stored, node)
                total = self.integer(stored._size_)
                copy = Node("memory", ty.NONE, (address, origin, total), "move", self.span(node))
                self.emit(Node("evaluate", None, (copy,)))
                continue
            inner = self.coerce(value, stored, node)
            self.emit(Node("store", None, (address, inner), (stored, alignment), self.span(node)))
        return pointer

    def named(self, node: ast.Call, names: list[str]) -> list[tuple[str, Value]]:
        """The arguments of a constructor by field name, computed in the order written."""
        found = self.arguments(node)
        rest = iter(names)
        return [a if isinstance(a, tuple) else (next(rest), a) for a in found]

    def default_fields(self, pointer: Node, cls: Any, given: set[str], node: ast.AST) -> None:
        """Store defaults that are not zero; the storage is zeroed already."""
        for name, found in cls._fields_.items():
            if name in given:
                continue
            address, stored, align = self.field(pointer, name)
            if ty.is_struct(stored):
                inner = Node(address.op, stored, address.args, address.data)
                self.default_fields(inner, stored, set(), node)
            elif found.has_default and not isinstance(stored, (ty.ArrayType, ty.AtomicType)):
                if found.default is None or (
                    found.default in (0, False) and not isinstance(stored, ty.UnionType)
                ):
                    continue
                value = self.coerce(Comptime(found.default), stored, node)
                self.emit(Node("store", None, (address, value), (stored, align), self.span(node)))

    def construct_record(self, cls: Any, node: ast.Call) -> Node:
        """A frozen dataclass by value."""
        fields = ty.record_fields(cls)
        given: dict[str, Value] = {}
        if len(node.args) > len(fields):
            self.refuse(node, "call", f"{cls.__name__} has {len(fields)} fields")
        given.update(self.named(node, [name for name, _ in fields]))
        unknown = [name for name in given if name not in dict(fields)]
        if unknown:
            self.refuse(node, "call", f"{cls.__name__} has no field {unknown[0]}")
        parts = []
        for name, kind in fields:
            if name not in given:
                default = cls.__dataclass_fields__[name].default
                if repr(default).startswith("<dataclasses._MISSING"):
                    self.refuse(node, "call", f"{cls.__name__} needs a value for {name}")
                given[name] = Comptime(default)
            value = given[name]
            mark = len(self.out)
            parts.append(self.coerce(value, kind, node))
            if len(self.out) > mark:
                parts[:-1] = [self.materialize(n, node) for n in self.all_ordered(parts[:-1], mark)]
        return Node("make", cls, tuple(parts), span=self.span(node))

    def call_builtin(self, target: Any, node: ast.Call) -> Value:
        """len, min, max, abs."""
        values = self.expressions(node.args)
        if all(foldable(v) for v in values) and not node.keywords:
            return Comptime(target(*(v.value for v in values if isinstance(v, Comptime))))
        if target is len:
            if isinstance(values[0], Comptime) and isinstance(values[0].value, (dict, list, range)):
                return Comptime(len(values[0].value))
            return self.length(self.as_slice(values[0], node))
        if target in (min, max) and len(values) >= 2:
            result = values[0]
            for value in values[1:]:
                result = self.min_max(target.__name__, result, value, node)
            return result
        if target is abs and len(values) == 1:
            value = self.materialize(values[0], node)
            if ty.is_float(value.type):
                return Node("math", value.type, (value,), "fabs", self.span(node))
            held = self.hold(self.as_integer(value, node))
            other = self.negate(node, held)
            test = self.compare_integers("lt", held, self.integer(0), node)
            high = max(abs(held.low), abs(held.high))
            return Node("choose", held.type, (test, other, held), None, self.span(node), 0, high)
        self.refuse(node, "subset", f"{target.__name__} is not part of the language here")

    def min_max(self, name: str, left: Value, right: Value, node: ast.AST) -> Value:
        """min and max of two numbers."""
        if isinstance(left, Comptime) and isinstance(right, Comptime):
            return Comptime((min if name == "min" else max)(left.value, right.value))
        kinds = [v.type for v in (left, right) if isinstance(v, Node)]
        if any(ty.is_float(k) for k in kinds):
            a, b = self.float_pair(node, left, right)
            a, b = self.hold(a), self.hold(b)
            test = Node("fcompare", bool, (b, a), "lt" if name == "min" else "gt")
            return Node("choose", a.type, (test, b, a), None, self.span(node))
        a, b = self.as_integer(left, node), self.as_integer(right, node)
        pick = min if name == "min" else max
        low, high = pick(a.low, b.low), pick(a.high, b.high)
        kind = self.result_type(node, "or", left, right, a, b)
        if ty.is_int(kind) and not (ty.interval(kind)[0] <= low and high <= ty.interval(kind)[1]):
            kind = next(
                (
                    n.type
                    for n in (a, b)
                    if ty.interval(n.type)[0] <= low and high <= ty.interval(n.type)[1]
                ),
                kind,
            )
        return Node("minmax", kind, (a, b), name, self.span(node), low, high)
