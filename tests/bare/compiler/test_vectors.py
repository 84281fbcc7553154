"""Every vector operation at every level, against its CPython meaning with as many lanes."""

import math
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import bare
from bare import Slice, Trap, simd, vec
from bare.levels import VECTOR_SIZES
from tests.bare.compiler import differential as run
from tests.bare.levels import runnable, stand_in

COUNT = 64  # Elements in, a whole number of vectors at every level.
ROUNDS = 12
INTEGERS = ("u8", "i8", "u16", "i16", "u32", "i32")
HEAD = """
from bare import *
from bare.simd import Vec, dot2, dot2_i16, dot4, dot4_small, fma, multiversion, pack, pairs, select
from bare.simd import times_sign
"""
INTEGER_OPERATIONS = (
    "a + b",
    "a - b",
    "a * b",
    "a & b",
    "a | b",
    "a ^ b",
    "a << 3",
    "a >> 2",
    "a << s",
    "a >> s",
    "-a",
    "a.min(b)",
    "a.max(b)",
    "a.abs()",
    "select(a < b, a, b)",
    "select(a <= b, a, b)",
    "select(a == b, a, c)",
    "select(a != b, a, c)",
    "select(a > b, a, b)",
    "select(a >= b, a, b)",
    "select((a < b) & (b < c) | ~(a < c), a, c)",
    "Vec[T].splat(a.sum())",
    "Vec[T].splat(a.max_lane())",
    "Vec[T].splat(a.min_lane())",
    "Vec[T].splat(a[1])",
    "a.bits(u8).bits(T)",
    "a.bits(u32).bits(T)",
)
FLOAT_OPERATIONS = (
    "a + b",
    "a - b",
    "a * b",
    "a / b",
    "-a",
    "a.min(b)",
    "a.max(b)",
    "a.abs()",
    "a.abs().sqrt()",
    "a.sqrt()",
    "a.floor()",
    "select(a < b, a, b)",
    "select(a <= b, a, b)",
    "select(a == b, a, c)",
    "select(a != b, a, c)",
    "select(a > b, a, b)",
    "select(a >= b, a, b)",
    "Vec[T].splat(a.sum())",
    "Vec[T].splat(a.max_lane())",
    "Vec[T].splat(a.min_lane())",
    "Vec[T].splat(a[2])",
    "a.to(i32).to(f32)",
    "a.round_to_i32().to(f32)",
    "a.to(i32).bits(f32)",
    "a.bits(i32).bits(f32)",
    "a * b + c",
)


def lane_function(kind: str, operations: tuple[str, ...]) -> str:
    """One function that stores every operation's result in a row of its own."""
    lines = [
        "@multiversion",
        f"def lanes_{kind}(x: Slice[{kind}], y: Slice[{kind}], out: Slice[{kind}], s: u8) -> None:",
        f"    for i in range(0, {COUNT}, Vec[{kind}].lanes):",
        f"        a = Vec[{kind}].load(x, i)",
        f"        b = Vec[{kind}].load(y, i)",
        f"        c = Vec[{kind}].splat(x[0])",
    ]
    for row, operation in enumerate(operations):
        text = operation.replace("[T]", f"[{kind}]").replace("(T)", f"({kind})")
        lines.append(f"        ({text}).store(out, {row * COUNT} + i)")
    return "\n".join(lines)


def convert_function(element: str, small: str) -> str:
    """Loads that widen and stores that narrow."""
    return f"""
@multiversion
def convert_{small}(x: Slice[{small}], out: Slice[{small}], wide: Slice[{element}]) -> None:
    for i in range(0, {COUNT}, Vec[{element}].lanes):
        v = Vec[{element}].load(x, i)
        v.store(wide, i)
        (v + v).store(out, i)
"""


DOT = """
@multiversion
def dots(a: Slice[u8], b: Slice[i8], start: i32, out: Slice[i32]) -> None:
    acc = Vec[i32].splat(start)
    step = Vec[u8].lanes
    for i in range(0, 64, step):
        at = i // 4
        u, w = Vec[u8].load(a, i), Vec[i8].load(b, i)
        dot4(acc, u, w).store(out, at)
        dot4(acc, u, Vec[i8].broadcast4(b, i + 3)).store(out, 16 + at)
        dot4_small(acc, u & Vec[u8].splat(127), w).store(out, 32 + at)
        signed = times_sign(w, Vec[i8].load(b, 0))
        halves = dot2_i16(Vec[i16].splat(7), u & Vec[u8].splat(15), signed)
        halves.sum_pairs().store(out, 48 + at)


@multiversion
def tiles(x: Slice[f32], out: Slice[f32]) -> None:
    acc = stack(Vec[f32], 4)
    for i in range(0, 64, Vec[f32].lanes):
        for k in unroll(4):
            acc[k] = acc[k] + Vec[f32].load(x, i) * Vec[f32].splat(f32(k + 1))
    for k in unroll(4):
        out[k] = acc[k].sum()


@multiversion
def tiles_of_pairs(x: Slice[bf16], out: Slice[f32]) -> None:
    tile = stack(Vec[bf16], 2)
    for k in unroll(2):
        tile[k] = Vec[bf16].load(x, k * Vec[bf16].lanes)
    out[0] = dot2(Vec[f32].splat(0.0), tile[0], tile[1]).sum()


@multiversion
def fused(a: f32, b: f32, c: f32) -> f32:
    return fma(Vec[f32].splat(a), Vec[f32].splat(b), Vec[f32].splat(c))[0]


@multiversion
def halves(x: Slice[f32], a: Slice[bf16], b: Slice[bf16], out: Slice[f32], to: Slice[bf16]) -> None:
    step = Vec[f32].lanes
    for i in range(0, 32, step):
        u, w = Vec[bf16].load(a, 2 * i), Vec[bf16].load(b, 2 * i)
        acc = Vec[f32].load(x, i)
        dot2(acc, u, w).store(out, i)
        dot2(acc, Vec[bf16].broadcast2(a, i + 1), w).store(out, 32 + i)
        dot2(acc, u, Vec[bf16].splat(x[i])).store(out, 64 + i)
        u.even().store(out, 96 + i)
        u.odd().store(out, 128 + i)
        u.bits(u32).bits(bf16).store(to, 2 * i)
        pairs(acc, Vec[f32].load(x, 32 + i)).store(to, 64 + 2 * i)
        pack(acc, Vec[f32].load(x, 32 + i)).store(to, 128 + 2 * i)


@multiversion
def past_the_end(x: Slice[u8], at: usize) -> u8:
    return Vec[u8].load(x, at).max_lane()
"""
SOURCE = "\n\n\n".join(
    [
        HEAD,
        *(lane_function(kind, INTEGER_OPERATIONS) for kind in INTEGERS),
        lane_function("f32", FLOAT_OPERATIONS),
        *(convert_function("i32", small) for small in ("u8", "i8", "u16", "i16")),
        *(convert_function("f32", small) for small in ("f16", "bf16")),
        DOT,
    ]
)


@pytest.fixture(scope="module")
def program() -> tuple[Any, dict[str, Callable[..., Any]]]:
    module = run.module_of(SOURCE, "vectors")
    with stand_in():
        return module, run.load_module(module)


@pytest.fixture(params=range(len(simd.LEVELS)), ids=simd.LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Compiled code at one level, and CPython with as many lanes as that has."""
    if request.param not in runnable():
        pytest.skip("this machine does not have the instructions")
    before = simd.level()
    simd.set_level(request.param)
    monkeypatch.setattr(vec, "VECTOR_BYTES", VECTOR_SIZES[request.param])
    yield request.param
    simd.set_level(before)


def values(rng: random.Random, kind: Any) -> list[Any]:
    """Elements, many of them at limits."""
    if kind in (bare.f32, bare.f16, bare.bf16):
        special = (0.0, -0.0, 1.5, 2.5, -2.5, math.inf, -math.inf, math.nan, 2.0**31, 1e-40, -3e9)
        top = 60000.0 if kind is bare.f16 else 1e9
        return [
            rng.choice(special) if rng.random() < 0.3 else rng.uniform(-top, top)
            for _ in range(COUNT)
        ]
    limits = (kind.minimum, kind.maximum, 0, 1)
    return [
        rng.choice(limits) if rng.random() < 0.3 else rng.randint(kind.minimum, kind.maximum)
        for _ in range(COUNT)
    ]


def bits(data: Any) -> list[Any]:
    """Elements, so that -0.0 is not 0.0; NaNs are all alike."""
    return [
        ("nan" if v != v else struct.pack("<d", v)) if isinstance(v, float) else v for v in data
    ]


@pytest.mark.parametrize("kind", [*INTEGERS, "f32"])
def test_lanes(program: Any, level: int, kind: str) -> None:
    module, compiled = program
    element = getattr(bare, kind)
    operations = FLOAT_OPERATIONS if kind == "f32" else INTEGER_OPERATIONS
    rng = random.Random(kind)
    for _ in range(ROUNDS):
        x, y = (Slice.of(element, values(rng, element)) for _ in range(2))
        outs = [bare.static(element, COUNT * len(operations)) for _ in range(2)]
        count = rng.randrange(element.size * 8)
        getattr(module, f"lanes_{kind}")(x, y, outs[0], count)
        compiled[f"lanes_{kind}"](x, y, outs[1], count)
        for row, operation in enumerate(operations):
            part = slice(row * COUNT, (row + 1) * COUNT)
            expected, found = bits(outs[0][part]), bits(outs[1][part])
            assert expected == found, f"{operation} of {kind}, s={count}: {x[:]} {y[:]}"


@pytest.mark.parametrize("kind", ["u8", "i8", "u16", "i16", "f16", "bf16"])
def test_conversions(program: Any, level: int, kind: str) -> None:
    module, compiled = program
    element = getattr(bare, kind)
    wide = bare.f32 if kind in ("f16", "bf16") else bare.i32
    rng = random.Random(kind)
    for _ in range(ROUNDS):
        x = Slice.of(element, values(rng, element))
        outs = [(bare.static(element, COUNT), bare.static(wide, COUNT)) for _ in range(2)]
        getattr(module, f"convert_{kind}")(x, *outs[0])
        compiled[f"convert_{kind}"](x, *outs[1])
        for expected, found in zip(*outs, strict=True):
            assert bits(expected) == bits(found)


def test_dot_products_and_tiles(program: Any, level: int) -> None:
    module, compiled = program
    rng = random.Random(level)
    for _ in range(ROUNDS):
        a = Slice.of(bare.u8, values(rng, bare.u8))
        b = Slice.of(bare.i8, [*values(rng, bare.i8), 1, 2, 3, 4])
        outs = [bare.static(bare.i32, 64) for _ in range(2)]
        start = rng.randint(-(2**31), 2**31 - 1)
        module.dots(a, b, start, outs[0])
        compiled["dots"](a, b, start, outs[1])
        assert list(outs[0]) == list(outs[1])
    x = Slice.of(bare.f32, [rng.uniform(-1, 1) for _ in range(COUNT)])
    sums = [bare.static(bare.f32, 4) for _ in range(2)]
    compiled["tiles"](x, sums[1])
    with pytest.MonkeyPatch.context() as patch:  # Storage of vectors has the baseline's size.
        patch.setattr(vec, "VECTOR_BYTES", 16)
        module.tiles(x, sums[0])
    assert list(sums[0]) == pytest.approx(list(sums[1]), rel=0 if level == 0 else 1e-4)


def test_tiles_of_pairs(program: Any, level: int) -> None:
    module, compiled = program
    x = Slice.of(bare.bf16, [i % 7 - 3 for i in range(64)])
    count = vec.VECTOR_BYTES // 2
    out = bare.static(bare.f32, 1)
    compiled["tiles_of_pairs"](x, out)
    assert out[0] == sum(x[i] * x[count + i] for i in range(count))
    if level == 0:
        module.tiles_of_pairs(x, out)
        assert out[0] == sum(x[i] * x[count + i] for i in range(count))


def test_pairs_of_bf16(program: Any, level: int) -> None:
    """Subnormal numbers apart, which vdpbf16ps takes for 0, every level gives the same bits."""
    module, compiled = program
    rng = random.Random(level)

    def normal(kind: Any, top: float) -> Any:
        special = (0.0, -0.0, 1.5, math.inf, -math.inf, math.nan)
        found = Slice.of(kind, [0.0] * COUNT)
        for at in range(COUNT):
            spread = rng.uniform(0.5, 1) * 2.0 ** rng.uniform(-top, top) * rng.choice((-1, 1))
            found[at] = rng.choice(special) if rng.random() < 0.05 else spread
        return found

    for _ in range(ROUNDS):
        x = normal(bare.f32, 90)
        a, b = normal(bare.bf16, 45), normal(bare.bf16, 45)
        x[3], x[7] = 1e-40, -1e-40  # Conversions give 0 at every level.
        outs = [(bare.static(bare.f32, 160), bare.static(bare.bf16, 192)) for _ in range(2)]
        module.halves(x, a, b, *outs[0])
        compiled["halves"](x, a, b, *outs[1])
        assert bits(outs[0][1]) == bits(outs[1][1])
        for lane, (expected, found) in enumerate(zip(*(bits(o[0]) for o in outs), strict=True)):
            if lane % 32 not in (3, 7):
                assert expected == found, (lane, x[:], a[:], b[:])


def test_fma_rounds_once_where_there_is_the_instruction(program: Any, level: int) -> None:
    _, compiled = program
    a, c = 1 + 2.0**-12, -(1 + 2.0**-11)
    assert compiled["fused"](a, a, c) == (0.0 if level == 0 else 2.0**-24)


@pytest.mark.parametrize("at", [1, COUNT - 1, 2**63 - 1])
def test_loads_stay_inside(program: Any, level: int, at: int) -> None:
    module, compiled = program
    data = Slice.from_bytes(bytes(vec.VECTOR_BYTES))
    for function in (module.past_the_end, compiled["past_the_end"]):
        assert function(data, 0) == 0
        with pytest.raises(Trap):
            function(data, at)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("return (a << 8).max_lane()", "range"),
        ("return a[99]", "range"),
        ("return a.sqrt().max_lane()", "type"),
        ("return select(a < a, a, b).max_lane()", "type"),
        ("return (a + b).max_lane()", "common-type"),
        ("return (a + 1).max_lane()", "common-type"),
        ("return Vec[u8].broadcast4(w, 0).max_lane()", "type"),
        ("return Vec[bf16].broadcast2(w, 0).max_lane()", "type"),
        ("return a.even()[0]", "type"),
        ("return dot2(a, a, a)[0]", "type"),
        ("return (h + h).bits(u8)[0]", "subset"),
        ("return (-h).bits(u8)[0]", "subset"),
        ("return h.abs().bits(u8)[0]", "subset"),
        ("return select(h < h, a, a)[0]", "subset"),
        ("return u8(h[0])", "subset"),
        ("return select((a < a) ^ (a < a), a, a).max_lane()", "subset"),
    ],
)
def test_refused(line: str, rule: str) -> None:
    text = f"{HEAD}\n\n@multiversion\ndef f(w: Slice[u32]) -> u8:\n"
    text += "    a, b, h = Vec[u8].splat(1), Vec[i8].splat(1), Vec[bf16].splat(1.0)\n    " + line
    assert {found for found, _ in run.errors_of(text)} == {rule}
