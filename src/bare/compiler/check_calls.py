"""Calls: functions, methods, constructors, conversions, and the methods of built-in types."""

import ast
import inspect
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_expressions import foldable
from bare.compiler.check_values import Comptime, Value, stable
from bare.compiler.check_vectors import VectorChecker
from bare.compiler.instances import Signature, SignatureError
from bare.compiler.intrinsics import INTRINSICS
from bare.compiler.load import FunctionType
from bare.compiler.tree import Function, Node
from bare.ints import u8
from bare.memory import Slice

LIBRARY_IN_BARE = ("bare.arena", "bare.text", "bare.runtime")
FOLDED_BUILTINS = (len, min, max, abs, int, bool, float, sum, isinstance, ord, getattr)


class CallChecker(VectorChecker):
    """Types calls."""

    def _on_call(self, node: ast.Call) -> Value:
        if any(isinstance(a, ast.Starred) for a in node.args) or any(
            k.arg is None for k in node.keywords
        ):
            self.refuse(node, "subset", "a call does not unpack arguments")
        ring, self.ring = self.ring, 0
        try:
            return self.checked_call(node)
        finally:
            self.ring = ring

    def checked_call(self, node: ast.Call) -> Value:
        """Dispatch on what is called."""
        if isinstance(node.func, ast.Name) and self.lookup(node.func.id) is isinstance:
            value, _, _ = self.instance_condition(node)
            return value
        if isinstance(node.func, ast.Attribute):
            base = self.expression(node.func.value)
            if isinstance(base, Comptime) and self.is_object(base.value):
                base = self.constant(base.value, node)
            if isinstance(base, Node) and not stable(base) and not simple(node):
                base = self.hold(base)
            if isinstance(base, Comptime):
                return self.call_constant_method(base.value, node.func.attr, node)
            return self.call_on(base, node.func.attr, node)
        target = self.expression(node.func)
        if not isinstance(target, Comptime):
            self.refuse(node, "subset", "only functions known at import can be called")
        return self.call_object(target.value, node)

    def is_object(self, found: Any) -> bool:
        """An import-time object whose methods run at run time."""
        kind = type(found)
        return ty.is_struct(kind) or ty.is_registers(kind) or ty.is_record(kind) or (
            isinstance(found, (bytes, Slice))
        )

    def call_constant_method(self, base: Any, name: str, node: ast.Call) -> Value:
        """`module.f(...)`, `Class.static(...)`, `Vec[T].load(...)`, `Header.view(...)`."""
        element = self.vector_element(base)
        if element is not None:
            return self.vector_class_call(element, name, node)
        if ty.is_bitfield(base) and name == "from_raw":
            word = ty.storage_int(base)
            raw = self.coerce(self.expression(node.args[0]), word, node)
            return Node("wrap", base, (raw,), word, self.span(node), *ty.interval(word))
        if ty.is_struct(base) and name in ("view", "zeroed"):
            if name == "zeroed":
                return self.construct(base, node)
            return self.view(base, node)
        if isinstance(base, type) and name in vars(base):
            found = vars(base)[name]
            if isinstance(found, staticmethod):
                return self.call_function(found.__func__, self.arguments(node), node, owner=base)
            if isinstance(found, FunctionType) and node.args:
                receiver = self.materialize(self.expression(node.args[0]), node)
                rest = ast.copy_location(ast.Call(node.func, node.args[1:], node.keywords), node)
                return self.call_method(receiver, found, self.arguments(rest), node)
        value = self.constant_attribute(base, name, node)
        if isinstance(value, Comptime):
            return self.call_object(value.value, node)
        self.refuse(node, "subset", f"{name} cannot be called")

    def call_object(self, target: Any, node: ast.Call) -> Value:
        """A call of an import-time object."""
        module = getattr(target, "__module__", None) or ""
        name = getattr(target, "__name__", "")
        if isinstance(target, ty.IntType):
            return self.convert_int(target, node)
        if isinstance(target, ty.FloatType):
            return self.convert_float(target, node)
        if isinstance(target, type):
            return self.call_class(target, node)
        if target in FOLDED_BUILTINS or module == "builtins":
            return self.call_builtin(target, node)
        intrinsic = INTRINSICS.get(name)
        if intrinsic is not None and module.startswith("bare") and module not in LIBRARY_IN_BARE:
            value: Value = intrinsic(self, node)
            return value
        if isinstance(target, FunctionType):
            return self.call_function(target, self.arguments(node), node)
        self.refuse(node, "subset", f"{ty.name_of(target)} cannot be called at run time")

    # -- arguments -------------------------------------------------------------------------------

    def arguments(self, node: ast.Call) -> list[Any]:
        """Positional values, then (name, value) pairs for keywords."""
        values = self.expressions([*node.args, *(k.value for k in node.keywords)])
        if node.keywords:  # They are passed in the order of the parameters.
            values = [
                self.hold(v) if isinstance(v, Node) and not stable(v) else v for v in values
            ]
        found: list[Any] = values[: len(node.args)]
        names = [str(k.arg) for k in node.keywords]
        return found + list(zip(names, values[len(node.args) :], strict=True))

    def call_function(
        self,
        source: FunctionType,
        arguments: list[Any],
        node: ast.AST,
        owner: Any = None,
        static: bool = True,
    ) -> Value:
        """A call of a source function with checked arguments."""
        try:
            signature = self.instances.signature(source, owner, static)
        except SignatureError as error:
            self.refuse(node, "annotation", str(error), error.fix)
        values = self.match_arguments(source, signature, arguments, node)
        mapping = self.type_arguments(source, owner, signature, values, node)
        level = self.level
        function = self.instances.get(source, owner, mapping, level, static)
        self.function.calls.add(function)
        nodes = []
        remaining = iter(function.parameters)
        for parameter, value in zip(signature.parameters, values, strict=True):
            if parameter.comptime:
                continue
            mark = len(self.out)
            nodes.append(self.coerce(value, next(remaining).type, node))
            if len(self.out) > mark:
                nodes[:-1] = [self.materialize(n, node) for n in self.all_ordered(nodes[:-1], mark)]
        return self.call_node(function, nodes, node)

    def call_node(self, function: Function, nodes: list[Node], node: ast.AST | None) -> Node:
        """The call itself."""
        low, high = self.type_bounds(function.result)
        span = self.span(node) if node is not None else None
        return Node("call", function.result, tuple(nodes), function, span, low, high)

    def match_arguments(
        self, source: FunctionType, signature: Signature, arguments: list[Any], node: ast.AST
    ) -> list[Value]:
        """Arguments in the order of the parameters, defaults filled in."""
        positional = [a for a in arguments if not isinstance(a, tuple)]
        named = dict(a for a in arguments if isinstance(a, tuple))
        name = source.__name__
        if len(positional) > len(signature.parameters):
            expected = len(signature.parameters)
            self.refuse(
                node, "call", f"{name} takes {expected} arguments, {len(positional)} given"
            )
        values: list[Value] = []
        for index, parameter in enumerate(signature.parameters):
            if index < len(positional):
                values.append(positional[index])
            elif parameter.name in named:
                values.append(named.pop(parameter.name))
            elif parameter.default is not inspect.Parameter.empty:
                values.append(Comptime(parameter.default))
            else:
                self.refuse(node, "call", f"{name} needs an argument for {parameter.name}")
        if named:
            self.refuse(node, "call", f"{name} has no parameter {next(iter(named))}")
        return values

    def type_arguments(
        self,
        source: FunctionType,
        owner: Any,
        signature: Signature,
        values: list[Value],
        node: ast.AST,
    ) -> dict[Any, Any]:
        """Bindings of the type parameters of the function and of its class."""
        mapping: dict[Any, Any] = {}
        for base in getattr(owner, "__mro__", ()):
            if getattr(base, "_arguments_", None):
                names = base._origin_.__type_params__
                mapping |= dict(zip(names, base._arguments_, strict=True))
        own = getattr(source, "__type_params__", ())
        if not own:
            return mapping
        for parameter, value in zip(signature.parameters, values, strict=True):
            if parameter.comptime:
                if not isinstance(value, Comptime):
                    self.refuse(node, "constant", f"{parameter.name} takes a type")
                found = value.value
                actual = found if found not in (int, float) else None
                ty.unify(parameter.type, actual, mapping)
            elif ty.has_typevar(parameter.type):
                actual = (
                    self.constant_type(value.value) if isinstance(value, Comptime) else value.type
                )
                ty.unify(parameter.type, actual, mapping)
        for parameter in own:
            if mapping.get(parameter) is None:
                self.refuse(node, "generic", f"the type {parameter} cannot be told from this call")
        return mapping

    # -- methods ---------------------------------------------------------------------------------

    def call_on(self, base: Node, name: str, node: ast.Call) -> Value:
        """`base.name(...)` for a run-time value."""
        kind = base.type
        if ty.is_slice(kind) or isinstance(kind, ty.ArrayType):
            return self.slice_method(self.as_slice(base, node), name, node)
        if isinstance(kind, ty.AtomicType):
            return self.atomic_method(base, name, node)
        if ty.is_struct(kind) and name == "assign":
            return self.assign_struct(base, node)
        if isinstance(kind, ty.VecType):
            return self.vector_method(base, name, node)
        if self.is_register(base):
            return self.register_method(base, name, node)
        if isinstance(kind, ty.UnionType):
            if self.only_structs(base):
                return self.call_union(base, name, self.arguments(node), node)
            self.refuse(
                node,
                "type",
                f"{ty.name_of(kind)} may be something else",
                "test it first (`is None`, isinstance) and return early",
            )
        if not isinstance(kind, type):
            self.refuse(node, "type", f"{ty.name_of(kind)} has no method {name}")
        found = self.class_attribute(kind, name, node)
        if isinstance(found, staticmethod):
            return self.call_function(found.__func__, self.arguments(node), node, owner=kind)
        if not isinstance(found, FunctionType):
            self.refuse(node, "subset", f"{name} is not a method")
        return self.call_method(base, found, self.arguments(node), node)

    def call_method(
        self, base: Node, source: FunctionType, arguments: list[Any], node: ast.AST | None = None
    ) -> Value:
        """A method of a struct or dataclass."""
        where = node if node is not None else ast.Pass(lineno=self.function.span.line, col_offset=0)
        receiver: list[Any] = [base]
        return self.call_function(source, receiver + arguments, where, base.type, static=False)

    def call_union(self, base: Node, name: str, arguments: list[Any], node: ast.Call) -> Value:
        """A method of a closed union: a choice by tag, the arguments evaluated once."""
        held = self.hold(base)
        once: list[Any] = []
        for argument in arguments:
            if isinstance(argument, tuple):
                inner = argument[1]
                once.append(
                    (argument[0], self.hold(inner) if isinstance(inner, Node) else inner)
                )
            else:
                once.append(self.hold(argument) if isinstance(argument, Node) else argument)
        result: Node | None = None
        for member in reversed(self.possible_of(held)):
            receiver = self.member(held, member)
            source = self.class_attribute(member, name, node)
            outer, self.out = self.out, []
            called = self.call_method(receiver, source, once, node)
            assert isinstance(called, Node)
            prelude, self.out = self.out, outer
            if prelude:
                called = Node(
                    "sequence",
                    called.type,
                    (called,),
                    None,
                    None,
                    called.low,
                    called.high,
                    (prelude,),
                )
            if result is None:
                result = called
                continue
            if called.type != result.type:
                self.refuse(
                    node, "type", f"the members of the union give {name} different result types"
                )
            test = self.is_member(held, member)
            result = Node(
                "choose",
                called.type,
                (test, called, result),
                None,
                self.span(node),
                min(called.low, result.low),
                max(called.high, result.high),
            )
        assert result is not None
        return result

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
        return Node(
            "atomic", result, (base, *operands), (name, kind), self.span(node), low, high
        )

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

    # -- constructors and conversions ------------------------------------------------------------

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
        value = self.expression(node.args[0])
        if isinstance(value, Comptime):
            return Comptime(cls(value.value))
        if cls is int and (ty.is_int(value.type) or ty.is_int_enum(value.type)):
            return self.as_integer(value, node)
        if cls is int and value.type is bool:
            return Node("choose", ty.INT, (value, self.integer(1), self.integer(0)), None, None, 0, 1)
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
                self.emit(
                    Node("check", None, (self.truth(known, node),), reason, self.span(node))
                )
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
            self.emit(
                Node("store", None, (address, inner), (stored, alignment), self.span(node))
            )
        return pointer

    def named(self, node: ast.Call, names: list[str]) -> list[tuple[str, Value]]:
        """The arguments of a constructor by field name, computed in the order written."""
        found = self.arguments(node)
        rest = iter(names)
        return [a if isinstance(a, tuple) else (next(rest), a) for a in found]

    def default_fields(
        self, pointer: Node, cls: Any, given: set[str], node: ast.AST
    ) -> None:
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

    # -- builtins --------------------------------------------------------------------------------

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
            kind = next((n.type for n in (a, b) if ty.interval(n.type)[0] <= low
                         and high <= ty.interval(n.type)[1]), kind)
        return Node("minmax", kind, (a, b), name, self.span(node), low, high)

    new_labels: Any


def simple(node: ast.Call) -> bool:
    """The arguments are names and constants: computing them changes nothing."""
    values = [*node.args, *(k.value for k in node.keywords)]
    return all(isinstance(v, (ast.Name, ast.Constant)) for v in values)
