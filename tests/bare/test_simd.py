"""Vector lanes against plain integers and NumPy's float32."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare import Slice, Trap, bf16, f16, f32, i8, i16, i32, stack, static, u8, u16, u32, u64, wrap
from bare.simd import (
    Level,
    Vec,
    dispatch,
    dot2_i16,
    dot4,
    dot4_small,
    fma,
    level,
    level_name,
    multiversion,
    select,
    set_level,
    times_sign,
    variant,
    vector_bytes,
)

INTEGER_TYPES: Any = [u8, i8, u16, i16, u32, i32]
FLOATS = st.floats(width=32, allow_nan=False, min_value=-(2.0**60), max_value=2.0**60)


def lanes(vector: Any) -> list[Any]:
    return [vector[lane] for lane in range(len(vector._lanes))]


def filled(kind: Any, values: list[Any]) -> Any:
    return Vec[kind].load(Slice.of(kind, values), 0)


@pytest.mark.parametrize("kind", INTEGER_TYPES)
@given(data=st.data())
def test_integer_lanes_wrap(kind: Any, data: st.DataObject) -> None:
    count = Vec[kind].lanes
    assert count == 16 // kind.size
    values = st.lists(st.integers(kind.minimum, kind.maximum), min_size=count, max_size=count)
    left, right = data.draw(values), data.draw(values)
    a, b = filled(kind, left), filled(kind, right)
    pairs = list(zip(left, right, strict=True))
    operations: list[Callable[[Any, Any], Any]] = [
        operator.add,
        operator.sub,
        operator.mul,
        operator.and_,
        operator.or_,
        operator.xor,
    ]
    for operation in operations:
        assert lanes(operation(a, b)) == [wrap(kind, operation(x, y)) for x, y in pairs]
    assert lanes(a << 3) == [wrap(kind, x << 3) for x in left]
    assert lanes(a >> 3) == [x >> 3 for x in left]
    assert lanes(a.min(b)) == [min(pair) for pair in pairs]
    assert lanes(a.max(b)) == [max(pair) for pair in pairs]
    assert lanes(select(a < b, a, b)) == [min(pair) for pair in pairs]
    assert lanes(select((a == b) | (a > b), a, b)) == [max(pair) for pair in pairs]
    assert lanes(select(~(a <= b) & (a >= b), a, b)) == [max(pair) for pair in pairs]
    assert a.sum() == wrap(kind, sum(left))
    assert (a.max_lane(), a.min_lane()) == (max(left), min(left))


@given(st.lists(FLOATS, min_size=12, max_size=12))
def test_float_lanes_round_as_float32(values: list[float]) -> None:
    x, y, z = (np.array(values[at : at + 4], np.float32) for at in (0, 4, 8))
    a, b, c = (filled(f32, values[at : at + 4]) for at in (0, 4, 8))
    with np.errstate(all="ignore"):
        assert lanes(a + b) == (x + y).tolist()
        assert lanes(a * b) == (x * y).tolist()
        assert lanes(fma(a, b, c)) == (x * y + z).tolist()
        assert lanes(a.abs().sqrt()) == np.sqrt(np.abs(x)).tolist()
        quotient = (x / y).tolist()
    for ours, theirs in zip(lanes(a / b), quotient, strict=True):
        assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))
    assert lanes(a.floor()) == np.floor(x).tolist()
    assert a.sum() == float((x[0] + x[2]) + (x[1] + x[3]))


@given(
    a=st.lists(st.integers(0, 255), min_size=16, max_size=16),
    b=st.lists(st.integers(-128, 127), min_size=16, max_size=16),
)
def test_dot4(a: list[int], b: list[int]) -> None:
    acc = Vec[i32].splat(5)
    expected = [
        5 + sum(x * y for x, y in zip(a[at : at + 4], b[at : at + 4], strict=True))
        for at in range(0, 16, 4)
    ]
    assert lanes(dot4(acc, filled(u8, a), filled(i8, b))) == expected
    products = [x * y for x, y in zip(a, b, strict=True)]
    sums = [x + y for x, y in zip(products[::2], products[1::2], strict=True)]
    if all(-32768 <= pair <= 32767 for pair in sums):
        assert lanes(dot4_small(acc, filled(u8, a), filled(i8, b))) == expected
    else:
        with pytest.raises(Trap):
            dot4_small(acc, filled(u8, a), filled(i8, b))


@given(
    a=st.lists(st.integers(0, 15), min_size=16, max_size=16),
    b=st.lists(st.integers(-128, 127), min_size=16, max_size=16),
)
def test_dot2_i16_and_times_sign(a: list[int], b: list[int]) -> None:
    halves = dot2_i16(Vec[i16].splat(5), filled(u8, a), filled(i8, b))
    sums = [5 + a[at] * b[at] + a[at + 1] * b[at + 1] for at in range(0, 16, 2)]
    assert lanes(halves) == sums
    assert lanes(halves.sum_pairs()) == [x + y for x, y in zip(sums[::2], sums[1::2], strict=True)]
    signed = lanes(times_sign(filled(i8, a), filled(i8, b)))
    assert signed == [x if y > 0 else -x if y < 0 else 0 for x, y in zip(a, b, strict=True)]
    with pytest.raises(Trap):
        dot2_i16(Vec[i16].splat(32767), filled(u8, [1] * 16), filled(i8, [1] * 16))


def test_loads_widen_and_stores_narrow() -> None:
    assert lanes(Vec[f32].load(Slice.of(f16, [0.5] * 5), 1)) == [0.5] * 4
    assert lanes(Vec[i32].load(Slice.of(i8, range(-3, 5)), 1)) == [-2, -1, 0, 1]
    assert lanes(Vec[i32].load(Slice.of(u16, [65535] * 4), 0)) == [65535] * 4
    out = static(bf16, 5)
    Vec[f32].splat(3.14159).store(out, 1)
    assert list(out) == [0.0, *[3.140625] * 4]
    small = static(i8, 4)
    Vec[i32].splat(0x1FF).store(small, 0)
    assert list(small) == [-1] * 4
    with pytest.raises(Trap):
        Vec[f32].load(static(f32, 4), 1)
    with pytest.raises(TypeError):
        Vec[f32].load(static(u8, 4), 0)


def test_conversions() -> None:
    values = filled(f32, [1.5, 2.5, -1.5, 3e9])
    assert lanes(values.round_to_i32()) == [2, 2, -2, -(2**31)]
    assert lanes(values.to(i32)) == [1, 2, -1, -(2**31)]
    assert lanes(Vec[i32].splat(16777217).to(f32)) == [16777216.0] * 4
    assert lanes(Vec[f32].splat(1.0).bits(u32)) == [0x3F800000] * 4
    assert lanes(Vec[u32].splat(0x04030201).bits(u8)) == [1, 2, 3, 4] * 4
    data = Slice.of(u8, [0, 255, 1, 2, 3])
    assert lanes(Vec[i8].broadcast4(data, 1)) == [-1, 1, 2, 3] * 4


def test_tiles() -> None:
    tile = stack(Vec[i32], 2)
    assert lanes(tile[1]) == [0] * 4
    tile[1] = tile[1] + Vec[i32].splat(-3)
    assert tile[1].sum() == -12
    assert tile[0].sum() == 0


def test_widths_without_vectors_are_refused() -> None:
    with pytest.raises(TypeError, match="no vectors of u64"):
        Vec[u64]
    with pytest.raises(Trap):
        Vec[u8].splat(256)


def test_marks() -> None:
    @multiversion
    def plain(x: u32) -> u32:
        return x

    @variant(plain, needs="avx512")
    def wide(x: u32) -> u32:
        return x

    assert plain.__dict__ == {
        "__bare_multiversion__": True,
        "__bare_variants__": {"avx512": wide},
    }
    with pytest.raises(ValueError, match="baseline, avx2, avxvnni, avx512, avx512bf16"):
        variant(plain, needs="sse9")


def test_level() -> None:
    try:
        set_level(Level.AVX512)
        assert (level(), level_name(), vector_bytes()) == (3, b"avx512", 64)
        with pytest.raises(Trap):
            set_level(5)
    finally:
        dispatch.level = 0
