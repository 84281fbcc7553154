"""Which bodies a program has at levels that only add instructions to the one below."""

from bare import simd
from bare.compiler.jit import Program
from bare.compiler.unit import compile_unit
from tests.bare.compiler import differential as run
from tests.bare.levels import runnable, stand_in

SOURCE = """
from bare import *
from bare.simd import Vec, dot4, exact_dot4, multiversion, native_dot2, variant


def shared(x: u32) -> u32:
    return x + Vec[u32].lanes


def product(x: u32) -> u32:
    one, minus = Vec[u8].splat(1), Vec[i8].splat(-1)
    return shared(x) + u32(-dot4(Vec[i32].splat(0), one, minus)[0])


def replaced(x: u32) -> u32:
    return x + 100


@variant(replaced, needs="avxvnni")
def with_vnni(x: u32) -> u32:
    return x + 200


def only_there(x: u32) -> u32:
    return shared(x) + 1000


def other_way(x: u32) -> u32:
    return only_there(x) if exact_dot4() else shared(x)


def asks(x: u32) -> u32:
    return x + 10_000 if native_dot2() else shared(x)


@multiversion
def calls_product(x: u32) -> u32:
    return product(x)


@multiversion
def calls_replaced(x: u32) -> u32:
    return replaced(x)


@multiversion
def calls_other_way(x: u32) -> u32:
    return other_way(x)


@multiversion
def calls_asks(x: u32) -> u32:
    return asks(x)


@multiversion
def calls_shared(x: u32) -> u32:
    return shared(x)
"""
NAMES = ("calls_product", "calls_replaced", "calls_other_way", "calls_asks", "calls_shared")
RESULTS = {
    "baseline": [9, 101, 5, 5, 5],
    "avx2": [13, 101, 9, 9, 9],
    "avxvnni": [13, 201, 1009, 9, 9],
    "avx512": [21, 201, 1017, 17, 17],
    "avx512bf16": [21, 201, 1017, 10_001, 17],
}


def test_bodies() -> None:
    module = run.module_of(SOURCE)
    functions = [getattr(module, name) for name in NAMES]
    with stand_in():
        unit = compile_unit(functions, "jit")
        program = Program(unit, use_cache=False)
    bodies: dict[str, set[str]] = {}
    for function in unit.functions:
        name, _, level = function.name.rpartition(".")[2].partition("@")
        if level and not function.dispatch:
            bodies.setdefault(level, set()).add(name)
    every = {*NAMES, "shared", "product", "other_way", "asks"}
    assert bodies["baseline"] == bodies["avx2"] == every | {"replaced"}
    assert bodies["avx512"] == every | {"only_there", "with_vnni"}
    own = {"product", "with_vnni", "only_there", "other_way"}
    assert bodies["avxvnni"] == own | {"calls_product", "calls_replaced", "calls_other_way"}
    assert bodies["avx512bf16"] == {"asks", "calls_asks"}
    before = simd.level()
    for level in runnable():
        simd.set_level(level)
        found = [program.function(function)(1) for function in functions]
        simd.set_level(before)
        assert found == RESULTS[simd.LEVELS[level]]
