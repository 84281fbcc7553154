"""Helpers that compiled code calls, against CPython's own operations."""

import math
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bare.testing import implementations

impl = implementations("bare.runtime")

SHORT = st.binary(max_size=12).map(lambda data: bytes(byte % 3 for byte in data))


def f32_bits(value: float) -> int:
    return int.from_bytes(struct.pack("<f", value), "little")


def f16_bits(value: float) -> int:
    try:
        return int.from_bytes(struct.pack("<e", value), "little")
    except OverflowError:
        return 0x7C00 if value > 0 else 0xFC00


def test_every_f16_widens_exactly_and_comes_back(impl: Any) -> None:
    for half in range(1 << 16):
        (expected,) = struct.unpack("<e", half.to_bytes(2, "little"))
        wide = impl.f16_to_f32_bits(half)
        back = impl.f32_to_f16_bits(wide)
        if math.isnan(expected):
            assert wide & 0x7FC0_0000 == 0x7FC0_0000, hex(half)  # Quiet.
            assert back == half | 0x0200, hex(half)
        else:
            assert wide == f32_bits(expected), hex(half)
            assert back == half, hex(half)


def test_rounding_at_every_f16_boundary(impl: Any) -> None:
    """Between neighbours lie: just below the middle, the middle (a tie), just above it."""
    for half in range(0x7BFF):
        low = impl.f16_to_f32_bits(half)
        high = impl.f16_to_f32_bits(half + 1)
        (a,) = struct.unpack("<f", low.to_bytes(4, "little"))
        (b,) = struct.unpack("<f", high.to_bytes(4, "little"))
        middle = f32_bits((a + b) / 2)
        even = half if half % 2 == 0 else half + 1
        assert impl.f32_to_f16_bits(middle) == even, hex(half)
        assert impl.f32_to_f16_bits(middle - 1) == half, hex(half)
        assert impl.f32_to_f16_bits(middle + 1) == half + 1, hex(half)


@given(st.floats(width=32, allow_nan=False))
def test_f32_narrows_as_struct_does(impl: Any, value: float) -> None:
    assert impl.f32_to_f16_bits(f32_bits(value)) == f16_bits(value)


@given(st.integers(0, 2**32 - 1))
def test_bf16_is_the_nearest_upper_half(impl: Any, bits: int) -> None:
    narrow = impl.f32_to_bf16_bits(bits)
    (value,) = struct.unpack("<f", bits.to_bytes(4, "little"))
    (back,) = struct.unpack("<f", impl.bf16_to_f32_bits(narrow).to_bytes(4, "little"))
    if math.isnan(value):
        assert math.isnan(back)
    elif narrow & 0x7FFF < 0x7F80:
        below, above = bits & 0xFFFF_0000, (bits & 0xFFFF_0000) + 0x1_0000
        nearest = min((below, above), key=lambda at: (abs(at - bits), at >> 16 & 1))
        assert narrow == nearest >> 16


@given(haystack=SHORT, needle=st.binary(max_size=3), start=st.integers(0, 14))
def test_find(impl: Any, haystack: bytes, needle: bytes, start: int) -> None:
    assert impl.bytes_find(haystack, needle, start) == haystack.find(needle, start)


@given(haystack=SHORT, cut=st.tuples(st.integers(0, 12), st.integers(0, 12)))
def test_find_of_a_part(impl: Any, haystack: bytes, cut: tuple[int, int]) -> None:
    needle = haystack[min(cut) : max(cut)]
    assert impl.bytes_find(haystack, needle, 0) == haystack.find(needle)


@given(left=SHORT, right=SHORT)
def test_comparisons(impl: Any, left: bytes, right: bytes) -> None:
    assert impl.bytes_equal(left, right) == (left == right)
    assert impl.bytes_equal(left, bytes(left))
    assert impl.bytes_startswith(left, right) == left.startswith(right)
    assert impl.bytes_endswith(left, right) == left.endswith(right)
    assert impl.bytes_startswith(left + right, left)
    assert impl.bytes_endswith(left + right, right)
