"""What compiled code calls for operations that are no single instruction.

Half precision is IEEE 754-2008 binary16; bfloat16 is the upper half of binary32. Conversions round
to nearest, ties to even, keep infinities and subnormals, and make NaNs quiet, as the F16C and
AVX512-BF16 instructions do, so that every instruction-set level gives the same bits.
"""

from bare import Bytes, i64, u16, u32, usize

F32_INFINITY = 0x7F80_0000
F32_QUIET = 0x0040_0000
F16_INFINITY = 0x7C00
F16_QUIET = 0x0200
F16_OVERFLOW = 0x477F_F000  # 65520 as f32: the first that rounds to infinity.
F16_NORMAL = 0x3880_0000  # 2**-14 as f32: below are the subnormals.
F16_UNDERFLOW = 0x3300_0000  # 2**-25 as f32: half the smallest subnormal, a tie that goes to 0.


def bytes_find(haystack: Bytes, needle: Bytes, start: usize) -> i64:
    """Index of the first `needle` at or after `start`, or -1."""
    count = len(needle)
    if start > len(haystack) or count > len(haystack) - start:
        return -1
    if count == 0:
        return i64(start)
    first = needle[0]
    for at in range(start, len(haystack) - count + 1):
        if haystack[at] == first:
            matched: usize = 1
            while matched < count and haystack[at + matched] == needle[matched]:
                matched += 1
            if matched == count:
                return i64(at)
    return -1


def bytes_equal(left: Bytes, right: Bytes) -> bool:
    """Compare lengths and contents."""
    if len(left) != len(right):
        return False
    for index in range(len(left)):
        if left[index] != right[index]:
            return False
    return True


def bytes_startswith(text: Bytes, prefix: Bytes) -> bool:
    """Compare the first bytes."""
    return len(prefix) <= len(text) and bytes_equal(text[: len(prefix)], prefix)


def bytes_endswith(text: Bytes, suffix: Bytes) -> bool:
    """Compare the last bytes."""
    return len(suffix) <= len(text) and bytes_equal(text[len(text) - len(suffix) :], suffix)


def f16_to_f32_bits(half: u16) -> u32:
    """Widen; every f16 is exact in f32."""
    sign: u32 = u32(half & 0x8000) << 16
    exponent: u32 = (half >> 10) & 0x1F
    mantissa: u32 = half & 0x3FF
    if exponent == 31:
        if mantissa != 0:
            return sign | F32_INFINITY | F32_QUIET | mantissa << 13
        return sign | F32_INFINITY
    if exponent == 0:
        if mantissa == 0:
            return sign
        exponent = 113
        while mantissa < 0x400:  # A subnormal: move the leading one into place.
            mantissa <<= 1
            exponent -= 1
        return sign | exponent << 23 | (mantissa & 0x3FF) << 13
    return sign | (exponent + 112) << 23 | mantissa << 13


def f32_to_f16_bits(bits: u32) -> u16:
    """Narrow, to nearest even."""
    sign: u32 = (bits >> 16) & 0x8000
    magnitude: u32 = bits & 0x7FFF_FFFF
    if magnitude > F32_INFINITY:
        return u16(sign | F16_INFINITY | F16_QUIET | (magnitude >> 13) & 0x1FF)
    if magnitude >= F16_OVERFLOW:
        return u16(sign | F16_INFINITY)
    if magnitude <= F16_UNDERFLOW:
        return u16(sign)
    if magnitude >= F16_NORMAL:
        rounded: u32 = magnitude + 0xFFF + ((magnitude >> 13) & 1)
        return u16(sign | (rounded >> 13) - (112 << 10))
    # A subnormal counts units of 2**-24; the mantissa counts units of 2**(exponent - 150).
    shift: u32 = 126 - (magnitude >> 23)
    mantissa: u32 = magnitude & 0x7F_FFFF | 0x80_0000
    kept: u32 = mantissa >> shift
    half: u32 = u32(1) << (shift - 1)
    rest: u32 = mantissa - (kept << shift)
    if rest > half or (rest == half and (kept & 1) == 1):
        kept += 1
    return u16(sign | kept)


def bf16_to_f32_bits(half: u16) -> u32:
    """Widen; every bf16 is exact in f32."""
    return u32(half) << 16


def f32_to_bf16_bits(bits: u32) -> u16:
    """Narrow, to nearest even."""
    if bits & 0x7FFF_FFFF > F32_INFINITY:
        return u16(bits >> 16 | 0x40)
    return u16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
