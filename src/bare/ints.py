"""Numbers: width names, and the operations that ask for something other than exactness.

To a type checker the widths are `int` and `float`; `bare check` enforces them.
"""

import struct
from typing import TYPE_CHECKING, Any

from bare.descriptors import FLOATS, INTEGERS, BigEndianType, FloatType

if TYPE_CHECKING:
    u8 = int
    u16 = int
    u32 = int
    u64 = int
    i8 = int
    i16 = int
    i32 = int
    i64 = int
    usize = int
    be16 = int
    be32 = int
    be64 = int
    f16 = float
    bf16 = float
    f32 = float
    f64 = float
else:
    u8, u16, u32, u64 = (INTEGERS[name] for name in ("u8", "u16", "u32", "u64"))
    i8, i16, i32, i64 = (INTEGERS[name] for name in ("i8", "i16", "i32", "i64"))
    usize = INTEGERS["usize"]
    be16 = BigEndianType("be16", u16)
    be32 = BigEndianType("be32", u32)
    be64 = BigEndianType("be64", u64)
    f16, bf16, f32, f64 = (FLOATS[name] for name in ("f16", "bf16", "f32", "f64"))


def wrap(kind: type[int], value: int) -> int:
    """Give `value` modulo 2**bits, in the range of `kind` (usize: modulo 2**63)."""
    target: Any = kind
    value &= target.mask
    return value - target.mask - 1 if value > target.maximum else value


def saturate(kind: type[int], value: int) -> int:
    """Give the nearest value that `kind` can hold."""
    target: Any = kind
    return min(max(value, target.minimum), target.maximum)  # type: ignore[no-any-return]


def bitcast[T: (int, float)](kind: type[T], value: float) -> T:
    """Reinterpret the bits of a number of the same width: u32/i32 <-> f32, u64/i64 <-> f64."""
    target: Any = kind
    if isinstance(target, FloatType):
        letter = {4: "I", 8: "Q"}[target.size]
        raw = struct.pack("<" + letter, int(value) & ((1 << target.bits) - 1))
    elif isinstance(value, float):
        raw = _pack_float(value, target.size)
    else:
        raw = (int(value) & ((1 << target.bits) - 1)).to_bytes(target.size, "little")
    return struct.unpack("<" + target.format, raw)[0]  # type: ignore[no-any-return]


def _pack_float(value: float, size: int) -> bytes:
    try:
        return struct.pack("<f" if size == 4 else "<d", value)
    except OverflowError:
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))
