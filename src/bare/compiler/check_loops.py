"""`for`: over ranges, slices, and import-time values whose body is emitted once for each."""

import ast
import typing
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_statements import StatementChecker, breaks
from bare.compiler.check_values import Comptime, Value
from bare.compiler.tree import Local, Node


class LoopChecker(StatementChecker):
    """Checks `for` loops."""

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
        if breaks(node.body):  # Which constant it was is known at run time only.
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
        advanced = Node("assign", None, (advance,), counter)
        self.run_loop(node, condition, [(node.target, now)], advanced, (low, high))

    def range_bounds(self, call: ast.Call) -> tuple[Value, Value, Value]:
        """Start, stop and step, computed in this order."""
        bounds = [self.hold(b) if isinstance(b, Node) else b for b in self.expressions(call.args)]
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

    def range_type(self, start: Value, stop: Value, first: Node, last: Node, node: ast.AST) -> Any:
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
        targets: list[tuple[ast.expr, Node]],
        step: Node,
        bounds: tuple[int, int] | None = None,
    ) -> None:
        """A counted loop: bind the targets, run the body, step. `bounds` are the counter's."""
        self.enter_loop(node)
        labels = self.new_labels()
        outer, self.out = self.out, []
        fresh = isinstance(node.target, ast.Name) and node.target.id not in self.scope
        before = dict(self.narrowed)
        for target, value in targets:
            self.assign_to(target, value, node)
        if fresh and bounds and isinstance(node.target, ast.Name):
            local = self.scope[node.target.id]
            if self.stores.get(node.target.id) == 1 and isinstance(local, Local):
                local.low, local.high = bounds
        self.loops.append((labels, labels, len(self.cleanups)))
        self.statements(node.body)
        self.loops.pop()
        body, self.out = self.out, outer
        self.emit(Node("loop", None, (condition,), labels, self.span(node), bodies=(body, [step])))
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
        condition = self.compare_integers("lt", index, length, node)
        advance = Node("add", self.usize, (index, self.integer(1)), "plain")
        targets = [(node.target, element)]
        if indexed:
            if not (isinstance(node.target, ast.Tuple) and len(node.target.elts) == 2):
                self.refuse(node, "subset", "enumerate needs two names", "write `for i, x in …`")
            targets = list(zip(node.target.elts, (index, element), strict=True))
        self.run_loop(node, condition, targets, Node("assign", None, (advance,), counter))
