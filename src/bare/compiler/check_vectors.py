"""Vectors, masks and device registers.

A vector has as many lanes as the level of the function allows: 16, 32 or 64 bytes. Vector nodes
have op `vector`; `data` is (operation, immediates…). Lanes wrap; no lane operation traps.
"""

import ast
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_expressions import ExpressionChecker
from bare.compiler.check_values import Comptime, Value
from bare.compiler.tree import Node
from bare.ints import bf16, f32, i8, i16, i32, u8
from bare.simd import Vec

VECTOR_OPERATORS = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "shr",
}
REDUCTIONS = ("sum", "max_lane", "min_lane")
UNARY = ("abs", "sqrt", "floor")
# What functions take; all have the type of the first.
PARAMETERS = {
    "fma": (f32, f32, f32),
    "dot4": (i32, u8, i8),
    "dot4_small": (i32, u8, i8),
    "dot2_i16": (i16, u8, i8),
    "times_sign": (i8, i8),
    "dot2": (f32, bf16, bf16),
    "pairs": (f32, f32),
    "pack": (f32, f32),
}
# Methods from lanes of one type to lanes of another.
CONVERSIONS: dict[str, tuple[Any, Any]] = {
    "even": (bf16, f32),
    "odd": (bf16, f32),
    "round_to_i32": (f32, i32),
    "sum_pairs": (i16, i32),
}
HALF_METHODS = ("store", "bits", "even", "odd")  # All that lanes of bf16 have.


class VectorChecker(ExpressionChecker):
    """Types operations on Vec, Mask, Registers and BitField."""

    def vector(self, op: str, kind: Any, args: tuple[Node, ...], data: Any, node: ast.AST) -> Node:
        """A vector operation with result type `kind`."""
        self.function.operations.add(op)
        low, high = self.type_bounds(kind)
        return Node("vector", kind, args, (op, data), self.span(node), low, high)

    def vec_of(self, element: Any) -> Any:
        """The descriptor Vec[element]."""
        return Vec[element]

    # -- operators -------------------------------------------------------------------------------

    def vector_binary(self, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Node:
        """Lane-wise arithmetic of two vectors, or a shift by a scalar."""
        a = self.materialize(left, node)
        if isinstance(a.type, ty.MaskType):
            b = self.materialize(right, node)
            if b.type != a.type:
                self.no_common_type(node, a.type, b.type)
            if not isinstance(op, (ast.BitAnd, ast.BitOr)):
                self.refuse(node, "subset", "masks have & | and ~")
            return self.vector(VECTOR_OPERATORS[type(op)], a.type, (a, b), "mask", node)
        if not isinstance(a.type, ty.VecType):
            self.refuse(node, "type", "a vector and a scalar do not mix", "write Vec[T].splat(x)")
        element = a.type.element
        self.refuse_halves(element, node)
        if isinstance(op, (ast.LShift, ast.RShift)):
            if ty.is_float(element):
                self.refuse(node, "subset", "this operator is not defined for these vectors")
            count = self.as_integer(right, node)
            if not (count.low >= 0 and count.high < element.bits):
                if isinstance(right, Comptime):
                    self.refuse(node, "range", f"lanes of {element.bits} bits do not shift so far")
                if not self.unchecked:
                    limits = (0, element.bits - 1, "shift count out of range")
                    count = Node("range_check", count.type, (count,), limits, self.span(node))
            signed = ty.is_int(element) and element.signed
            return self.vector(VECTOR_OPERATORS[type(op)], a.type, (a, count), signed, node)
        b = self.materialize(right, node)
        if b.type != a.type:
            self.no_common_type(node, a.type, b.type)
        name = VECTOR_OPERATORS.get(type(op))
        floats = ty.is_float(element)
        if (
            name is None
            or (name == "div" and not floats)
            or (floats and name in ("and", "or", "xor"))
        ):
            self.refuse(node, "subset", "this operator is not defined for these vectors")
        return self.vector(name, a.type, (a, b), "float" if floats else "int", node)

    def refuse_halves(self, element: Any, node: ast.AST) -> None:
        """Lanes of bf16 are storage for pairs of factors."""
        if element is bf16:
            self.refuse(
                node, "subset", "bf16 lanes have no arithmetic", "take v.even() and v.odd()"
            )

    def vector_negate(self, node: ast.UnaryOp, value: Node) -> Node:
        """`-v`, `~mask`."""
        if isinstance(value.type, ty.MaskType) and isinstance(node.op, ast.Invert):
            return self.vector("invert", value.type, (value,), None, node)
        if not isinstance(node.op, ast.USub) or isinstance(value.type, ty.MaskType):
            self.refuse(node, "subset", "this operator is not defined for vectors")
        self.refuse_halves(value.type.element, node)
        return self.vector("neg", value.type, (value,), None, node)

    def vector_compare(self, node: ast.AST, predicate: str, left: Value, right: Value) -> Node:
        """A mask of the lanes where the comparison holds."""
        a, b = self.materialize(left, node), self.materialize(right, node)
        if a.type != b.type or not isinstance(a.type, ty.VecType):
            self.no_common_type(node, a.type, b.type)
        self.refuse_halves(a.type.element, node)
        kind = ty.MaskType(self.lanes(a.type.element))
        return self.vector("compare", kind, (a, b), predicate, node)

    # -- class methods ---------------------------------------------------------------------------

    def vector_class_call(self, element: Any, name: str, node: ast.Call) -> Value:
        """`Vec[T].load(...)`, `.splat`, `.zero`, `.broadcast4`, `.broadcast2`."""
        if self.level == ty.PLAIN:
            self.refuse(
                node,
                "vector-level",
                "vectors exist only in functions reached through @multiversion",
                "mark the function @multiversion",
            )
        kind = self.vec_of(element)
        arguments = self.expressions(node.args)
        if name == "zero":
            return self.vector("zero", kind, (), None, node)
        if name == "splat":
            value = self.coerce(arguments[0], ty.value_type(element), node)
            return self.vector("splat", kind, (value,), None, node)
        if name in ("load", "broadcast4", "broadcast2"):
            source = self.hold(self.as_slice(arguments[0], node))
            index = arguments[1] if len(arguments) > 1 else Comptime(0)
            stored = self.stored_element(source)
            if name == "broadcast4" and {self.element_bytes(stored), element.size} != {1}:
                self.refuse(node, "type", "broadcast4 repeats bytes: take a Slice of u8 or i8")
            if name == "broadcast2" and (stored is not bf16 or element is not bf16):
                self.refuse(node, "type", "broadcast2 repeats a pair of bf16: take a Slice[bf16]")
            count = {"load": self.lanes(element), "broadcast4": 4, "broadcast2": 2}[name]
            address = self.vector_place(source, index, count, node)
            if name == "load":
                self.check_conversion(stored, element, node)
            return self.vector(name, kind, (address,), stored, node)
        self.refuse(node, "name", f"Vec has no class method {name}")

    def vector_place(self, source: Node, index: Value, count: int, node: ast.AST) -> Node:
        """The address of `count` elements from `index`, bounds-checked once."""
        at = self.hold(self.as_integer(index, node))
        if not self.unchecked:
            length = self.length(source)
            room = length.low - count, length.high - count
            last = Node("sub", ty.INT, (length, self.integer(count)), "plain", None, *room)
            enough = self.compare_integers("le", at, last, node)
            start = self.compare_integers("ge", at, self.integer(0), node)
            both = Node("and_then", bool, (start, enough))
            self.emit(Node("check", None, (both,), "index out of range", self.span(node)))
        return self.element_place(source, at, node, checked=False)

    def check_conversion(self, stored: Any, element: Any, node: ast.AST) -> None:
        """A load or store either keeps the type or converts as the language page lists."""
        same = stored == element
        halves = ty.is_float(stored) and stored.bits == 16 and element is f32
        widening = ty.is_int(stored) and ty.is_int(element) and element is i32 and stored.bits < 32
        if not (same or halves or widening):
            self.refuse(
                node,
                "type",
                f"Vec[{ty.name_of(element)}] does not load from Slice[{ty.name_of(stored)}]",
            )

    # -- methods ---------------------------------------------------------------------------------

    def vector_method(self, base: Node, name: str, node: ast.Call) -> Value:
        """Methods of a vector value."""
        element = base.type.element
        arguments = self.expressions(node.args)
        if element is bf16 and name not in HALF_METHODS:
            self.refuse_halves(element, node)
        if name in CONVERSIONS:
            source, result = CONVERSIONS[name]
            if element is not source:
                self.refuse(node, "type", f"{name} is for {ty.name_of(source)} lanes")
            return self.vector(name, self.vec_of(result), (base,), None, node)
        if name == "store":
            return self.vector_store(base, arguments, node)
        if name in ("min", "max"):
            other = self.coerce(arguments[0], base.type, node)
            return self.vector(name, base.type, (base, other), None, node)
        if name in ("sqrt", "floor") and not ty.is_float(element):
            self.refuse(node, "type", f"{name} is for f32 lanes")
        if name in UNARY:
            return self.vector(name, base.type, (base,), None, node)
        if name in REDUCTIONS:
            return self.vector(name, element, (base,), None, node)
        if name in ("to", "bits"):
            target = arguments[0]
            if not isinstance(target, Comptime):
                self.refuse(node, "type", f"{name} takes an element type")
            if name == "to" and {target.value, element} - {f32, i32}:
                self.refuse(node, "type", "to() converts between i32 and f32 lanes")
            return self.vector(name, self.vec_of(target.value), (base,), None, node)
        self.refuse(node, "name", f"Vec has no method {name}")

    def vector_store(self, base: Node, arguments: list[Value], node: ast.Call) -> Node:
        """`v.store(slice, index)`: f32 rounds to 16-bit floats, i32 truncates to bytes."""
        source = self.hold(self.as_slice(arguments[0], node))
        if isinstance(source.type, ty.BytesType):
            self.refuse(node, "type", "Bytes are read-only", "take a Slice[u8]")
        index = arguments[1] if len(arguments) > 1 else Comptime(0)
        stored = self.stored_element(source)
        self.check_conversion(stored, base.type.element, node)
        held = self.hold(base)
        address = self.vector_place(source, index, self.lanes(base.type.element), node)
        return self.vector("store", ty.NONE, (held, address), stored, node)

    def vector_function(self, name: str, node: ast.Call) -> Value:
        """select, and what PARAMETERS lists."""
        values = [self.materialize(a, node) for a in self.expressions(node.args)]
        if name == "select":
            mask, a, b = (v.type for v in values)
            if (
                not isinstance(a, ty.VecType)
                or a != b
                or mask != ty.MaskType(self.lanes(a.element))
            ):
                self.refuse(node, "type", "select takes a mask and two vectors of its lanes")
            self.refuse_halves(a.element, node)
            return self.vector("select", values[1].type, tuple(values), None, node)
        wanted = [self.vec_of(element) for element in PARAMETERS[name]]
        if [v.type for v in values] != wanted:
            kinds = ", ".join(ty.name_of(w) for w in wanted)
            self.refuse(node, "type", f"{name} takes {kinds}")
        result = self.vec_of(bf16) if name in ("pairs", "pack") else wanted[0]
        return self.vector(name, result, tuple(values), None, node)

    # -- registers -------------------------------------------------------------------------------

    def register(self, base: Node, name: str, node: ast.AST) -> Node:
        """`regs.name`: a place that is read or written as one access."""
        fields = base.type._fields_
        if name not in fields:
            self.refuse(node, "name", f"{ty.name_of(base.type)} has no register {name}")
        found = fields[name]
        return Node("field_address", found, (base,), found.offset, self.span(node))

    def is_register(self, value: Node) -> bool:
        """The value is a register of a Registers block."""
        return hasattr(value.type, "access") and hasattr(value.type, "offset")

    def register_method(self, base: Node, name: str, node: ast.Call) -> Value:
        """`.read()` and `.write(value)`: one volatile access each."""
        found = base.type
        access = found.access
        kind = found.type
        if name == "read" and access != "write":
            low, high = self.type_bounds(kind)
            return Node("volatile_load", kind, (base,), kind, self.span(node), low, high)
        if name == "write" and access != "read":
            value = self.coerce(self.expression(node.args[0]), kind, node)
            return Node("volatile_store", ty.NONE, (base, value), kind, self.span(node))
        self.refuse(node, "type", f"this register has no {name}")

    def bit_field(self, base: Node, name: str, node: ast.AST) -> Node:
        """`value.name` of a BitField."""
        low_bit, width, kind = base.type._bits_[name][:3]
        word = ty.storage_int(base.type)
        number = Node("wrap", word, (base,), word, None, *ty.interval(word))
        shifted = self.integer_binary(node, "shr", number, Comptime(low_bit))
        masked = self.integer_binary(node, "and", shifted, Comptime((1 << width) - 1))
        if kind is bool:
            return self.truth(masked, node)
        if ty.is_enum(kind):
            return Node("wrap", kind, (masked,), ty.enum_storage(kind), None, *ty.interval(kind))
        return self.fit(masked, kind, node)

    def construct_bits(self, cls: Any, node: ast.Call) -> Node:
        """`Ctrl(reset=True)`: the other bits are zero."""
        word = ty.storage_int(cls)
        total: Node = self.integer(0)
        for keyword in node.keywords:
            if keyword.arg not in cls._bits_:
                self.refuse(node, "call", f"{cls.__name__} has no bits {keyword.arg}")
            low_bit, width, kind = cls._bits_[keyword.arg][:3]
            value = self.coerce(self.expression(keyword.value), kind, node)
            if kind is bool:
                value = Node(
                    "choose", word, (value, self.integer(1), self.integer(0)), None, None, 0, 1
                )
            number = value if kind is bool else self.as_bits(value, kind)
            limit = (1 << width) - 1
            if number.high > limit:
                reason = f"value does not fit in {width} bits"
                number = Node(
                    "range_check", word, (number,), (0, limit, reason), self.span(node), 0, limit
                )
            shifted = self.integer_binary(node, "shl", number, Comptime(low_bit))
            total = self.integer_binary(node, "or", total, shifted)
        return Node("wrap", cls, (total,), word, self.span(node), *ty.interval(word))

    def as_bits(self, value: Node, kind: Any) -> Node:
        """An enum or integer as the number it is stored as."""
        if ty.is_enum(kind):
            number = ty.enum_storage(kind)
            return Node("wrap", number, (value,), number, None, *ty.interval(kind))
        return value
