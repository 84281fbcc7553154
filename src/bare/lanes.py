"""Arithmetic of single lanes under CPython, and the bytes that lanes are."""

import ctypes
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

from bare.descriptors import FLOATS

F32_EXPONENT = 0x7F80_0000
F32_SIGN = 0x8000_0000


def round_f32(value: float) -> float:
    """Round to binary32."""
    return ctypes.c_float(value).value


def f32_bits(value: float) -> int:
    """See a number, rounded to binary32, as an integer."""
    return ctypes.c_uint32.from_buffer(ctypes.c_float(value)).value


def f32_of_bits(bits: int) -> float:
    """See 32 bits as a number."""
    return ctypes.c_float.from_buffer(ctypes.c_uint32(bits)).value


def round_bf16(value: float) -> float:
    """Round to bf16, ties to even; subnormal numbers become 0, as the instruction has it."""
    from bare.runtime import f32_to_bf16_bits

    bits = f32_bits(value)
    if not bits & F32_EXPONENT:
        bits &= F32_SIGN
    return f32_of_bits(f32_to_bf16_bits(bits) << 16)


def to_bytes(element: Any, lanes: Sequence[Any]) -> bytes:
    """Lay lanes out as in memory."""
    if element is FLOATS["bf16"]:
        return struct.pack(f"<{len(lanes)}H", *(f32_bits(lane) >> 16 for lane in lanes))
    return struct.pack(f"<{len(lanes)}{element.format}", *lanes)


def of_bytes(element: Any, raw: bytes | bytearray | memoryview) -> tuple[Any, ...]:
    """Read lanes as they are in memory."""
    count = len(raw) // element.size
    if element is FLOATS["bf16"]:
        return tuple(f32_of_bits(half << 16) for half in struct.unpack(f"<{count}H", raw))
    return struct.unpack(f"<{count}{element.format}", raw)


def floor(a: float) -> float:
    """Largest whole number not above; -0.0, infinities and NaN stay."""
    return math.copysign(math.floor(a), a) if math.isfinite(a) else a


def divide(a: float, b: float) -> float:
    """IEEE division: nothing traps."""
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def to_i32(value: float, convert: Callable[[float], int]) -> int:
    """Convert as cvtps2dq does: what does not fit becomes the lowest integer."""
    if not math.isfinite(value):
        return -(1 << 31)
    whole = convert(value)
    return whole if -(1 << 31) <= whole < 1 << 31 else -(1 << 31)
