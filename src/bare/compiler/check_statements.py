"""Statements but for loops over something and `match`: assignment, branches, `while`, `with`."""

import ast
import typing
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_calls import CallChecker
from bare.compiler.check_values import Comptime, Refused, Value
from bare.compiler.instances import Instances, Pending, evaluate_annotation
from bare.compiler.load import assigned_names
from bare.compiler.tree import Local, LoopLabels, Node


class StatementChecker(CallChecker):
    """Checks statements into the typed tree."""

    def __init__(self, pending: Pending, instances: Instances) -> None:
        super().__init__(pending, instances)
        self.refused = False  # Some statement was: the paths are not known then.
        self.loops: list[tuple[LoopLabels, LoopLabels, int]] = []  # break, continue, cleanups.
        self.cleanups: list[tuple[Node, Any]] = []  # Open `with` blocks: receiver, exit method.

    def statements(self, body: list[ast.stmt]) -> None:
        """Check statements in order; what follows a return is skipped, as it never runs."""
        for statement in body:
            if self.terminated:
                return
            method = getattr(self, "_" + type(statement).__name__.lower(), None)
            try:
                if method is None:
                    word = type(statement).__name__.lower()
                    self.refuse(statement, "subset", f"`{word}` is not part of the language")
                method(statement)
            except Refused:
                self.refused = True
                self.forget(statement)

    def forget(self, statement: ast.stmt) -> None:
        """After an error, give names the statement would have bound an unknown type."""
        for node in ast.walk(statement):
            if (
                isinstance(node, ast.Name)
                and isinstance(node.ctx, ast.Store)
                and node.id not in self.scope
            ):
                self.unknown.add(node.id)

    def body_of(self, statements: list[ast.stmt]) -> list[Node]:
        """Check a nested block into a list of its own."""
        outer, self.out = self.out, []
        self.statements(statements)
        inner, self.out = self.out, outer
        return inner

    def _pass(self, node: ast.Pass) -> None:
        pass

    def _expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, (str, type(...))):
            return  # Docstring.
        value = self.expression(node.value)
        if isinstance(value, Node):
            self.emit(Node("evaluate", None, (value,), span=self.span(node)))
            if value.type is typing.NoReturn:
                self.terminated = True

    def _assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if len(node.targets) > 1:
                self.refuse(node, "subset", "one target an assignment", "write two assignments")
            self.assign_to(target, self.expression(node.value), node)

    def assign_to(self, target: ast.expr, value: Value, node: ast.AST) -> None:
        """Store a checked value into a name, field, element or tuple of them."""
        if isinstance(target, ast.Name):
            self.bind(target, target.id, value)
        elif isinstance(target, ast.Tuple):
            self.unpack(target, value, node)
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            mark = len(self.out)
            address, stored, align = self.place(target)
            self.store_to(address, stored, align, self.ordered(value, mark), target)
        else:
            self.refuse(target, "subset", "this cannot be assigned to")

    def unpack(self, target: ast.Tuple, value: Value, node: ast.AST) -> None:
        """`a, b = value`."""
        if isinstance(value, Comptime):
            parts: list[Value] = [Comptime(v) for v in value.value]
        else:
            if not isinstance(value.type, ty.TupleType):
                self.refuse(node, "type", f"{ty.name_of(value.type)} cannot be unpacked")
            held = self.hold(value)
            parts = [self.part(held, i, e) for i, e in enumerate(value.type.parts)]
        if len(parts) != len(target.elts):
            self.refuse(node, "type", f"{len(parts)} values for {len(target.elts)} names")
        for one, part in zip(target.elts, parts, strict=True):
            self.assign_to(one, part, node)

    def bind(self, target: ast.expr, name: str, value: Value, declared: Any = None) -> None:
        """Assign to a variable, declaring it at its first assignment."""
        local = self.scope.get(name)
        if isinstance(local, Comptime):
            self.refuse(target, "subset", f"{name} is a constant here and cannot be assigned")
        if local is None:
            if declared is None:
                declared = self.declared_type(value, target)
            local = self.declare(name, declared)
        elif declared is not None and declared != local.type:
            self.refuse(target, "type", f"{name} already has type {ty.name_of(local.type)}")
        node = self.coerce(value, local.type, target)
        self.emit(Node("assign", None, (node,), local, self.span(target)))
        self.narrowed.pop(local, None)
        if isinstance(local.type, ty.UnionType):
            now = self.possible_of(value)
            if set(now) < set(ty.possible(local.type)):
                self.narrowed[local] = now

    def declared_type(self, value: Value, node: ast.AST) -> Any:
        """The type a variable gets from its first assignment."""
        if isinstance(value, Node):
            if value.type is ty.NONE or value.type is typing.NoReturn:
                self.refuse(node, "type", "this has no value")
            return value.type
        constant = value.value
        if isinstance(constant, bool):
            return bool
        if isinstance(constant, int) and not ty.is_enum(type(constant)):
            return ty.INT
        if constant is None:
            self.refuse(
                node, "type", "the type of None is not known", "write `name: T | None = None`"
            )
        return self.materialize(value, node).type

    def _annassign(self, node: ast.AnnAssign) -> None:
        if not isinstance(node.target, ast.Name):
            self.refuse(node, "subset", "only a variable takes an annotation here")
        declared = self.annotation(node.annotation)
        name = node.target.id
        if node.value is None:
            self.scope[name] = self.declare(name, declared)
            return
        self.bind(node.target, name, self.expression(node.value), declared)

    def annotation(self, node: ast.expr) -> Any:
        """A type written in a function body."""
        try:
            code = compile(ast.Expression(node), self.file, "eval")
            names = {t.__name__: self.mapping.get(t, t) for t in self.type_parameters()}
            names |= {k: v.value for k, v in self.scope.items() if isinstance(v, Comptime)}
            found = evaluate_annotation(self.source, eval(code, self.globals, names))
            return ty.value_type(ty.substitute(ty.normalize(found), self.mapping))
        except Refused:
            raise
        except Exception as error:
            self.refuse(node, "type", f"this is not a type: {error}")

    def _augassign(self, node: ast.AugAssign) -> None:
        """`target op= value`: the address of the target is computed once."""
        if isinstance(node.target, ast.Name):
            self._assign(
                ast.copy_location(
                    ast.Assign(
                        [node.target],
                        ast.copy_location(ast.BinOp(_load(node.target), node.op, node.value), node),
                    ),
                    node,
                )
            )
            return
        assert isinstance(node.target, (ast.Attribute, ast.Subscript))
        address, stored, align = self.place(node.target)
        held = self.hold(Node(address.op, ty.ADDRESS, address.args, address.data, address.span))
        current: Value = self.load_from(held, stored, align, node.target)
        mark = len(self.out)
        right = self.expression(node.value)
        current = self.ordered(current, mark)
        self.store_to(held, stored, align, self.binary(node, node.op, current, right), node)

    def _return(self, node: ast.Return) -> None:
        result = self.function.result
        if node.value is None:
            if result is not ty.NONE and not (
                isinstance(result, ty.UnionType) and ty.has_none(result)
            ):
                self.refuse(node, "type", f"expected {ty.name_of(result)}, found nothing")
            value: Value = Comptime(None)
        else:
            value = self.expression(node.value)
        args: tuple[Node, ...] = ()
        if isinstance(value, Node) and value.type is typing.NoReturn:
            self.emit(Node("evaluate", None, (value,), span=self.span(node)))
        elif result is not ty.NONE:
            args = (self.coerce(value, result, node),)
        elif isinstance(value, Node):
            if value.type is not ty.NONE:
                self.refuse(node, "type", f"expected None, found {ty.name_of(value.type)}")
            self.emit(Node("evaluate", None, (value,), span=self.span(node)))
        if args and self.cleanups:
            args = (self.hold(args[0]),)
        self.run_cleanups(0)
        self.emit(Node("return", None, args, span=self.span(node)))
        self.terminated = True

    def _assert(self, node: ast.Assert) -> None:
        reason = "assertion failed"
        if isinstance(node.msg, ast.Constant) and isinstance(node.msg.value, str):
            reason = node.msg.value
        elif node.msg is not None:
            self.refuse(node.msg, "subset", "an assert message is a text literal")
        value, when_true, _ = self.condition(node.test)
        if isinstance(value, Comptime):
            if not value.value:
                self.emit(Node("trap", None, data=reason, span=self.span(node)))
                self.terminated = True
            return
        self.emit(Node("check", None, (value,), reason, self.span(node)))
        self.narrow(when_true)

    def _if(self, node: ast.If) -> None:
        value, when_true, when_false = self.condition(node.test)
        if isinstance(value, Comptime):
            self.statements(node.body if value.value else node.orelse)
            return
        before = dict(self.narrowed)
        self.narrow(when_true)
        then = self.body_of(node.body)
        then_end, after_then = self.terminated, self.narrowed
        self.terminated, self.narrowed = False, dict(before)
        self.narrow(when_false)
        otherwise = self.body_of(node.orelse)
        self.emit(Node("if", None, (value,), span=self.span(node), bodies=(then, otherwise)))
        if then_end and self.terminated:
            return
        if then_end:
            pass  # What holds after is what holds after the else branch.
        elif self.terminated:
            self.narrowed = after_then
        else:
            self.merge(after_then)
        self.terminated = False

    def merge(self, other: dict[Local, tuple[Any, ...]]) -> None:
        """Two paths meet: a variable can be what it could be on either."""
        joined = {}
        for local, now in self.narrowed.items():
            if local in other:
                union = tuple(p for p in ty.possible(local.type) if p in now or p in other[local])
                if len(union) < len(ty.possible(local.type)):
                    joined[local] = union
        self.narrowed = joined

    def enter_loop(self, node: ast.AST) -> None:
        """A loop body runs after itself: what it assigns is no longer narrowed at its start."""
        for name in assigned_names(node):
            local = self.scope.get(name)
            if isinstance(local, Local):
                self.narrowed.pop(local, None)

    def _while(self, node: ast.While) -> None:
        if node.orelse:
            self.refuse(node, "subset", "a loop has no else")
        self.enter_loop(node)
        labels = self.new_labels()
        outer, self.out = self.out, []
        value, when_true, when_false = self.condition(node.test)
        prelude, self.out = self.out, outer
        before = dict(self.narrowed)
        self.narrow(when_true)
        self.loops.append((labels, labels, len(self.cleanups)))
        body = self.body_of(node.body)
        self.loops.pop()
        endless = isinstance(value, Comptime) and bool(value.value)
        condition = self.truth(value, node.test)
        if prelude:  # The condition needed statements: test inside the loop instead.
            stop = Node("break", None, data=labels, span=self.span(node.test))
            inverse = Node("not", bool, (condition,), span=self.span(node.test))
            body = [*prelude, Node("if", None, (inverse,), None, bodies=([stop], [])), *body]
            condition = Node("const", bool, data=True)
        self.emit(Node("loop", None, (condition,), labels, self.span(node), bodies=(body, [])))
        self.narrowed = before
        if not breaks(node.body):
            self.narrow(when_false)
        self.terminated = endless and not breaks(node.body)

    def _break(self, node: ast.Break) -> None:
        self.run_cleanups(self.loops[-1][2])
        self.emit(Node("break", None, data=self.loops[-1][0], span=self.span(node)))
        self.terminated = True

    def _continue(self, node: ast.Continue) -> None:
        self.run_cleanups(self.loops[-1][2])
        # An unrolled iteration is a block: leaving it continues with the next.
        op = "continue" if self.loops[-1][0] is self.loops[-1][1] else "break"
        self.emit(Node(op, None, data=self.loops[-1][1], span=self.span(node)))
        self.terminated = True

    def called(self, receiver: Node, method: Any) -> Node:
        """A call of a method without arguments, as a statement."""
        value = self.call_method(receiver, method, [])
        assert isinstance(value, Node)
        return value

    def run_cleanups(self, depth: int) -> None:
        """Leave `with` blocks down to `depth`, innermost first."""
        for receiver, exit_method in reversed(self.cleanups[depth:]):
            self.emit(Node("evaluate", None, (self.called(receiver, exit_method),)))

    def _with(self, node: ast.With) -> None:
        if len(node.items) != 1 or node.items[0].optional_vars is not None:
            self.refuse(node, "subset", "`with` takes one manager and no `as`")
        manager = self.materialize(self.expression(node.items[0].context_expr), node)
        if not ty.is_struct(manager.type):
            self.refuse(node, "type", f"{ty.name_of(manager.type)} is no context manager")
        held = self.hold(manager, snapshot=True)
        enter = self.class_attribute(held.type, "__enter__", node)
        exit_method = self.class_attribute(held.type, "__exit__", node)
        self.emit(Node("evaluate", None, (self.called(held, enter),)))
        self.cleanups.append((held, exit_method))
        self.statements(node.body)
        if not self.terminated:
            self.run_cleanups(len(self.cleanups) - 1)
        self.cleanups.pop()


def _load(node: ast.Name) -> ast.Name:
    return ast.copy_location(ast.Name(node.id, ast.Load()), node)


def breaks(body: list[ast.stmt]) -> bool:
    """A `break` of this loop (not of an inner one) is among the statements."""
    for statement in body:
        if isinstance(statement, ast.Break):
            return True
        if isinstance(statement, (ast.While, ast.For)):
            continue
        for name in ("body", "orelse"):
            if breaks(getattr(statement, name, [])):
                return True
        for case in getattr(statement, "cases", []):
            if breaks(case.body):
                return True
    return False
