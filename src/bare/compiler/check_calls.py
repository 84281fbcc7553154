"""Calls: functions, methods, constructors, conversions, and the methods of built-in types."""

import ast
import inspect
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_methods import MethodChecker
from bare.compiler.check_values import Comptime, Value, stable
from bare.compiler.instances import Signature, SignatureError
from bare.compiler.intrinsics import INTRINSICS
from bare.compiler.load import FunctionType
from bare.compiler.tree import Function, Node
from bare.memory import Slice

LIBRARY_IN_BARE = ("bare.arena", "bare.text", "bare.runtime")
FOLDED_BUILTINS = (len, min, max, abs, int, bool, float, sum, isinstance, ord, getattr)


class CallChecker(MethodChecker):
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
        return (
            ty.is_struct(kind)
            or ty.is_registers(kind)
            or ty.is_record(kind)
            or (isinstance(found, (bytes, Slice)))
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
            values = [self.hold(v) if isinstance(v, Node) and not stable(v) else v for v in values]
        found: list[Any] = values[: len(node.args)]
        names = [str(k.arg) for k in node.keywords]
        return found + list(zip(names, values[len(node.args) :], strict=True))

    def call_function(
        self,
        source: Any,
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
        named: dict[str, Value] = dict(a for a in arguments if isinstance(a, tuple))
        name = source.__name__
        if len(positional) > len(signature.parameters):
            expected = len(signature.parameters)
            self.refuse(node, "call", f"{name} takes {expected} arguments, {len(positional)} given")
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
                once.append((argument[0], self.hold(inner) if isinstance(inner, Node) else inner))
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


def simple(node: ast.Call) -> bool:
    """The arguments are names and constants: computing them changes nothing."""
    values = [*node.args, *(k.value for k in node.keywords)]
    return all(isinstance(v, (ast.Name, ast.Constant)) for v in values)
