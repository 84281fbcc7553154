"""Elementary functions against Python's math, in units in the last place."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bare.testing import implementations

impl = implementations("merlion.engine.elementary")

finite = st.floats(allow_nan=False, allow_infinity=False)


def ulps(found: float, wanted: float) -> float:
    return abs(found - wanted) / math.ulp(wanted)


@settings(max_examples=300)
@given(x=st.floats(-745.0, 709.7) | st.floats(-1.0, 1.0))
def test_exp(impl: Any, x: float) -> None:
    assert ulps(impl.exp(x), math.exp(x)) <= 1.5


@settings(max_examples=300)
@given(x=st.floats(min_value=5e-324, max_value=1.7e308) | st.floats(0.5, 2.0))
def test_log(impl: Any, x: float) -> None:
    assert ulps(impl.log(x), math.log(x)) <= 1.5


@pytest.mark.parametrize("name", ["sin", "cos"])
@settings(max_examples=300)
@given(x=st.floats(-1e6, 1e6) | st.floats(-10, 10))
def test_sin_cos(impl: Any, name: str, x: float) -> None:
    function: Callable[[float], float] = getattr(impl, name)
    assert ulps(function(x), getattr(math, name)(x)) <= 1.5


@settings(max_examples=300)
@given(x=st.floats(1e-3, 1e6), y=st.floats(-20.0, 20.0))
def test_pow(impl: Any, x: float, y: float) -> None:
    assert ulps(impl.pow(x, y), x**y) <= 2.5 + 3 * abs(y * math.log(x))


@settings(max_examples=100)
@given(x=st.floats(-103.0, 88.5, width=32))
def test_exp_f32(impl: Any, x: float) -> None:
    wanted = math.exp(x)
    assert abs(impl.exp_f32(x) - wanted) <= max(wanted * 2.0**-23, 2.0**-149)


def test_special_values(impl: Any) -> None:
    assert impl.exp(0.0) == 1.0
    assert impl.exp(710.0) == math.inf
    assert impl.exp(-746.0) == 0.0
    assert impl.exp(math.inf) == math.inf
    assert impl.exp(-math.inf) == 0.0
    assert math.isnan(impl.exp(math.nan))
    assert impl.log(1.0) == 0.0
    assert impl.log(0.0) == -math.inf
    assert math.isnan(impl.log(-1.0))
    assert impl.log(math.inf) == math.inf
    assert impl.sin(0.0) == 0.0
    assert impl.cos(0.0) == 1.0
    assert impl.pow(5.0, 0.0) == 1.0
    assert impl.pow(0.0, 2.0) == 0.0
    assert impl.exp_f32(89.0) == math.inf


def test_rope_frequencies(impl: Any) -> None:
    """What RoPE asks: base ** (-2 i / dimensions), to the last bits."""
    for i in range(32):
        exponent = -2.0 * i / 64.0
        assert ulps(impl.pow(100_000.0, exponent), 100_000.0**exponent) <= 12
