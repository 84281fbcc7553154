"""Attributes and subscripts: fields, elements, import-time tables; as values and as targets."""

import ast
import enum
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_integers import IntegerChecker
from bare.compiler.check_values import Comptime, Value
from bare.compiler.load import FunctionType
from bare.compiler.tree import Node
from bare.memory import Slice


class PlaceChecker(IntegerChecker):
    """Types what reads or writes a place."""

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
        if ty.is_bitfield(kind) or ty.is_enum(kind):
            return self.word_attribute(base, name, node)
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

    def word_attribute(self, base: Node, name: str, node: ast.AST) -> Value:
        """An attribute of an enum member or of a bit field, which are held as integers."""
        kind = base.type
        if ty.is_bitfield(kind) and name in kind._bits_:
            return self.bit_field(base, name, node)
        if name == ("raw" if ty.is_bitfield(kind) else "value"):
            word = ty.storage_int(kind)
            return Node("wrap", word, (base,), word, None, base.low, base.high)
        return self.class_value(base, kind, name, node)

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
                self.refuse(node, "type", f"the members of the union give {name} different types")
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

    def store_to(self, address: Node, stored: Any, align: int, value: Value, node: ast.AST) -> None:
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
        self.refuse_halves(base.type.element, node)
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
