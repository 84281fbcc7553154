"""Which instructions an operation becomes: what its speed was measured with."""

import re
from typing import Any

import pytest

from bare.compiler.codegen import compile_assembly
from bare.compiler.unit import compile_unit
from tests.bare.compiler import differential as run

PREFETCH = """
from bare import Slice, u8, usize
from bare.cpu import prefetch, prefetch_l2


def ask(data: Slice[u8], at: usize) -> None:
    prefetch(data, at)
    prefetch_l2(data, at + 64)
"""


def assembly_of(source: str) -> str:
    """The optimised program."""
    functions = run.functions_of(run.module_of(source))
    return compile_assembly(compile_unit(functions, "jit").ir, "jit")


def test_prefetch_says_which_caches() -> None:
    words = assembly_of(PREFETCH).split()
    assert [w for w in words if w.startswith("prefetch")] == ["prefetcht0", "prefetcht1"]


LEVELS = """
from bare import *
from bare.simd import Vec, dot2, dot4, dot4_small, fma, multiversion, pairs, pack


@multiversion
def products(a: Slice[u8], b: Slice[i8], out: Slice[i32]) -> None:
    acc = Vec[i32].load(out, 0)
    acc = dot4(acc, Vec[u8].load(a, 0), Vec[i8].load(b, 0))
    dot4_small(acc, Vec[u8].load(a, 0), Vec[i8].broadcast4(b, 64)).store(out, 0)


@multiversion
def scores(a: Slice[bf16], b: Slice[bf16], out: Slice[f32]) -> None:
    acc = Vec[f32].load(out, 0)
    acc = dot2(acc, Vec[bf16].load(a, 0), Vec[bf16].load(b, 0))
    dot2(acc, Vec[bf16].load(a, 0), Vec[bf16].broadcast2(b, 64)).store(out, 0)


@multiversion
def halves(a: Slice[f32], out: Slice[bf16]) -> None:
    pack(Vec[f32].load(a, 0), Vec[f32].load(a, 16)).store(out, 0)
    pairs(Vec[f32].load(a, 0), Vec[f32].load(a, 16)).store(out, 64)


@multiversion
def scale(a: Slice[f32]) -> None:
    (Vec[f32].load(a, 0) * Vec[f32].splat(2.0)).store(a, 0)


def caller_of(a: Slice[f32]) -> None:
    scale(a)
"""


def bodies() -> dict[str, list[str]]:
    """The instructions of each function of LEVELS, by name and level."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in assembly_of(LEVELS).splitlines():
        label = re.match(r'"?[\w.]+\.(\w+@\w+)"?:', line)
        if label:
            name = label[1]
            found[name] = []
        elif line.startswith("\t.size"):
            name = ""
        elif name and line.startswith("\t") and not line.startswith("\t."):
            found[name].append(" ".join(line.split("#")[0].split()))
    return found


@pytest.fixture(scope="module")
def code() -> dict[str, list[str]]:
    return bodies()


def with_word(lines: list[str], *words: str) -> list[str]:
    return [line for line in lines if all(word in line for word in words)]


def test_a_level_that_adds_nothing_to_a_function_shares_its_body(code: dict[str, Any]) -> None:
    levels: dict[str, set[str]] = {}
    for name in code:
        function, _, level = name.partition("@")
        levels.setdefault(function, set()).add(level)
    both = {"avx2", "avx512"}  # The baseline's is part of the function that chooses.
    assert levels == {
        "products": both | {"avxvnni"},
        "scores": both | {"avx512bf16"},
        "halves": both | {"avx512bf16"},
        "scale": both,
    }


def test_dot4_is_one_instruction_where_there_is_one(code: dict[str, Any]) -> None:
    assert len(with_word(code["products@avxvnni"], "{vex} vpdpbusd", "%ymm")) == 2
    wide = with_word(code["products@avx512"], "vpdpbusd", "%zmm")
    assert len(wide) == 2
    assert len(with_word(wide, "{1to16}")) == 1
    assert not with_word(code["products@avx2"], "vpdpbusd")


def test_dot2_is_one_instruction_where_there_is_one(code: dict[str, Any]) -> None:
    found = with_word(code["scores@avx512bf16"], "vdpbf16ps", "%zmm")
    assert len(found) == 2
    assert len(with_word(found, "{1to16}")) == 1
    assert len(with_word(code["scores@avx512"], "vfmadd", "%zmm")) == 4
    assert len(with_word(code["scores@avx2"], "vfmadd", "%ymm")) == 4


def test_halves_are_rounded_by_one_instruction_where_there_is_one(code: dict[str, Any]) -> None:
    assert len(with_word(code["halves@avx512bf16"], "vcvtne2ps2bf16")) == 2
    assert not with_word(code["halves@avx512"], "bf16")
