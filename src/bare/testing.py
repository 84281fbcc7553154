"""The fixture that runs a test twice: under CPython, then compiled.

    impl = implementations("merlion.net.checksum")

    def test_sum(impl: Any) -> None:
        assert impl.checksum(b"...") == 0xFFFF

While a test runs compiled, the public functions of the modules are replaced in the object the
fixture yields, and the public methods of their Struct and Wire classes are replaced *in the class*:
an object stays what it is (same class, same memory), its fields are read and written by Python, and
its methods run as machine code wherever it came from. Constants, enums and static data are shared.

Under CPython the same functions are replaced by ones that pass `bytes` on as a Slice (whose indices
are checked) and that raise `Trap` for a failed assert, a division by zero or a missing key, as
compiled code does.

Where a module has `@unchecked` functions, tests run a third time with their checks compiled in
(`checked`): a reason that does not hold traps there.

A module is compiled at most once a run, when first needed. `BARE_IMPLEMENTATIONS=python` (or a list
of `python`, `compiled` and `checked`) in the environment runs only those.
"""

import functools
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bare.memory import Slice
from bare.trap import Trap

if TYPE_CHECKING:
    from bare.compiler.entries import Found
    from bare.compiler.jit import Program

PYTHON, COMPILED, CHECKED = "python", "compiled", "checked"


def implementations(*names: str) -> Any:
    """A module-scoped fixture yielding the modules `names` under CPython, then compiled.

    With several names one object is yielded; a name is looked up in the modules in order.
    """
    import pytest

    def fixture(request: Any) -> Iterator[Any]:
        modules = [importlib.import_module(name) for name in names]
        if request.param == PYTHON:
            context = interpreted(*modules)
        else:
            context = compiled(*modules, checked=request.param == CHECKED)
        with context as proxy:
            yield proxy

    return pytest.fixture(scope="module", params=variants(names))(fixture)


def variants(names: Sequence[str] = ()) -> list[str]:
    """Which implementations tests run on."""
    known = [PYTHON, COMPILED]
    if any(has_unchecked(importlib.import_module(name)) for name in names):
        known.append(CHECKED)
    chosen = os.environ.get("BARE_IMPLEMENTATIONS")
    return [name for name in known if chosen is None or name in chosen.split(",")]


def has_unchecked(module: ModuleType) -> bool:
    """The module defines functions whose checks are left out."""
    own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
    methods = [m for cls in own if isinstance(cls, type) for m in vars(cls).values()]
    return any(hasattr(f, "__bare_unchecked__") for f in [*own, *methods])


def merge(modules: Sequence[ModuleType]) -> ModuleType:
    """One object with the names of all `modules`; the first that has a name gives it."""
    proxy = ModuleType(modules[0].__name__, modules[0].__doc__)
    for module in reversed(modules):
        vars(proxy).update({k: v for k, v in vars(module).items() if not k.startswith("__")})
    return proxy


@cache
def _entries(names: tuple[str, ...]) -> "list[Found]":
    from bare.compiler.entries import module_entries

    return [item for name in names for item in module_entries(importlib.import_module(name))]


@cache
def _program(names: tuple[str, ...], checked: bool) -> "Program":
    from bare.compiler.jit import load

    return load([item.function for item in _entries(names)], checked=checked)


@contextmanager
def compiled(*modules: ModuleType, checked: bool = False) -> Iterator[ModuleType]:
    """Compile `modules` as one unit; inside the context their classes run compiled methods."""
    names = tuple(module.__name__ for module in modules)
    program = _program(names, checked)
    with replaced(modules, _entries(names), program.function) as proxy:
        yield proxy


@contextmanager
def interpreted(*modules: ModuleType) -> Iterator[ModuleType]:
    """The modules under CPython, with the checks of the language at their entries."""
    found = _entries(tuple(module.__name__ for module in modules))
    with replaced(modules, found, adapted) as proxy:
        yield proxy


@contextmanager
def replaced(
    modules: Sequence[ModuleType], found: "Sequence[Found]", make: Callable[[Any], Any]
) -> Iterator[ModuleType]:
    """The modules' names with every entry replaced by what `make` gives for it."""
    proxy = merge(modules)
    originals: list[tuple[type, str, Any]] = []
    try:
        for item in found:
            function = make(item.function)
            if item.owner is None:
                setattr(proxy, item.name, function)
            else:
                originals.append((item.owner, item.name, vars(item.owner)[item.name]))
                setattr(item.owner, item.name, _descriptor(item.kind, function))
        yield proxy
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


_depth = [0]  # Of adapted functions in progress: only the outermost call converts.


def adapted(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a test sees it: `bytes` become slices, failed checks are Traps."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if _depth[0]:
            return function(*arguments, **named)
        _depth[0] = 1
        try:
            return function(
                *(checked_bytes(a) for a in arguments),
                **{name: checked_bytes(a) for name, a in named.items()},
            )
        except (AssertionError, ArithmeticError, LookupError, ValueError) as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = [f for f in frames if not f.filename.startswith(sys.base_prefix)]
            reason = str(error) or "assertion failed"
            raise Trap(reason, own[-1].filename, own[-1].lineno or 0) from error
        finally:
            _depth[0] = 0

    return call


def checked_bytes(value: Any) -> Any:
    """A slice of the bytes: an index past their end, or a negative one, traps."""
    return Slice.from_bytes(value) if type(value) is bytes else value


def _descriptor(kind: str, function: Callable[..., Any]) -> Any:
    """What stands in a class for a compiled method."""
    if kind == "property":
        return property(function)
    return staticmethod(function) if kind == "static" else function
