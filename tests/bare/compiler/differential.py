"""Runs source text under CPython and compiled, and compares what comes out.

The text becomes a module whose lines are registered in linecache, so that the compiler finds the
source of its functions. CPython is the oracle: compiled code gives the same value or traps, and it
traps wherever CPython raises.
"""

import inspect
import itertools
import linecache
import sys
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any

from bare import Struct
from bare.compiler.diagnostics import CompileError
from bare.compiler.jit import Program
from bare.compiler.unit import compile_unit

RAISED = "raised"
_numbers = itertools.count()


def module_of(source: str, prefix: str = "differential") -> ModuleType:
    """Execute `source` as a new module."""
    name = f"{prefix}_{next(_numbers)}"
    file = f"<{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    module = ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module
    exec(compile(source, file, "exec"), vars(module))
    return module


def functions_of(module: ModuleType) -> list[FunctionType]:
    """The public functions that `module` defines, in source order."""
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, FunctionType)
        and value.__module__ == module.__name__
        and not (name.startswith("_") or value.__type_params__)
    ]
    return sorted(found, key=lambda f: f.__code__.co_firstlineno)


def errors_of(source: str) -> list[tuple[str, int]]:
    """Rule and line of every error the compiler reports for the text."""
    module = module_of(source)
    try:
        compile_unit(functions_of(module), "jit")
    except CompileError as error:
        return [(d.rule, d.line) for d in error.diagnostics]
    return []


def load_module(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The compiled counterparts of a module's functions."""
    found = functions_of(module)
    program = Program(compile_unit(found, "jit"), use_cache=False)
    return {f.__name__: program.function(f) for f in found}


def accepted(module: ModuleType) -> tuple[Program, list[FunctionType]]:
    """Compile the functions the compiler accepts; generated ones may break its rules."""
    found = functions_of(module)
    while True:
        try:
            return Program(compile_unit(found, "jit"), use_cache=False), found
        except CompileError as error:
            lines = {d.line for d in error.diagnostics}
            kept = [f for f in found if not lines & _lines(f)]
            if len(kept) == len(found):
                raise
            found = kept


def _lines(function: FunctionType) -> set[int]:
    """All lines of a function, those included that CPython makes no code of."""
    text, first = inspect.getsourcelines(function)
    return set(range(first, first + len(text)))


def outcome(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """The result, or RAISED for a trap and for whatever CPython raises in its place."""
    try:
        result = function(*arguments)
    except Exception:
        return RAISED
    if isinstance(result, float) and result != result:
        return "nan"
    return result


def both(source: str, name: str, *arguments: Any) -> tuple[Any, Any]:
    """What one function of the text gives under CPython and compiled."""
    module = module_of(source)
    compiled = load_module(module)
    return outcome(getattr(module, name), arguments), outcome(compiled[name], arguments)


def assert_agrees(source: str, name: str, calls: Sequence[Sequence[Any]]) -> None:
    """Every call gives the same under CPython and compiled; a trap where CPython raises."""
    module = module_of(source)
    compiled = load_module(module)[name]
    for arguments in calls:
        expected = outcome(getattr(module, name), arguments)
        found = outcome(compiled, arguments)
        assert same(expected, found), f"{name}{tuple(arguments)}: {expected!r}, compiled {found!r}"


def same(a: Any, b: Any) -> bool:
    """Equal values of the same kind: 1 is not True and 0.0 is not -0.0."""
    if isinstance(a, Struct) or isinstance(b, Struct):
        return a is b or a == b
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return a.hex() == b.hex()
    return type(a) is type(b) and bool(a == b)
