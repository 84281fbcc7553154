"""Methods of the types that are built in: slices, atomics, structs, overlays."""

import ast
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_constructors import ConstructorChecker
from bare.compiler.check_values import Comptime, Value
from bare.compiler.tree import Node
from bare.ints import u8


class MethodChecker(ConstructorChecker):
    """Types calls of built-in methods."""

    def slice_method(self, source: Node, name: str, node: ast.Call) -> Value:
        """fill, copy_from, find, startswith, endswith."""
        from bare import runtime

        held = self.hold(source)
        stored = self.stored_element(held)
        if name in ("find", "startswith", "endswith"):
            arguments = [self.coerce(held, ty.BYTES, node), *self.arguments(node)]
            if name == "find" and len(arguments) == 2:
                arguments.append(Comptime(0))
            return self.call_function(getattr(runtime, "bytes_" + name), arguments, node)
        if isinstance(held.type, ty.BytesType) and name in ("fill", "copy_from"):
            self.refuse(node, "type", "Bytes are read-only", "take a Slice[u8]")
        size = self.element_bytes(stored)
        target = Node("slice_pointer", ty.ADDRESS, (held,))
        count = self.length(held)
        if name == "copy_from":
            other = self.hold(self.as_slice(self.expression(node.args[0]), node))
            alike = ty.element_of(other.type) == stored
            if not alike:
                self.refuse(
                    node,
                    "type",
                    f"expected {ty.name_of(held.type)}, found {ty.name_of(other.type)}",
                )
            same = self.compare_integers("eq", count, self.length(other), node)
            self.emit(Node("check", None, (same,), "lengths differ", self.span(node)))
            origin = Node("slice_pointer", ty.ADDRESS, (other,))
            total = Node("mul", self.usize, (count, self.integer(size)), "plain")
            return Node("memory", ty.NONE, (target, origin, total), "move", self.span(node))
        if name == "fill":
            return self.fill(held, stored, size, count, target, node)
        self.refuse(node, "name", f"{ty.name_of(source.type)} has no method {name}")

    def fill(
        self, held: Node, stored: Any, size: int, count: Node, target: Node, node: ast.Call
    ) -> Node:
        """`slice.fill(value)`: memset for bytes and zero, else a loop."""
        value = self.coerce(self.expression(node.args[0]), stored, node)
        zero = value.op == "const" and not value.data
        if size == 1 or zero:
            byte = value if size == 1 and not zero else Node("const", u8, data=0)
            if byte.type is bool:
                one, none = self.integer(1), self.integer(0)
                byte = Node("choose", u8, (byte, one, none), None, None, 0, 1)
            total = Node("mul", self.usize, (count, self.integer(size)), "plain")
            return Node("memory", ty.NONE, (target, byte, total), "fill", self.span(node))
        kept = self.hold(value)
        counter = self.temporary(self.usize)
        index = Node("local", self.usize, data=counter, low=0, high=ty.I64_MAX - 1)
        place = self.element_place(held, index, node, checked=False)
        body = [Node("store", None, (place, kept), (stored, 0), self.span(node))]
        one = Node("add", self.usize, (index, self.integer(1)), "plain")
        self.emit(Node("assign", None, (self.integer(0),), counter))
        self.emit(
            Node(
                "loop",
                None,
                (self.compare_integers("lt", index, count, node),),
                self.new_labels(),
                self.span(node),
                bodies=(body, [Node("assign", None, (one,), counter)]),
            )
        )
        return Node("null", ty.NONE)

    def atomic_method(self, base: Node, name: str, node: ast.Call) -> Node:
        """load, store, fetch_*, exchange, compare_exchange."""
        kind = base.type.element
        operands = [self.coerce(a, kind, node) for a in self.expressions(node.args)]
        results = {"store": ty.NONE, "compare_exchange": bool}
        counts = {"load": 0, "compare_exchange": 2}
        known = ("load", "store", "exchange", "compare_exchange")
        if name not in known and name not in ("fetch_add", "fetch_sub", "fetch_or", "fetch_and"):
            self.refuse(node, "name", f"{ty.name_of(base.type)} has no method {name}")
        if len(operands) != counts.get(name, 1):
            self.refuse(node, "call", f"{name} takes {counts.get(name, 1)} arguments")
        result = results.get(name, kind)
        low, high = self.type_bounds(result)
        return Node("atomic", result, (base, *operands), (name, kind), self.span(node), low, high)

    def assign_struct(self, base: Node, node: ast.Call) -> Node:
        """`target.assign(source)`: copies the bytes."""
        source = self.coerce(self.expression(node.args[0]), base.type, node)
        total = self.integer(base.type._size_)
        return Node("memory", ty.NONE, (base, source, total), "move", self.span(node))

    def view(self, cls: Any, node: ast.Call) -> Node:
        """`Header.view(data)`: the overlay, or None where data is short."""
        data = self.hold(self.as_slice(self.expression(node.args[0]), node))
        kind = ty.UnionType(cls, ty.NONE)
        enough = self.compare_integers("ge", self.length(data), self.integer(cls._size_), node)
        pointer = Node("slice_pointer", kind, (data,))
        return Node("choose", kind, (enough, pointer, Node("null", kind)), None, self.span(node))
