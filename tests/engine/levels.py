"""Kernel tests run under CPython and compiled at every level that this processor has."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

import bare.simd
from bare.compiler.host import host_levels
from bare.simd import LEVELS
from bare.testing import COMPILED, PYTHON, compiled, merge, variants
from tests.bare.levels import runnable, stand_in

# Of code compiled without a stand-in.
HOST_LEVELS = [LEVELS[number] for number in host_levels()]


def host_level() -> int:
    """The highest level whose instructions this processor has."""
    return host_levels()[-1]


def kernel_levels(*names: str) -> Any:
    """A fixture: the names of some modules under CPython, then compiled at each level.

    Not for modules that `implementations` compiles together too: a run keeps one program of each,
    and that one would lack the stand-in.
    """
    params = [PYTHON] if PYTHON in variants() else []
    if COMPILED in variants():
        params += [LEVELS[number] for number in runnable()]

    def fixture(request: Any) -> Iterator[Any]:
        modules = [importlib.import_module(name) for name in names]
        if request.param == PYTHON:
            yield merge(modules)
            return
        before = bare.simd.level()
        with stand_in(), compiled(*modules) as proxy:
            bare.simd.set_level(LEVELS.index(request.param))
            yield proxy
            bare.simd.set_level(before)

    return pytest.fixture(scope="module", params=params)(fixture)
