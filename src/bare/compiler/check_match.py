"""`match`: a chain of conditions that knows which members of a union or enum are left."""

import ast
import enum
from typing import Any

from bare.compiler import types as ty
from bare.compiler.check_loops import LoopChecker
from bare.compiler.check_values import Comptime, Value
from bare.compiler.tree import Local, Node


class MatchChecker(LoopChecker):
    """Checks `match` statements."""

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
        self.emit(
            Node("if", None, (value,), span=self.span(case.pattern), bodies=(then, otherwise))
        )
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
                self.refuse(
                    pattern, "subset", "only a class matches with ()", "write `case int():`"
                )
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


def _subject_filled(test: ast.expr, name: str) -> ast.expr:
    """Put the subject's name where the pattern left `@`."""
    for node in ast.walk(test):
        if isinstance(node, ast.Name) and node.id == "@":
            node.id = name
    return test
