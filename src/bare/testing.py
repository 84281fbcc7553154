"""The fixture that runs a test twice: under CPython, then compiled.

    impl = implementations("merlion.net.checksum")

    def test_sum(impl: Any) -> None:
        assert impl.checksum(b"...") == 0xFFFF

While a test runs compiled, the public functions of the modules are replaced in the object the
fixture yields, and the public methods of their Struct and Wire classes are replaced *in the class*:
an object stays what it is (same class, same memory), its fields are read and written by Python, and
its methods run as machine code wherever it came from. Constants, enums and static data are shared.

A module is compiled at most once a run, when first needed. `BARE_IMPLEMENTATIONS=python` (or
`compiled`) in the environment runs only one of the two.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bare.compiler.entries import Found
    from bare.compiler.jit import Program

PYTHON, COMPILED = "python", "compiled"


def implementations(*names: str) -> Any:
    """A module-scoped fixture yielding the modules `names` under CPython, then compiled.

    With several names one object is yielded; a name is looked up in the modules in order.
    """
    import pytest

    def fixture(request: Any) -> Iterator[Any]:
        modules = [importlib.import_module(name) for name in names]
        if request.param == COMPILED:
            with compiled(*modules) as proxy:
                yield proxy
        else:
            yield modules[0] if len(modules) == 1 else merge(modules)

    return pytest.fixture(scope="module", params=variants())(fixture)


def variants() -> list[str]:
    """Which implementations tests run on."""
    chosen = os.environ.get("BARE_IMPLEMENTATIONS")
    if chosen:
        return [name for name in (PYTHON, COMPILED) if name in chosen.split(",")]
    ready = importlib.util.find_spec("bare.compiler.unit") is not None
    return [PYTHON, COMPILED] if ready else [PYTHON]


def merge(modules: Sequence[ModuleType]) -> ModuleType:
    """One object with the names of all `modules`; the first that has a name gives it."""
    proxy = ModuleType(modules[0].__name__, modules[0].__doc__)
    for module in reversed(modules):
        vars(proxy).update({k: v for k, v in vars(module).items() if not k.startswith("__")})
    return proxy


@cache
def _program(names: tuple[str, ...]) -> "tuple[Program, list[Found]]":
    from bare.compiler.entries import module_entries
    from bare.compiler.jit import load

    found = [item for name in names for item in module_entries(importlib.import_module(name))]
    return load([item.function for item in found]), found


@contextmanager
def compiled(*modules: ModuleType) -> Iterator[ModuleType]:
    """Compile `modules` as one unit; inside the context their classes run compiled methods."""
    program, found = _program(tuple(module.__name__ for module in modules))
    proxy = merge(modules)
    replaced: list[tuple[type, str, Any]] = []
    try:
        for item in found:
            function = program.function(item.function)
            if item.owner is None:
                setattr(proxy, item.name, function)
            else:
                replaced.append((item.owner, item.name, vars(item.owner)[item.name]))
                setattr(item.owner, item.name, _descriptor(item.kind, function))
        yield proxy
    finally:
        for owner, name, original in replaced:
            setattr(owner, name, original)


def _descriptor(kind: str, function: Callable[..., Any]) -> Any:
    """What stands in a class for a compiled method."""
    if kind == "property":
        return property(function)
    return staticmethod(function) if kind == "static" else function
