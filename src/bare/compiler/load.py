"""From a live function object to its syntax tree.

The program is found by reachability: an entry is a function object, and every name in its body is
looked up in that function's own module. A source file is parsed once.
"""

import ast
import inspect
import textwrap
import types
from functools import cache

from bare.compiler.diagnostics import CompileError, Diagnostic, Span

FunctionType = types.FunctionType


@cache
def _functions(file: str) -> dict[tuple[str, int], ast.FunctionDef]:
    """Every function definition of a file by (name, first line), decorators included."""
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read(), file)
    found = {}
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            found[node.name, first] = node
        for name in ("body", "orelse"):  # Of modules, classes, functions, conditions.
            inner = getattr(node, name, None)
            if isinstance(inner, list):
                waiting.extend(inner)
    return found


@cache
def assigned_names(node: ast.AST) -> tuple[str, ...]:
    """Every name that the node assigns to, as often as it does."""
    return tuple(
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
    )


def definition(function: FunctionType) -> ast.FunctionDef:
    """The definition of `function` in its source file."""
    code = function.__code__
    node = None
    if code.co_filename.startswith("<"):
        node = _from_text(function)
    else:
        node = _functions(code.co_filename).get((code.co_name, code.co_firstlineno))
    if node is None:
        raise CompileError(
            [
                Diagnostic(
                    "no-source",
                    f"the source of {function.__qualname__} cannot be found",
                    code.co_filename,
                    code.co_firstlineno,
                    fix="define it with `def` in a file, at module or class level",
                )
            ]
        )
    return node


def _from_text(function: FunctionType) -> ast.FunctionDef | None:
    """A function made by `exec` whose text is registered in linecache (tests, documentation)."""
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return None
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, first - 1)
    node = tree.body[0]
    return node if isinstance(node, ast.FunctionDef) else None


def span_of(file: str, node: ast.AST) -> Span:
    """The place of a syntax node; a node over several lines ends with its first."""
    line = getattr(node, "lineno", 1)
    column = getattr(node, "col_offset", 0) + 1
    end = getattr(node, "end_col_offset", None)
    if getattr(node, "end_lineno", line) != line or end is None:
        return Span(file, line, column, column + 1)
    return Span(file, line, column, end + 1)
