"""Elementary functions: exp, log, sin, cos, pow, for f64; exp also for f32.

There is no libm under the image, and results must not depend on the machine's one, so these are
our own. Algorithms and coefficients are those of Sun's fdlibm 5.3 (e_exp.c, e_log.c, k_sin.c,
k_cos.c, e_rem_pio2.c). Only IEEE + - * / are used, each rounded once, so every machine gives the
same bits.

Stated errors, in units in the last place of the result, held by tests/engine/test_elementary.py:

    exp, log        1 ulp
    sin, cos        1 ulp for |x| <= ANGLE_MAX
    pow             (2 + 3 |y log x|) ulp, x > 0
    exp_f32         1 ulp of f32 (computed in f64, rounded once)
"""

from bare import bitcast, f32, f64, i64, u64

INFINITY = float("inf")
NAN = float("nan")

LN2_HIGH = 6.93147180369123816490e-01  # 32 bits: times an exponent it is exact.
LN2_LOW = 1.90821492927058770002e-10
INVERSE_LN2 = 1.44269504088896338700e00
EXP_ARGUMENT_MAX = 7.09782712893383973096e02
EXP_ARGUMENT_MIN = -7.45133219101941108420e02
EXP_NORMAL_MIN = -7.08e02  # Below, the result may be subnormal and is scaled twice.
EXP_F32_ARGUMENT_MAX = 88.72283935546875  # The largest f32 whose exp is a finite f32.

TWO_54 = 18014398509481984.0
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD  # sqrt(1/2): log reduces to [sqrt(1/2), sqrt(2)).
MANTISSA_MASK = (1 << 52) - 1
EXPONENT_BIAS = 1023
MIN_NORMAL = 2.2250738585072014e-308

ANGLE_MAX = 1_000_000.0  # Above, three parts of pi/2 no longer reduce exactly enough.
INVERSE_HALF_PI = 6.36619772367581382433e-01
HALF_PI_1 = 1.57079632673412561417e00  # 33 bits each.
HALF_PI_2 = 6.07710050630396597660e-11
HALF_PI_2_TAIL = 2.02226624879595063154e-21


def exp(x: f64) -> f64:
    """e**x. Overflows to infinity, underflows to zero through the subnormals."""
    if x != x:
        return x
    if x > EXP_ARGUMENT_MAX:
        return INFINITY
    if x < EXP_ARGUMENT_MIN:
        return 0.0
    half = 0.5 if x >= 0.0 else -0.5
    exponent = i64(x * INVERSE_LN2 + half)
    scale = f64(exponent)
    high = x - scale * LN2_HIGH
    low = scale * LN2_LOW
    r = high - low
    t = r * r
    p = 4.13813679705723846039e-08
    p = -1.65339022054652515390e-06 + t * p
    p = 6.61375632143793436117e-05 + t * p
    p = -2.77777777770155933842e-03 + t * p
    p = 1.66666666666666019037e-01 + t * p
    c = r - t * p
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    if x < EXP_NORMAL_MIN:
        return y * power_of_two(exponent + 54) * (1.0 / TWO_54)
    if exponent > 1023:
        return y * 2.0 * power_of_two(exponent - 1)
    return y * power_of_two(exponent)


def power_of_two(exponent: i64) -> f64:
    """2**exponent for a normal result: -1022 <= exponent <= 1023."""
    return bitcast(f64, u64(exponent + EXPONENT_BIAS) << 52)


def log(x: f64) -> f64:
    """The natural logarithm. log(0) is -infinity, of a negative number NaN."""
    if x != x or x == INFINITY:
        return x
    if x == 0.0:
        return -INFINITY
    if x < 0.0:
        return NAN
    exponent: i64 = 0
    if x < MIN_NORMAL:
        x = x * TWO_54
        exponent = -54
    bits = bitcast(u64, x)
    exponent += i64(bits >> 52) - EXPONENT_BIAS
    mantissa = bits & MANTISSA_MASK
    # 1.mantissa lies in [1, 2); halve it above sqrt(2) so that f is centred on zero.
    if mantissa > SQRT_HALF_BITS & MANTISSA_MASK:
        exponent += 1
        mantissa |= (EXPONENT_BIAS - 1) << 52
    else:
        mantissa |= EXPONENT_BIAS << 52
    f = bitcast(f64, mantissa) - 1.0
    k = f64(exponent)

    half_square = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * EVEN_6))
    odd = 1.818357216161805012e-01 + w * 1.479819860511658591e-01
    odd = z * (6.666666666666735130e-01 + w * (2.857142874366239149e-01 + w * odd))
    return k * LN2_HIGH - ((half_square - (s * (half_square + (even + odd)) + k * LN2_LOW)) - f)


EVEN_6 = 1.531383769920937332e-01


def sin(x: f64) -> f64:
    """Sine of `x` radians, |x| <= ANGLE_MAX."""
    quadrant, high, low = reduce_angle(x)
    value = cos_kernel(high, low) if quadrant & 1 != 0 else sin_kernel(high, low)
    return -value if quadrant & 2 != 0 else value


def cos(x: f64) -> f64:
    """Cosine of `x` radians, |x| <= ANGLE_MAX."""
    quadrant, high, low = reduce_angle(x)
    value = sin_kernel(high, low) if quadrant & 1 != 0 else cos_kernel(high, low)
    return -value if (quadrant + 1) & 2 != 0 else value


def reduce_angle(x: f64) -> tuple[i64, f64, f64]:
    """The nearest multiple of pi/2 (its count) and the rest as an unevaluated sum of two."""
    assert -ANGLE_MAX <= x <= ANGLE_MAX, "angle out of range"
    half = 0.5 if x >= 0.0 else -0.5
    quadrant = i64(x * INVERSE_HALF_PI + half)
    n = f64(quadrant)
    first = x - n * HALF_PI_1
    w = n * HALF_PI_2
    r = first - w
    w = n * HALF_PI_2_TAIL - ((first - r) - w)
    high = r - w
    low = (r - high) - w
    return quadrant, high, low


def sin_kernel(x: f64, tail: f64) -> f64:
    """Sine on [-pi/4, pi/4] of x + tail."""
    z = x * x
    r = -2.50507602534068634195e-08 + z * 1.58969099521155010221e-10
    r = 2.75573137070700676789e-06 + z * r
    r = -1.98412698298579493134e-04 + z * r
    r = 8.33333333332248946124e-03 + z * r
    v = z * x
    return x - ((z * (0.5 * tail - v * r) - tail) - v * -1.66666666666666324348e-01)


def cos_kernel(x: f64, tail: f64) -> f64:
    """Cosine on [-pi/4, pi/4] of x + tail."""
    z = x * x
    r = 2.08757232129817482790e-09 + z * -1.13596475577881948265e-11
    r = -2.75573143513906633035e-07 + z * r
    r = 2.48015872894767294178e-05 + z * r
    r = -1.38888888888741095749e-03 + z * r
    r = z * (4.16666666666666019037e-02 + z * r)
    half = 0.5 * z
    w = 1.0 - half
    return w + (((1.0 - w) - half) + (z * r - x * tail))


def pow(x: f64, y: f64) -> f64:
    """x**y for x >= 0. The error grows with |y log x| (see the top): made for RoPE's base."""
    if y == 0.0:
        return 1.0
    if x == 0.0:
        return 0.0 if y > 0.0 else INFINITY
    return exp(y * log(x))


def exp_f32(x: f32) -> f32:
    """e**x rounded to f32."""
    if x > EXP_F32_ARGUMENT_MAX:
        return INFINITY
    return f32(exp(f64(x)))
