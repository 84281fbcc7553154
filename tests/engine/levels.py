"""Kernel tests run under CPython and compiled at every level that this processor has."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bare.simd
from bare.testing import COMPILED, PYTHON, compiled, merge, variants

FLAGS = {1: ("avx2", "fma", "f16c"), 2: ("avx512bw", "avx512vl", "avx512_vnni")}


def host_level() -> int:
    """The highest level whose instructions this processor has."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    words = set(info.split())
    return max([0, *(level for level, flags in FLAGS.items() if words.issuperset(flags))])


def kernel_levels(*names: str) -> Any:
    """A fixture: the names of some modules under CPython, then compiled at each level."""
    params = [PYTHON] if PYTHON in variants() else []
    if COMPILED in variants():
        params += bare.simd.LEVELS[: host_level() + 1]

    def fixture(request: Any) -> Iterator[Any]:
        modules = [importlib.import_module(name) for name in names]
        if request.param == PYTHON:
            yield merge(modules)
            return
        before = bare.simd.level()
        with compiled(*modules) as proxy:
            bare.simd.set_level(bare.simd.LEVELS.index(request.param))
            yield proxy
            bare.simd.set_level(before)

    return pytest.fixture(scope="module", params=params)(fixture)
