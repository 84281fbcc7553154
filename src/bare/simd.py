"""Vectors: one source for every instruction-set level.

Operations between vectors that the lanes of one do not explain (bare/vec.py). Under CPython `fma`
rounds twice, as the baseline level does (higher levels fuse).
"""

from bare.ints import bf16, f32, i8, i16, i32, u8
from bare.levels import (
    LEVEL_NAMES,
    LEVELS,
    Level,
    dispatch,
    exact_dot4,
    level,
    level_name,
    multiversion,
    native_dot2,
    set_level,
    variant,
    vector_bytes,
)
from bare.trap import trap
from bare.vec import Mask, Vec, VecType

__all__ = [
    "LEVELS",
    "LEVEL_NAMES",
    "Level",
    "Mask",
    "Vec",
    "dispatch",
    "dot2",
    "dot2_i16",
    "dot4",
    "dot4_small",
    "exact_dot4",
    "fma",
    "level",
    "level_name",
    "multiversion",
    "native_dot2",
    "pack",
    "pairs",
    "select",
    "set_level",
    "times_sign",
    "variant",
    "vector_bytes",
]


def select[T](mask: Mask, a: Vec[T], b: Vec[T]) -> Vec[T]:
    """Take lanes of `a` where the mask is set, else of `b`."""
    chosen = zip(mask.lanes, a._pairs(b), strict=True)
    return Vec(a.element, tuple(x if bit else y for bit, (x, y) in chosen))


def fma(a: Vec[float], b: Vec[float], c: Vec[float]) -> Vec[float]:
    """Multiply and add; one rounding where the level has the instruction, two at the baseline."""
    return a * b + c


def dot4(acc: Vec[int], a: Vec[int], b: Vec[int]) -> Vec[int]:
    """Add to each i32 lane the four products of its u8 lanes of `a` and i8 lanes of `b`."""
    if acc.element is not i32 or a.element is not u8 or b.element is not i8:
        raise TypeError("dot4 takes Vec[i32], Vec[u8] and Vec[i8]")
    lanes = zip(a._lanes, b._lanes, strict=True)
    products = [x * y for x, y in lanes]
    return VecType(i32).of(
        lane + sum(products[4 * at : 4 * at + 4]) for at, lane in enumerate(acc._lanes)
    )


def dot4_small(acc: Vec[int], a: Vec[int], b: Vec[int]) -> Vec[int]:
    """`dot4` where sums of two products fit 16 bits: shorter code below avx512.

    So it is where a <= 127, and where a <= 128 and b >= -127.
    """
    products = [x * y for x, y in zip(a._lanes, b._lanes, strict=True)]
    sums = [x + y for x, y in zip(products[::2], products[1::2], strict=True)]
    if min(sums) < -32768 or max(sums) > 32767:
        trap("dot4_small: a sum of two products does not fit 16 bits")
    return dot4(acc, a, b)


def dot2_i16(acc: Vec[int], a: Vec[int], b: Vec[int]) -> Vec[int]:
    """Add to each i16 lane the two products of its u8 lanes of `a` and i8 lanes of `b`.

    Sums must fit 16 bits, those of the two products too. For several products before `sum_pairs`.
    """
    if acc.element is not i16 or a.element is not u8 or b.element is not i8:
        raise TypeError("dot2_i16 takes Vec[i16], Vec[u8] and Vec[i8]")
    products = [x * y for x, y in zip(a._lanes, b._lanes, strict=True)]
    sums = [x + y for x, y in zip(products[::2], products[1::2], strict=True)]
    totals = [lane + two for lane, two in zip(acc._lanes, sums, strict=True)]
    if min(*sums, *totals) < -32768 or max(*sums, *totals) > 32767:
        trap("dot2_i16: a sum of products does not fit 16 bits")
    return VecType(i16).of(totals)


def times_sign(a: Vec[int], signs: Vec[int]) -> Vec[int]:
    """Each i8 lane of `a`: negated where that of `signs` is negative, 0 where it is 0."""
    if a.element is not i8 or signs.element is not i8:
        raise TypeError("times_sign takes Vec[i8] and Vec[i8]")
    lanes = zip(a._lanes, signs._lanes, strict=True)
    return VecType(i8).of(x * ((sign > 0) - (sign < 0)) for x, sign in lanes)


def pairs(even: Vec[float], odd: Vec[float]) -> Vec[float]:
    """Round f32 lanes to bf16 and pair them: even[0], odd[0], even[1], odd[1], ..."""
    return VecType(bf16).of(lane for both in even._pairs(odd) for lane in both)


def pack(low: Vec[float], high: Vec[float]) -> Vec[float]:
    """Round f32 lanes to bf16: those of `low`, then those of `high`."""
    return VecType(bf16).of(low._lanes + high._lanes)


def dot2(acc: Vec[float], a: Vec[float], b: Vec[float]) -> Vec[float]:
    """Add to each f32 the products of its two bf16 lanes: the odd ones', then the even ones'.

    A product of two bf16 is exact in f32, so that every level gives the same bits unless a number
    or a product is subnormal (vdpbf16ps takes them for 0) or a product overflows.
    """
    if acc.element is not f32 or a.element is not bf16 or b.element is not bf16:
        raise TypeError("dot2 takes Vec[f32], Vec[bf16] and Vec[bf16]")
    return fma(a.even(), b.even(), fma(a.odd(), b.odd(), acc))
