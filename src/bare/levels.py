"""Levels of the instruction set: which one runs, and marks on functions compiled for each."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from bare.ints import u8, usize
from bare.memory import Bytes
from bare.structs import Struct
from bare.trap import trap


class Level(IntEnum):
    """The levels, ascending. A processor need not have all below its highest."""

    BASELINE = 0  # x86-64-v2: SSE4.2.
    AVX2 = 1  # x86-64-v3.
    AVXVNNI = 2  # And vpdpbusd on 32 bytes.
    AVX512 = 3  # x86-64-v4 with VNNI.
    AVX512BF16 = 4  # And vdpbf16ps.


LEVELS = tuple(level.name.lower() for level in Level)
VECTOR_SIZES = (16, 32, 32, 64, 64)  # Bytes of a vector.
LEVEL_NAMES = tuple(name.encode() for name in LEVELS)


class Dispatch(Struct):
    """Which of the compiled levels runs; set once at boot from CPUID."""

    level: u8 = 0


dispatch = Dispatch()


def level() -> u8:
    """Give the level that multiversion functions run at: an index into `LEVELS`."""
    return dispatch.level


def set_level(number: u8) -> None:
    """Choose the level (once, at boot; CPython keeps computing at the baseline)."""
    if not 0 <= number < len(LEVELS):
        trap(f"there is no instruction-set level {number}")
    dispatch.level = number


def level_name() -> Bytes:
    """Name the level."""
    return LEVEL_NAMES[level()]


def vector_bytes() -> usize:
    """Bytes of a vector at the level that multiversion functions run at."""
    return VECTOR_SIZES[level()]


def multiversion[F: Callable[..., Any]](function: F) -> F:
    """Compile this function, and all it calls, once for each level."""
    setattr(function, "__bare_multiversion__", True)  # noqa: B010
    return function


def variant[F: Callable[..., Any]](replaced: F, needs: str) -> Callable[[F], F]:
    """Replace a multiversion function at one level by another with the same signature."""
    if needs not in LEVELS:
        raise ValueError(f"needs must be one of {', '.join(LEVELS)}")

    def register(function: F) -> F:
        variants: dict[str, Any] = replaced.__dict__.setdefault("__bare_variants__", {})
        variants[needs] = function
        return function

    return register


def exact_dot4() -> bool:
    """Tell, while compiling, whether `dot4` is one instruction at this level.

    Elsewhere it is cheaper to see to it that `dot4_small` is exact, and to use that.
    """
    return False


def native_dot2() -> bool:
    """Tell, while compiling, whether `dot2` is one instruction at this level.

    Elsewhere it is two shifts, two masks and two multiply-adds: f32 may be cheaper.
    """
    return False
