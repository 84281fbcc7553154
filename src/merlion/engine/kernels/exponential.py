"""e**x and 2**x for a vector of f32: a power of two times a polynomial.

`exp_lanes` (Cephes expf: reduction by ln 2 in two parts, degree 5): relative error below 4e-7 for
-87.3 <= x <= 88.3; below that range the result is 0, above it the value at 88.3.
`merlion.engine.elementary.exp_f32` is the definition.

`exp2_lanes`: relative error below 4e-6 for -126 <= x <= 127, exact for whole numbers; at -127 and
below the result is 0. It is for weights, which are rounded to bf16, and takes half the
operations.
"""

from bare import f32, i32
from bare.simd import Vec, fma, select

LOWEST = -87.33654
HIGHEST = 88.3
LOG2_E = 1.44269504088896341
LN2_HIGH = 0.693359375
LN2_LOW = -2.12194440e-4
EXP2_LOWEST = -127.0
EXPONENT_BIAS = 127
MANTISSA_BITS = 23


def exp_lanes(x: Vec[f32]) -> Vec[f32]:
    """e**x in every lane."""
    bounded = x.max(Vec[f32].splat(LOWEST)).min(Vec[f32].splat(HIGHEST))
    exponent = (bounded * Vec[f32].splat(LOG2_E)).round_to_i32()
    n = exponent.to(f32)
    r = fma(n, Vec[f32].splat(-LN2_HIGH), bounded)
    r = fma(n, Vec[f32].splat(-LN2_LOW), r)
    p = Vec[f32].splat(1.9875691500e-4)
    p = fma(p, r, Vec[f32].splat(1.3981999507e-3))
    p = fma(p, r, Vec[f32].splat(8.3334519073e-3))
    p = fma(p, r, Vec[f32].splat(4.1665795894e-2))
    p = fma(p, r, Vec[f32].splat(1.6666665459e-1))
    p = fma(p, r, Vec[f32].splat(5.0000001201e-1))
    p = fma(p, r * r, r + Vec[f32].splat(1.0))
    power = ((exponent + Vec[i32].splat(EXPONENT_BIAS)) << MANTISSA_BITS).bits(f32)
    return select(x < Vec[f32].splat(LOWEST), Vec[f32].splat(0.0), p * power)


def exp2_lanes(x: Vec[f32]) -> Vec[f32]:
    """2**x in every lane, for x <= 127."""
    bounded = x.max(Vec[f32].splat(EXP2_LOWEST))
    exponent = bounded.round_to_i32()
    r = bounded - exponent.to(f32)
    p = Vec[f32].splat(9.5828524641e-3)  # Least relative error on [-0.5, 0.5] with p(0) = 1.
    p = fma(p, r, Vec[f32].splat(5.5906425505e-2))
    p = fma(p, r, Vec[f32].splat(2.4024098629e-1))
    p = fma(p, r, Vec[f32].splat(6.9312419325e-1))
    p = fma(p, r, Vec[f32].splat(1.0))
    return (p.bits(i32) + (exponent << MANTISSA_BITS)).bits(f32)
