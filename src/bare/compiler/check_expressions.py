"""Expressions: names, attributes, subscripts, operators, conditions."""

import ast
import enum
import operator
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_integers import OPERATORS, IntegerChecker
from bare.compiler.check_values import Comptime, Narrowing, Refused, Value
from bare.compiler.load import FunctionType
from bare.compiler.tree import Local, Node
from bare.memory import Slice

CONSTANT_BITS = 4096  # Of an import-time integer on the way to one that fits.
FLOAT_OPERATORS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
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


def foldable(value: Value) -> bool:
    """An import-time value that Python itself may compute with."""
    return isinstance(value, Comptime) and (
        value.value is None
        or isinstance(value.value, (bool, int, float, bytes, tuple, enum.Enum, type, frozenset))
    )


class ExpressionChecker(IntegerChecker):
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
                node, "unassigned", f"{name} is not assigned here", "assign it on every path to here"
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

    # -- attributes ------------------------------------------------------------------------------

    def _on_attribute(self, node: ast.Attribute) -> Value:
        return self.attribute(self.expression(node.value), node.attr, node)

    def attribute(self, base: Value, name: str, node: ast.AST) -> Value:
        """`base.name`."""
        if isinstance(base, Comptime):
            return self.constant_attribute(base.value, name, node)
        kind = base.type
        if ty.is_struct(kind):
            if name in kind._fields_:
                address, stored, align = self.field(base, name)
                return self.load_from(address, stored, align, node)
            return self.class_value(base, kind, name, node)
        if ty.is_record(kind):
            for index, (field_name, field_type) in enumerate(ty.record_fields(kind)):
                if field_name == name:
                    return self.part(base, index, field_type)
            return self.class_value(base, kind, name, node)
        if ty.is_registers(kind):
            return self.register(base, name, node)
        if ty.is_bitfield(kind):
            if name in kind._bits_:
                return self.bit_field(base, name, node)
            if name == "raw":
                word = ty.storage_int(kind)
                return Node("wrap", word, (base,), word, None, *ty.interval(word))
            return self.class_value(base, kind, name, node)
        if ty.is_enum(kind):
            if name == "value":
                number = ty.enum_storage(kind)
                return Node("wrap", number, (base,), number, None, base.low, base.high)
            return self.class_value(base, kind, name, node)
        if isinstance(kind, ty.UnionType):
            if self.only_structs(base):
                return self.union_attribute(base, name, node)
            self.refuse(
                node,
                "type",
                f"{ty.name_of(kind)} has no attribute {name} in all its members",
                "test it first (`is None`, isinstance) and return early",
            )
        self.refuse(node, "type", f"{ty.name_of(kind)} has no attribute {name}")

    def only_structs(self, value: Node) -> bool:
        """What is left of a union is one struct or another: it acts as the closed union."""
        return all(ty.is_struct(member) for member in self.possible_of(value))

    def union_attribute(self, base: Node, name: str, node: ast.AST) -> Node:
        """An attribute that every member of a closed union has, with one type."""
        held = self.hold(base)
        result: Node | None = None
        for member in reversed(self.possible_of(held)):
            outer, self.out = self.out, []
            value = self.materialize(self.attribute(self.member(held, member), name, node), node)
            prelude, self.out = self.out, outer
            if prelude:
                value = Node(
                    "sequence", value.type, (value,), None, None, value.low, value.high, (prelude,)
                )
            if result is None:
                result = value
                continue
            if value.type != result.type:
                self.refuse(
                    node, "type", f"the members of the union give {name} different types"
                )
            low, high = min(value.low, result.low), max(value.high, result.high)
            test = self.is_member(held, member)
            result = Node("choose", value.type, (test, value, result), None, None, low, high)
        assert result is not None
        return result

    def attribute_place(self, base: Any, name: str, node: ast.AST) -> Node:
        """The address of a field of an import-time struct."""
        return self.field(self.constant(base, node), name)[0]

    def constant_attribute(self, base: Any, name: str, node: ast.AST) -> Value:
        """An attribute of an import-time object; static structs are read at run time."""
        if ty.is_struct(type(base)) or isinstance(base, Slice):
            return self.attribute(self.constant(base, node), name, node)
        if name == "lanes" and self.vector_element(base) is not None:
            return Comptime(self.lanes(self.vector_element(base)))
        if isinstance(base, enum.Enum):
            descriptor = getattr(type(base), name, None)
            if isinstance(descriptor, (property, FunctionType)):
                return self.attribute(self.constant(base, node), name, node)
        try:
            return Comptime(getattr(base, name))
        except AttributeError:
            self.refuse(node, "name", f"{ty.name_of(base)} has no attribute {name}")

    def vector_element(self, found: Any) -> Any:
        """The element type of Vec[T], else None."""
        return found.element if isinstance(found, ty.VecType) else None

    def lanes(self, element: Any) -> int:
        """Lanes of a vector of `element` at this level."""
        return int(ty.VECTOR_BYTES[self.level] // element.size)

    def class_attribute(self, cls: Any, name: str, node: ast.AST) -> Any:
        """A function, property or constant of a class."""
        for base in getattr(cls, "__mro__", (cls,)):
            if name in vars(base):
                return vars(base)[name]
        self.refuse(node, "name", f"{ty.name_of(cls)} has no attribute {name}")

    def class_value(self, base: Node, cls: Any, name: str, node: ast.AST) -> Value:
        """A property read, or a constant of the class, through an instance."""
        found = self.class_attribute(cls, name, node)
        if isinstance(found, property):
            assert isinstance(found.fget, FunctionType)
            return self.call_method(base, found.fget, [], node)
        if isinstance(found, FunctionType):
            self.refuse(node, "subset", f"{name} is a method", "call it")
        return Comptime(found)

    def field(self, base: Node, name: str) -> tuple[Node, Any, int]:
        """The address, storage type and alignment of a struct field."""
        found = base.type._fields_[name]
        stored = found.type
        address = Node("field_address", stored, (base,), found.offset)
        return address, stored, 1 if ty.is_wire(base.type) else 0

    def load_from(self, address: Node, stored: Any, align: int, node: ast.AST) -> Node:
        """Read a place; inline structs, arrays and atomics are their own address."""
        if ty.is_struct(stored) or isinstance(stored, (ty.ArrayType, ty.AtomicType)):
            return Node(address.op, stored, address.args, address.data, self.span(node))
        kind = ty.value_type(stored)
        low, high = self.type_bounds(kind)
        return Node("load", kind, (address,), (stored, align), self.span(node), low, high)

    def store_to(
        self, address: Node, stored: Any, align: int, value: Value, node: ast.AST
    ) -> None:
        """Write a place."""
        if ty.is_struct(stored):
            self.refuse(node, "subset", "a struct is not copied by `=`", "write target.assign(x)")
        if isinstance(stored, (ty.ArrayType, ty.AtomicType)):
            self.refuse(node, "subset", "this is storage and cannot be assigned", "use its methods")
        inner = self.coerce(value, stored, node)
        self.emit(Node("store", None, (address, inner), (stored, align), self.span(node)))

    def place(self, target: ast.expr) -> tuple[Node, Any, int]:
        """The address of `x.field` or `x[i]` as the target of an assignment."""
        assert isinstance(target, (ast.Attribute, ast.Subscript))
        base = self.expression(target.value)
        if isinstance(base, Comptime):
            base = self.constant(base.value, target)
        if isinstance(target, ast.Attribute):
            if not ty.is_struct(base.type) or target.attr not in base.type._fields_:
                self.refuse(
                    target, "type", f"{ty.name_of(base.type)} has no field {target.attr} to assign"
                )
            return self.field(base, target.attr)
        if isinstance(base.type, ty.BytesType):
            self.refuse(target, "type", "Bytes are read-only", "take a Slice[u8]")
        source = self.as_slice(base, target)
        if isinstance(target.slice, ast.Slice):
            self.refuse(target, "subset", "a slice is not assigned", "use copy_from or fill")
        mark = len(self.out)
        index = self.as_integer(self.expression(target.slice), target)
        source = self.materialize(self.ordered(source, mark), target)
        return self.element_place(source, index, target), self.stored_element(source), 0

    # -- subscripts ------------------------------------------------------------------------------

    def stored_element(self, source: Node) -> Any:
        """The storage type of a slice's elements."""
        return ty.element_of(source.type)

    def element_bytes(self, stored: Any) -> int:
        """Distance between elements."""
        if isinstance(stored, ty.VecType):
            return ty.VECTOR_BYTES[self.level]
        return self.size_align(stored)[0]

    def size_align(self, stored: Any) -> tuple[int, int]:
        """Size and alignment of storage, a struct's included."""
        if ty.is_struct(stored):
            return stored._size_, stored._align_
        found = ty.layout(stored)
        return found.size, found.align

    def as_slice(self, value: Value, node: ast.AST) -> Node:
        """A slice of whatever can be indexed: Slice, Bytes, Array."""
        base = self.materialize(value, node)
        if isinstance(base.type, ty.ArrayType):
            length = self.integer(base.type.count)
            return Node("make_slice", ty.SliceType(base.type.element), (base, length))
        if not ty.is_slice(base.type):
            self.refuse(node, "type", f"{ty.name_of(base.type)} cannot be indexed")
        return base

    def length(self, source: Node) -> Node:
        """len(source)."""
        if source.op == "make_slice" and source.args[1].op == "const":
            return source.args[1]
        if source.op == "bytes":
            return self.integer(len(source.data))
        return Node("slice_length", self.usize, (source,), low=0, high=ty.I64_MAX)

    def element_place(self, source: Node, index: Node, node: ast.AST, checked: bool = True) -> Node:
        """The address of an element."""
        stored = self.stored_element(source)
        data = (self.element_bytes(stored), checked and not self.unchecked)
        return Node("element_address", stored, (source, index), data, self.span(node))

    def element(self, source: Node, index: Node, node: ast.AST, checked: bool = True) -> Node:
        """The value (or, for structs, the address) of an element."""
        place = self.element_place(source, index, node, checked)
        return self.load_from(place, self.stored_element(source), 0, node)

    def _on_subscript(self, node: ast.Subscript) -> Value:
        base = self.expression(node.value)
        if isinstance(base, Comptime) and not ty.is_struct(type(base.value)):
            if isinstance(base.value, Slice):
                base = self.constant(base.value, node)
            else:
                return self.constant_subscript(base.value, node)
        assert isinstance(base, Node)
        if isinstance(base.type, (ty.TupleType, ty.VecType)):
            return self.fixed_subscript(base, node)
        source = self.as_slice(base, node)
        if isinstance(node.slice, ast.Slice):
            return self.subslice(source, node.slice, node)
        mark = len(self.out)
        index_value = self.expression(node.slice)
        source = self.materialize(self.ordered(source, mark), node)
        if isinstance(index_value, Comptime) and index_value.value < 0:
            self.refuse(node, "range", "an index is not negative", "write x[len(x) - 1]")
        return self.element(source, self.as_integer(index_value, node), node)

    def fixed_subscript(self, base: Node, node: ast.Subscript) -> Node:
        """An element of a tuple or a lane of a vector; the index is a constant."""
        index = self.expression(node.slice)
        if not isinstance(index, Comptime):
            self.refuse(node, "constant", "this index must be an import-time constant")
        if isinstance(base.type, ty.TupleType):
            count = len(base.type.parts)
        else:
            count = self.lanes(base.type.element)
        if not 0 <= index.value < count:
            self.refuse(node, "range", f"{index.value} is outside the {count} elements")
        if isinstance(base.type, ty.TupleType):
            return self.part(base, index.value, base.type.parts[index.value])
        return self.vector("lane", base.type.element, (base,), index.value, node)

    def subslice(self, source: Node, bounds: ast.Slice, node: ast.AST) -> Node:
        """`source[a:b]`: never copies; traps unless 0 <= a <= b <= len."""
        if bounds.step is not None:
            self.refuse(node, "subset", "a slice has no step")
        if bounds.lower is None and bounds.upper is None:
            return source
        held = self.hold(source)
        start, stop = self.integer(0), self.length(held)
        if bounds.lower is not None:
            start = self.hold(self.as_integer(self.expression(bounds.lower), node))
        if bounds.upper is not None:
            stop = self.hold(self.as_integer(self.expression(bounds.upper), node))
        size = self.element_bytes(self.stored_element(source))
        data = (size, not self.unchecked)
        return Node("subslice", held.type, (held, start, stop), data, self.span(node))

    def constant_subscript(self, base: Any, node: ast.Subscript) -> Value:
        """Indexing an import-time tuple, dict, bytes or generic class."""
        if isinstance(node.slice, ast.Slice):
            return self.subslice(self.constant(base, node), node.slice, node)
        index = self.expression(node.slice)
        if isinstance(index, Comptime):
            try:
                return Comptime(base[index.value])
            except (TypeError, KeyError, IndexError) as error:
                self.refuse(node, "constant", f"{type(error).__name__}: {error}")
        if isinstance(base, bytes):
            return self.element(self.constant(base, node), self.as_integer(index, node), node)
        if isinstance(base, dict):
            return self.lookup_constant(base, index, node)
        if not isinstance(base, tuple):
            self.refuse(node, "subset", f"a {type(base).__name__} is not indexed at run time")
        kind = self.table_type(base, node)
        low, high = self.type_bounds(kind)
        number = self.as_integer(index, node)
        if ty.is_int(kind):
            low, high = min(base), max(base)
        return Node("table", kind, (number,), (base, kind), self.span(node), low, high)

    def table_type(self, values: tuple[Any, ...], node: ast.AST) -> Any:
        """The smallest type that holds every constant of a table."""
        kinds = {self.constant_type(v) for v in values}
        if not values:
            self.refuse(node, "type", "an empty table has no elements")
        if kinds == {ty.INT}:
            return smallest(min(values), max(values))
        kind = next(iter(kinds))
        if isinstance(kind, ty.TupleType):
            columns = zip(*values, strict=True)
            return ty.TupleType(*(self.table_type(tuple(c), node) for c in columns))
        if len(kinds) > 1:
            self.refuse(node, "type", "the elements of this table have different types")
        return kind

    def lookup_constant(self, base: dict[Any, Any], index: Node, node: ast.AST) -> Node:
        """`TABLE[key]` for a dict of integer or enum keys."""
        kind = self.table_type(tuple(base.values()), node)
        low, high = self.type_bounds(kind)
        keys = tuple(int(k.value if isinstance(k, enum.Enum) else k) for k in base)
        if ty.is_int(kind):
            low, high = min(base.values()), max(base.values())
        data = (keys, tuple(base.values()), kind)
        return Node("lookup", kind, (index,), data, self.span(node), low, high)

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

    def binary(self, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Value:
        """`left op right`."""
        if foldable(left) and foldable(right):
            assert isinstance(left, Comptime)
            assert isinstance(right, Comptime)
            power = isinstance(op, (ast.LShift, ast.Pow)) and isinstance(right.value, int)
            if power and right.value > CONSTANT_BITS:
                self.refuse(node, "range", "this constant is too large")
            try:
                found = FOLD[type(op)](left.value, right.value)
                if isinstance(found, int) and found.bit_length() > CONSTANT_BITS:
                    self.refuse(node, "range", "this constant is too large")
                return Comptime(found)
            except (TypeError, ArithmeticError, ValueError, MemoryError) as error:
                self.refuse(node, "constant", str(error))
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
            self.refuse(node, "subset", f"this operator is not part of the language")
        result = self.integer_binary(node, OPERATORS[type(op)], left, right)
        if len(flags) == len(kinds) == 2 and flags[0] is flags[1]:
            result.type = flags[0]
        elif flags and isinstance(op, (ast.BitAnd, ast.BitOr, ast.BitXor)) and len(kinds) == 1:
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
        self.out = then_out = []
        then = self.expression(node.body)
        self.narrowed = dict(before)
        self.narrow(when_false)
        self.out = else_out = []
        other = self.expression(node.orelse)
        self.narrowed, self.out, self.terminated = before, outer, ended
        kind = self.join_types(node, then, other)
        sides = []
        for value, statements in ((then, then_out), (other, else_out)):
            self.out = statements
            side = self.coerce(value, kind, node)
            if statements:
                side = Node("sequence", kind, (side,), None, None, side.low, side.high, (statements,))
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

    # -- conditions ------------------------------------------------------------------------------

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
        hits = tuple(
            m for m in ty.possible(value.type) if any(self.is_a(m, w) for w in wanted)
        )
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
            kind = (
                self.constant_type(right.value) if isinstance(right, Comptime) else right.type
            )
            matches = [
                m
                for m in ty.members(value.type)
                if m == kind or (kind is ty.INT and ty.is_int(m))
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
        predicate = COMPARISONS[type(op)]
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

    # Provided by the classes below this one in the chain.
    call_method: Any
    call_function: Any
    register: Any
    bit_field: Any
    vector: Any
    vector_binary: Any
    vector_negate: Any
    vector_compare: Any


def _both(a: Narrowing, b: Narrowing) -> Narrowing:
    """Facts that hold together."""
    joined = dict(a)
    for local, possible in b.items():
        joined[local] = tuple(p for p in joined.get(local, possible) if p in possible)
    return joined


def smallest(low: int, high: int) -> Any:
    """The smallest integer type for an interval."""
    from bare import ints

    for kind in (ints.u8, ints.u16, ints.u32) if low >= 0 else (ints.i8, ints.i16, ints.i32):
        low_end, high_end = ty.interval(kind)
        if low_end <= low and high <= high_end:
            return kind
    if low >= 0:
        return ints.u64 if high > ty.I64_MAX else ints.usize
    return ints.i64
