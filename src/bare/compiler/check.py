"""Checks one function instance: types every expression, narrows unions, makes implicit steps explicit.

The result is the typed tree (tree.py). Statements are here; expressions in check_expressions,
integer rules in check_integers, calls in check_calls, library names in intrinsics.

An error is reported and the rest of the function is still checked, statement by statement.
"""

import ast
import enum
import typing
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_calls import CallChecker
from bare.compiler.check_values import Comptime, Refused, Value
from bare.compiler.flow import Flow
from bare.compiler.instances import Instances, Pending, evaluate_annotation
from bare.compiler.load import definition
from bare.compiler.tree import Local, LoopLabels, Node


class Checker(CallChecker):
    """Checks the body of one instance."""

    def __init__(self, pending: Pending, instances: Instances) -> None:
        super().__init__(pending, instances)
        self.refused = False  # Some statement was: the paths are not known then.
        self.loops: list[tuple[LoopLabels, LoopLabels, int]] = []  # break, continue, cleanups.
        self.cleanups: list[tuple[Node, Any]] = []  # Open `with` blocks: receiver, exit method.

    def run(self) -> None:
        """Check the whole body."""
        tree = definition(self.source)
        errors = len(self.instances.diagnostics.found)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.stores[node.id] = self.stores.get(node.id, 0) + 1
        for local in self.function.parameters:
            self.scope[local.name] = local
            self.function.locals.append(local)
        for p in self.pending.signature.parameters:
            if p.comptime:
                self.scope[p.name] = Comptime(p.type)
        self.statements(tree.body)
        self.function.body = self.out
        if not self.terminated:
            if self.function.result is not ty.NONE and not self.refused:
                self.report(tree, "missing-return", "not every path returns a value", "add a return")
            self.out.append(Node("return", None, span=self.span(tree)))
        if len(self.instances.diagnostics.found) == errors:
            Flow(self.function, self.instances.diagnostics).run()

    # -- statements ------------------------------------------------------------------------------

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
            self.refuse(node, "type", "the type of None is not known", "write `name: T | None = None`")
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
        held = self.hold(
            Node(address.op, ty.ADDRESS, address.args, address.data, address.span)
        )
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
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                local = self.scope.get(inner.id)
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
        self.emit(
            Node("loop", None, (condition,), labels, self.span(node), bodies=(body, []))
        )
        self.narrowed = before
        if not _breaks(node.body):
            self.narrow(when_false)
        self.terminated = endless and not _breaks(node.body)

    def new_labels(self) -> LoopLabels:
        """A fresh loop identity."""
        self.label_count += 1
        return LoopLabels(self.label_count)

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

    def run_cleanups(self, depth: int) -> None:
        """Leave `with` blocks down to `depth`, innermost first."""
        for receiver, exit_method in reversed(self.cleanups[depth:]):
            self.emit(Node("evaluate", None, (self.call_method(receiver, exit_method, []),)))

    def _with(self, node: ast.With) -> None:
        if len(node.items) != 1 or node.items[0].optional_vars is not None:
            self.refuse(node, "subset", "`with` takes one manager and no `as`")
        manager = self.materialize(self.expression(node.items[0].context_expr), node)
        if not ty.is_struct(manager.type):
            self.refuse(node, "type", f"{ty.name_of(manager.type)} is no context manager")
        held = self.hold(manager, snapshot=True)
        enter = self.class_attribute(held.type, "__enter__", node)
        exit_method = self.class_attribute(held.type, "__exit__", node)
        self.emit(Node("evaluate", None, (self.call_method(held, enter, []),)))
        self.cleanups.append((held, exit_method))
        self.statements(node.body)
        if not self.terminated:
            self.run_cleanups(len(self.cleanups) - 1)
        self.cleanups.pop()

    # -- for -------------------------------------------------------------------------------------

    def _for(self, node: ast.For) -> None:
        if node.orelse:
            self.refuse(node, "subset", "a loop has no else")
        iterable = node.iter
        if isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Name):
            name = iterable.func.id
            called = self.lookup(name)
            if called is range:
                return self.for_range(node, iterable)
            if called is enumerate:
                if len(iterable.args) != 1 or iterable.keywords:
                    self.refuse(iterable, "subset", "enumerate counts from 0", "add to the index")
                return self.for_elements(node, iterable.args[0], indexed=True)
            if getattr(called, "__module__", "").startswith("bare") and name == "unroll":
                count = self.expression(iterable.args[0])
                if not isinstance(count, Comptime):
                    self.refuse(iterable, "constant", "unroll takes an import-time constant")
                return self.for_constants(node, range(count.value))
        value = self.expression(iterable)
        if isinstance(value, Comptime) and isinstance(value.value, (tuple, list, range)):
            return self.for_constants(node, value.value)
        return self.for_elements(node, iterable, indexed=False, value=value)

    def for_constants(self, node: ast.For, values: typing.Iterable[Any]) -> None:
        """The body once for each import-time value, which is a constant inside."""
        self.enter_loop(node)
        after = self.new_labels()
        outer, self.out = self.out, []
        before = dict(self.narrowed)
        for value in values:
            each = self.new_labels()
            saved, self.out = self.out, []
            self.bind_constant(node.target, value)
            self.loops.append((after, each, len(self.cleanups)))
            self.statements(node.body)
            self.loops.pop()
            body, self.out = self.out, saved
            self.emit(Node("block", None, data=each, bodies=(body,), span=self.span(node)))
            self.terminated = False
            self.narrowed = dict(before)
        body, self.out = self.out, outer
        self.emit(Node("block", None, data=after, bodies=(body,), span=self.span(node)))
        if _breaks(node.body):  # Which constant it was is known at run time only.
            for name in ast.walk(node.target):
                if isinstance(name, ast.Name):
                    self.scope.pop(name.id, None)

    def bind_constant(self, target: ast.expr, value: Any) -> None:
        """Give a loop name (or names) an import-time value."""
        if isinstance(target, ast.Name):
            self.scope[target.id] = Comptime(value)
        elif isinstance(target, ast.Tuple):
            for one, part in zip(target.elts, value, strict=True):
                self.bind_constant(one, part)
        else:
            self.refuse(target, "subset", "a loop variable is a name")

    def for_range(self, node: ast.For, call: ast.Call) -> None:
        """`for i in range(...)`; the step is an import-time constant."""
        start, stop, step = self.range_bounds(call)
        first, last, by = (self.as_integer(v, call) for v in (start, stop, step))
        low, high = first.low, last.high - 1
        if by.high < 0:
            low, high = last.low + 1, first.high
        high = max(low, high)
        kind = self.range_type(start, stop, first, last, call)
        if not (ty.interval(kind)[0] <= low and high <= ty.interval(kind)[1]):
            kind = ty.INT if high <= ty.I64_MAX else self.u64
        # The counter passes the last value, so it is as wide as a register.
        wide = self.u64 if max(first.high, last.high) > ty.I64_MAX else ty.INT
        counter = self.temporary(wide)
        limit = self.hold(last, snapshot=True)
        stride = self.hold(by, snapshot=True)
        if by.low <= 0 <= by.high:
            test = self.compare_integers("gt", stride, self.integer(0), node)
            reason = "the step of a range is not positive"
            self.emit(Node("check", None, (test,), reason, self.span(call)))
        self.emit(Node("assign", None, (self.fit(first, wide, call),), counter))
        now = Node("local", kind, data=counter, low=low, high=high)
        predicate = "gt" if by.high < 0 else "lt"
        condition = self.compare_integers(predicate, self.read(counter), limit, node)
        exact = by.low == by.high and abs(by.low) == 1  # One past the last value always fits.
        mode = "plain" if exact else "unsigned" if wide is self.u64 else "signed"
        if wide is self.u64 and by.low < 0:
            mode = "wide"  # Below zero is a trap.
        at = Node("local", wide, data=counter, low=low, high=high)
        advance = Node("add", wide, (at, stride), mode, self.span(call), 0, ty.U64_MAX)
        step_out = [Node("assign", None, (advance,), counter)]
        self.run_loop(node, condition, now, step_out, (low, high))

    def range_bounds(self, call: ast.Call) -> tuple[Value, Value, Value]:
        """Start, stop and step, computed in this order."""
        bounds = [
            self.hold(b) if isinstance(b, Node) else b for b in self.expressions(call.args)
        ]
        start: Value = Comptime(0)
        step: Value = Comptime(1)
        stop = bounds[0]
        if len(bounds) > 1:
            start, stop = bounds[0], bounds[1]
        if len(bounds) > 2:
            step = bounds[2]
        if isinstance(step, Comptime) and (not isinstance(step.value, int) or step.value == 0):
            self.refuse(call, "type", "the step of a range is not zero")
        return start, stop, step

    def range_type(
        self, start: Value, stop: Value, first: Node, last: Node, node: ast.AST
    ) -> Any:
        """The type of a range's counter: the common type of its bounds."""
        if isinstance(start, Comptime) and isinstance(stop, Comptime):
            return ty.INT
        if isinstance(start, Comptime):
            return last.type if start.value >= last.type.minimum else ty.INT
        if isinstance(stop, Comptime):
            return first.type
        common = ty.common_type(first.type, last.type)
        if common is None:
            self.no_common_type(node, first.type, last.type)
        return common

    def run_loop(
        self,
        node: ast.For,
        condition: Node,
        value: Node,
        step: list[Node],
        bounds: tuple[int, int] | None = None,
    ) -> None:
        """A counted loop: bind the target, run the body, advance."""
        self.enter_loop(node)
        labels = self.new_labels()
        outer, self.out = self.out, []
        fresh = isinstance(node.target, ast.Name) and node.target.id not in self.scope
        before = dict(self.narrowed)
        self.assign_to(node.target, value, node)
        if fresh and bounds and isinstance(node.target, ast.Name):
            local = self.scope[node.target.id]
            if self.stores.get(node.target.id) == 1 and isinstance(local, Local):
                local.low, local.high = bounds
        self.loops.append((labels, labels, len(self.cleanups)))
        self.statements(node.body)
        self.loops.pop()
        body, self.out = self.out, outer
        self.emit(Node("loop", None, (condition,), labels, self.span(node), bodies=(body, step)))
        self.terminated = False
        self.narrowed = before
        self.enter_loop(node)

    def for_elements(
        self, node: ast.For, iterable: ast.expr, indexed: bool, value: Value | None = None
    ) -> None:
        """`for x in slice` and `for i, x in enumerate(slice)`."""
        found = value if value is not None else self.expression(iterable)
        source = self.hold(self.as_slice(found, iterable), snapshot=True)
        counter = self.temporary(self.usize)
        length = self.hold(self.length(source))
        self.emit(Node("assign", None, (self.integer(0),), counter))
        index = Node("local", self.usize, data=counter, low=0, high=ty.I64_MAX - 1)
        element = self.element(source, index, iterable, checked=False)
        target, condition = node.target, self.compare_integers("lt", index, length, node)
        advance = Node("add", self.usize, (index, self.integer(1)), "plain")
        if indexed:
            if not (isinstance(target, ast.Tuple) and len(target.elts) == 2):
                self.refuse(node, "subset", "enumerate needs two names", "write `for i, x in …`")
            pair = ast.copy_location(ast.For(target.elts[1], node.iter, node.body, []), node)
            first = target.elts[0]
            self._indexed = (first, index)
            self.run_indexed(pair, condition, first, index, element, advance, counter)
            return
        self.run_loop(node, condition, element, [Node("assign", None, (advance,), counter)])

    def run_indexed(
        self,
        node: ast.For,
        condition: Node,
        first: ast.expr,
        index: Node,
        element: Node,
        advance: Node,
        counter: Local,
    ) -> None:
        """The loop of `enumerate`: two targets."""
        self.enter_loop(node)
        labels = self.new_labels()
        outer, self.out = self.out, []
        before = dict(self.narrowed)
        self.assign_to(first, index, node)
        self.assign_to(node.target, element, node)
        self.loops.append((labels, labels, len(self.cleanups)))
        self.statements(node.body)
        self.loops.pop()
        body, self.out = self.out, outer
        step = [Node("assign", None, (advance,), counter)]
        self.emit(Node("loop", None, (condition,), labels, self.span(node), bodies=(body, step)))
        self.terminated = False
        self.narrowed = before
        self.enter_loop(node)

    # -- match -----------------------------------------------------------------------------------

    def _match(self, node: ast.Match) -> None:
        subject = self.expression(node.subject)
        if isinstance(subject, Node):
            subject = self.hold(subject) if subject.op != "local" else subject
        self.match_cases(subject, node.cases, node, self.remaining(subject))

    def remaining(self, subject: Value) -> set[Any] | None:
        """What is not matched yet: union members, or members of an enum."""
        if isinstance(subject, Comptime):
            return None
        if isinstance(subject.type, ty.UnionType):
            return set(self.possible_of(subject))
        if ty.is_enum(subject.type) and not issubclass(subject.type, enum.Flag):
            return set(subject.type)
        return None

    def match_cases(
        self, subject: Value, cases: list[ast.match_case], node: ast.AST, left: set[Any] | None
    ) -> None:
        """An if-chain; a case that covers all that is left needs no test."""
        if not cases:
            if left is not None and not left:
                self.emit(Node("trap", None, data="no case matches", span=self.span(node)))
                self.terminated = True
            return
        case = cases[0]
        if isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None:
            if case.pattern.name is not None:
                self.refuse(case.pattern, "subset", "a case does not bind names", "use the subject")
        test = self.pattern_test(case.pattern, node)
        if test is None and case.guard is None:
            self.statements(case.body)
            return
        if case.guard is not None:
            test = ast.BoolOp(ast.And(), [test, case.guard]) if test else case.guard
        subject_name = self.match_subject(subject)
        assert test is not None
        test = _subject_filled(test, subject_name)
        value, when_true, when_false = self.condition(test)
        if isinstance(value, Comptime):
            if value.value:
                self.statements(case.body)
            else:
                self.match_cases(subject, cases[1:], node, left)
            return
        before = dict(self.narrowed)
        self.narrow(when_true)
        then = self.body_of(case.body)
        then_end, after_then = self.terminated, self.narrowed
        self.terminated, self.narrowed = False, dict(before)
        self.narrow(when_false)
        if left is not None and case.guard is None:
            left = left - self.covered(case.pattern)
        outer, self.out = self.out, []
        self.match_cases(subject, cases[1:], node, left)
        otherwise, self.out = self.out, outer
        self.emit(Node("if", None, (value,), span=self.span(case.pattern), bodies=(then, otherwise)))
        if not then_end:
            if self.terminated:
                self.narrowed = after_then
            else:
                self.merge(after_then)
            self.terminated = False

    def match_subject(self, subject: Value) -> str:
        """A name in scope for the subject."""
        if isinstance(subject, Node) and isinstance(subject.data, Local):
            for name, local in self.scope.items():
                if local is subject.data:
                    return name
            name = f"{subject.data.name}.{subject.data.index}"
            self.scope[name] = subject.data
            return name
        assert isinstance(subject, Comptime)
        name = f"subject.{self.label_count}"
        self.scope[name] = subject
        return name

    def pattern_test(self, pattern: ast.pattern, node: ast.AST) -> ast.expr | None:
        """The condition a pattern stands for; the subject is the name `@`."""
        subject = ast.copy_location(ast.Name("@", ast.Load()), pattern)
        test: ast.expr
        if isinstance(pattern, ast.MatchValue):
            test = ast.Compare(subject, [ast.Eq()], [pattern.value])
        elif isinstance(pattern, ast.MatchSingleton):
            test = ast.Compare(subject, [ast.Is()], [ast.Constant(pattern.value)])
        elif isinstance(pattern, ast.MatchClass) and not pattern.patterns + pattern.kwd_patterns:
            cls = self.expression(pattern.cls)
            if not (isinstance(cls, Comptime) and isinstance(cls.value, type)):
                self.refuse(pattern, "subset", "only a class matches with ()", "write `case int():`")
            test = ast.Call(ast.Name("isinstance", ast.Load()), [subject, pattern.cls], [])
        elif isinstance(pattern, ast.MatchOr):
            parts = [self.pattern_test(p, node) for p in pattern.patterns]
            tests = [p for p in parts if p is not None]
            if len(tests) < len(parts):
                return None
            test = ast.BoolOp(ast.Or(), tests)
        elif isinstance(pattern, ast.MatchAs) and pattern.pattern is None:
            return None
        else:
            self.refuse(pattern, "subset", "this pattern is not part of the language")
        located = ast.copy_location(test, pattern)
        for inner in ast.walk(located):
            ast.copy_location(inner, pattern)
        return located

    def covered(self, pattern: ast.pattern) -> set[Any]:
        """The union or enum members a pattern matches for certain."""
        if isinstance(pattern, ast.MatchOr):
            return set().union(*(self.covered(p) for p in pattern.patterns))
        if isinstance(pattern, ast.MatchSingleton) and pattern.value is None:
            return {ty.NONE}
        if isinstance(pattern, ast.MatchClass):
            value = self.expression(pattern.cls)
            return {value.value} if isinstance(value, Comptime) else set()
        if isinstance(pattern, ast.MatchValue):
            value = self.expression(pattern.value)
            return {value.value} if isinstance(value, Comptime) else set()
        return set()


def _load(node: ast.Name) -> ast.Name:
    return ast.copy_location(ast.Name(node.id, ast.Load()), node)


def _breaks(body: list[ast.stmt]) -> bool:
    """A `break` of this loop (not of an inner one) is among the statements."""
    for statement in body:
        if isinstance(statement, ast.Break):
            return True
        if isinstance(statement, (ast.While, ast.For)):
            continue
        for name in ("body", "orelse"):
            if _breaks(getattr(statement, name, [])):
                return True
        for case in getattr(statement, "cases", []):
            if _breaks(case.body):
                return True
    return False


def _subject_filled(test: ast.expr, name: str) -> ast.expr:
    """Put the subject's name where the pattern left `@`."""
    for node in ast.walk(test):
        if isinstance(node, ast.Name) and node.id == "@":
            node.id = name
    return test
