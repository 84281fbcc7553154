"""Checks one function instance: types every expression, narrows unions, spells out implicit steps.

The result is the typed tree (tree.py). One class, in layers that each know the ones before:

    check_values        scope, errors, order of computation, import-time constants
    check_stores        conversion to the type of a place
    check_integers      exact arithmetic, by intervals
    check_places        attributes and subscripts
    check_conditions    comparisons, and what they show
    check_expressions   names, operators
    check_vectors       vectors, device registers
    check_constructors  calls of classes and builtins
    check_methods       methods of built-in types
    check_calls         calls of functions
    check_statements, check_loops, check_match

Library names are in intrinsics, paths through the function in flow. An error is reported and the
rest of the function is still checked, statement by statement.
"""

from bare.compiler import types as ty
from bare.compiler.check_match import MatchChecker
from bare.compiler.check_values import Comptime
from bare.compiler.flow import Flow
from bare.compiler.load import assigned_names, definition
from bare.compiler.tree import Node


class Checker(MatchChecker):
    """Checks the body of one instance."""

    def run(self) -> None:
        """Check the whole body."""
        tree = definition(self.source)
        errors = len(self.instances.diagnostics.found)
        for name in assigned_names(tree):
            self.stores[name] = self.stores.get(name, 0) + 1
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
                self.report(
                    tree, "missing-return", "not every path returns a value", "add a return"
                )
            self.out.append(Node("return", None, span=self.span(tree)))
        if len(self.instances.diagnostics.found) == errors:
            Flow(self.function, self.instances.diagnostics).run()
