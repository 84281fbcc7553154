"""Integer and float widths: conversion, wrapping, saturation, bits."""

import enum
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare import Trap, bitcast, descriptors, f32, f64, i8, i32, i64, saturate, u8, u32, usize, wrap
from bare import math as bare_math

INTEGERS = st.integers(-(2**70), 2**70)
TYPES = st.sampled_from([kind for name, kind in descriptors.INTEGERS.items() if name != "usize"])


@given(kind=TYPES, value=INTEGERS)
def test_wrap_is_reduction_modulo_the_width(kind: Any, value: int) -> None:
    wrapped = wrap(kind, value)
    assert kind.minimum <= wrapped <= kind.maximum
    assert (wrapped - value) % 2**kind.bits == 0


@given(kind=TYPES, value=INTEGERS)
def test_saturate_is_the_nearest_value(kind: Any, value: int) -> None:
    nearest = saturate(kind, value)
    assert kind.minimum <= nearest <= kind.maximum
    if kind.minimum <= value <= kind.maximum:
        assert nearest == value


@given(kind=TYPES, value=INTEGERS)
def test_conversion_is_exact_or_traps(kind: Any, value: int) -> None:
    if kind.minimum <= value <= kind.maximum:
        assert kind(value) == value
    else:
        with pytest.raises(Trap):
            kind(value)


def test_usize_has_63_bits() -> None:
    assert usize(2**63 - 1) == 2**63 - 1
    assert wrap(usize, -1) == 2**63 - 1
    with pytest.raises(Trap):
        usize(2**63)


def test_floats_truncate_towards_zero() -> None:
    assert i32(-1.9) == -1
    assert i64(1e18) == 10**18
    for bad in (math.nan, math.inf, 1e19):
        with pytest.raises(Trap):
            i64(bad)


def test_enum_members_convert() -> None:
    class Port(enum.Enum):
        COM1 = 0x3F8

    with pytest.raises(Trap, match="fit in u8"):
        u8(Port.COM1)  # type: ignore[call-overload]


def test_trap_names_the_place() -> None:
    with pytest.raises(Trap) as caught:
        u8(256)
    assert caught.value.file == __file__
    assert caught.value.line == test_trap_names_the_place.__code__.co_firstlineno + 2
    assert caught.value.column == 9


@given(value=st.integers(0, 2**32 - 1))
def test_bitcast_round_trips(value: int) -> None:
    as_float = bitcast(f32, value)
    if not math.isnan(as_float):
        assert bitcast(u32, as_float) == value
    assert struct.pack("<i", bitcast(i32, value)) == struct.pack("<I", value)


def test_bitcast_of_doubles() -> None:
    assert bitcast(i64, -0.0) == -(2**63)
    assert bitcast(f64, 0x3FF << 52) == 1.0
    assert bitcast(i8, 255) == -1


def test_f32_rounds() -> None:
    assert f32(0.1) == struct.unpack("<f", struct.pack("<f", 0.1))[0]
    assert f32(1e39) == math.inf


def test_math() -> None:
    assert bare_math.sqrt(9.0) == 3.0
    assert math.isnan(bare_math.sqrt(-1.0))
    assert bare_math.floor(-1.5) == -2.0
    assert bare_math.floor(math.inf) == math.inf
    assert bare_math.fabs(-2.0) == 2.0
