"""Vectors: one source for every instruction-set level.

Under CPython a vector is a tuple of lanes with the baseline width, 16 bytes. Integer lanes wrap and
are exact. f32 lanes round after every operation; `fma` rounds twice, as the baseline level does
(higher levels fuse), and `sum` folds the upper half onto the lower until one lane is left, so that
levels differ only by their lane count.

`min` and `max` give the second operand when the lanes are unordered, as the instructions do.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bare.allocation import Allocation
from bare.codec import Codec, build
from bare.descriptors import INTEGERS, Composite, Descriptor, FloatType, IntType, show
from bare.ints import bf16, f32, i8, i32, u8
from bare.lanes import divide, floor, of_bytes, round_bf16, round_f32, to_bytes, to_i32
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
from bare.memory import Bytes, Slice, as_slice
from bare.trap import trap

__all__ = [
    "LEVELS",
    "LEVEL_NAMES",
    "Level",
    "Mask",
    "Vec",
    "dispatch",
    "dot2",
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
    "variant",
    "vector_bytes",
]

VECTOR_BYTES = 16  # Under CPython, whatever the level.
VEC_ELEMENTS = frozenset(
    [*(INTEGERS[name] for name in ("u8", "i8", "u16", "i16", "u32", "i32")), f32, bf16]
)


class VecType(Composite):
    """`Vec[T]`: the annotation, and the place to make vectors from."""

    __slots__ = ()

    @property
    def lanes(self) -> int:
        """How many elements a vector has at the baseline level."""
        return VECTOR_BYTES // int(self.element.size)

    def __new__(cls, element: Any) -> Self:
        """Refuse elements that no instruction handles (a type parameter is filled in later)."""
        if isinstance(element, IntType | FloatType) and element not in VEC_ELEMENTS:
            raise TypeError(f"there are no vectors of {element}")
        return super().__new__(cls, element)

    def of(self, lanes: Any) -> "Vec[Any]":
        """Make a vector, wrapping or rounding each lane."""
        element = self.element
        if element is f32:
            values = tuple(round_f32(lane) for lane in lanes)
        elif element is bf16:
            values = tuple(round_bf16(lane) for lane in lanes)
        else:
            half = element.maximum + 1 if element.signed else 0
            values = tuple(((lane + half) & element.mask) - half for lane in lanes)
        return Vec(element, values)

    def splat(self, value: Any) -> "Vec[Any]":
        """Put `value` into every lane; it must fit."""
        return self.of((self.element(value),) * self.lanes)

    def load(self, data: Any, index: int) -> "Vec[Any]":
        """Read lanes from `data[index:]`: f16 and bf16 widen to f32, small integers to i32."""
        source = as_slice(data)
        if not _loads(self.element, source.element):
            raise TypeError(f"{self} cannot be loaded from {source!r}")
        return self.of(source[index : index + self.lanes])

    def broadcast4(self, data: Any, index: int) -> "Vec[Any]":
        """Repeat the four bytes at `index` in every 32-bit group."""
        return self.of(list(as_slice(data)[index : index + 4]) * (VECTOR_BYTES // 4))

    def broadcast2(self, data: Any, index: int) -> "Vec[Any]":
        """Repeat the pair of bf16 at `index`."""
        return self.of(list(as_slice(data)[index : index + 2]) * (self.lanes // 2))

    def __instancecheck__(self, value: object) -> bool:
        """Tell vectors of this element."""
        return isinstance(value, Vec) and value.element is self.element


def _loads(element: Descriptor, source: Descriptor) -> bool:
    if isinstance(source, FloatType):
        return source is element or (element is f32 and source.bits <= 32)
    return not isinstance(element, FloatType) and (
        source.bits == element.bits or (element.bits == 32 and source.bits < 32)
    )


class Mask:
    """One truth value a lane."""

    __slots__ = ("lanes",)

    def __init__(self, lanes: tuple[bool, ...]) -> None:
        """Hold the outcome of a comparison."""
        self.lanes = lanes

    def __and__(self, other: "Mask") -> "Mask":
        return Mask(tuple(a and b for a, b in zip(self.lanes, other.lanes, strict=True)))

    def __or__(self, other: "Mask") -> "Mask":
        return Mask(tuple(a or b for a, b in zip(self.lanes, other.lanes, strict=True)))

    def __invert__(self) -> "Mask":
        return Mask(tuple(not lane for lane in self.lanes))


class Vec[T]:
    """A vector value. Lives only in multiversion code."""

    __slots__ = ("_lanes", "element")

    if TYPE_CHECKING:
        lanes: ClassVar[int]

        @classmethod
        def splat(cls, value: T) -> "Vec[T]": ...  # noqa: D102
        @classmethod
        def load(cls, data: "Bytes | Slice[Any]", index: int) -> "Vec[T]": ...  # noqa: D102
        @classmethod
        def broadcast4(cls, data: "Bytes | Slice[Any]", index: int) -> "Vec[T]": ...  # noqa: D102
        @classmethod
        def broadcast2(cls, data: "Slice[Any]", index: int) -> "Vec[T]": ...  # noqa: D102

    else:

        def __class_getitem__(cls, element: Any) -> VecType:
            """Name the vector type."""
            return VecType(element)

    def __init__(self, element: Any, lanes: tuple[Any, ...]) -> None:
        """Hold lanes that already fit; programs use `splat` and `load`."""
        self.element = element
        self._lanes = lanes

    def _make(self, lanes: Any) -> "Vec[T]":
        return VecType(self.element).of(lanes)

    def _pairs(self, other: "Vec[T]") -> Any:
        if self.element is bf16:
            raise TypeError("bf16 lanes have no arithmetic: see even, odd and dot2")
        if not isinstance(other, Vec) or other.element is not self.element:
            raise TypeError(f"expected Vec[{self.element}], found {other!r}")
        return zip(self._lanes, other._lanes, strict=True)

    def store(self, data: "Slice[Any]", index: int) -> None:
        """Write to `data[index:]`: f32 rounds into f16 and bf16, 32-bit integers are cut off."""
        if not _loads(self.element, data.element):
            raise TypeError(f"{self!r} cannot be stored in {data!r}")
        part = data[index : index + len(self._lanes)]
        for at, lane in enumerate(self._lanes):
            if isinstance(lane, int):
                half = data.element.maximum + 1 if data.element.signed else 0
                part[at] = ((lane + half) & data.element.mask) - half
            else:
                part[at] = lane

    def __getitem__(self, index: int) -> T:
        if not 0 <= index < len(self._lanes):
            trap(f"lane {index} is outside the {len(self._lanes)} lanes")
        return self._lanes[index]  # type: ignore[no-any-return]

    def __add__(self, other: "Vec[T]") -> "Vec[T]":
        return self._make(a + b for a, b in self._pairs(other))

    def __sub__(self, other: "Vec[T]") -> "Vec[T]":
        return self._make(a - b for a, b in self._pairs(other))

    def __mul__(self, other: "Vec[T]") -> "Vec[T]":
        return self._make(a * b for a, b in self._pairs(other))

    def __truediv__(self, other: "Vec[T]") -> "Vec[T]":
        return self._make(divide(a, b) for a, b in self._pairs(other))

    def __neg__(self) -> "Vec[T]":
        return self._make(-a for a in self._lanes)

    def __and__(self, other: "Vec[T]") -> "Vec[T]":
        return self._make(a & b for a, b in self._pairs(other))

    def __or__(self, other: "Vec[T]") -> "Vec[T]":
        return self._make(a | b for a, b in self._pairs(other))

    def __xor__(self, other: "Vec[T]") -> "Vec[T]":
        return self._make(a ^ b for a, b in self._pairs(other))

    def __lshift__(self, count: int) -> "Vec[T]":
        return self._make(a << self._shift(count) for a in self._lanes)

    def __rshift__(self, count: int) -> "Vec[T]":
        return self._make(a >> self._shift(count) for a in self._lanes)

    def _shift(self, count: int) -> int:
        if not 0 <= count < self.element.bits:
            trap(f"shift by {count} in lanes of {self.element.bits} bits")
        return count

    def __eq__(self, other: "Vec[T]") -> Mask:  # type: ignore[override]
        return Mask(tuple(a == b for a, b in self._pairs(other)))

    def __ne__(self, other: "Vec[T]") -> Mask:  # type: ignore[override]
        return Mask(tuple(a != b for a, b in self._pairs(other)))

    def __lt__(self, other: "Vec[T]") -> Mask:
        return Mask(tuple(a < b for a, b in self._pairs(other)))

    def __le__(self, other: "Vec[T]") -> Mask:
        return Mask(tuple(a <= b for a, b in self._pairs(other)))

    def __gt__(self, other: "Vec[T]") -> Mask:
        return Mask(tuple(a > b for a, b in self._pairs(other)))

    def __ge__(self, other: "Vec[T]") -> Mask:
        return Mask(tuple(a >= b for a, b in self._pairs(other)))

    __hash__ = None  # type: ignore[assignment]

    def min(self, other: "Vec[T]") -> "Vec[T]":
        """Lower of each pair."""
        return self._make(a if a < b else b for a, b in self._pairs(other))

    def max(self, other: "Vec[T]") -> "Vec[T]":
        """Higher of each pair."""
        return self._make(a if a > b else b for a, b in self._pairs(other))

    def _fold(self, operation: Callable[["Vec[T]", "Vec[T]"], "Vec[T]"]) -> T:
        lanes = self._lanes
        while len(lanes) > 1:
            half = len(lanes) // 2
            low: Vec[T] = Vec(self.element, lanes[:half])
            lanes = operation(low, Vec(self.element, lanes[half:]))._lanes
        return lanes[0]  # type: ignore[no-any-return]

    def sum(self) -> T:
        """Add up the lanes, wrapping in the element's width."""
        return self._fold(lambda a, b: a + b)

    def max_lane(self) -> T:
        """Highest lane."""
        return self._fold(lambda a, b: a.max(b))

    def min_lane(self) -> T:
        """Lowest lane."""
        return self._fold(lambda a, b: a.min(b))

    def abs(self) -> "Vec[T]":
        """Magnitude of each lane (the lowest integer stays itself)."""
        return self._make(abs(a) for a in self._lanes)

    def sqrt(self) -> "Vec[T]":
        """Square root of each lane."""
        return self._make(math.sqrt(a) if a >= 0 else math.nan for a in self._lanes)

    def floor(self) -> "Vec[T]":
        """Largest whole number not above each lane."""
        return self._make(floor(a) for a in self._lanes)

    def to[U](self, kind: type[U]) -> "Vec[U]":
        """Convert i32 lanes to f32 (rounding) or f32 lanes to i32 (truncating)."""
        target: Any = kind
        if {self.element, target} != {f32, i32}:
            raise TypeError(f"Vec[{self.element}] does not convert to {show(target)}")
        lanes = self._lanes if target is f32 else tuple(to_i32(a, int) for a in self._lanes)
        return VecType(target).of(lanes)

    def round_to_i32(self) -> "Vec[int]":
        """Round f32 lanes to the nearest integer, ties to even."""
        return VecType(i32).of(to_i32(a, round) for a in self._lanes)

    def bits[U](self, kind: type[U]) -> "Vec[U]":
        """See the same bytes as lanes of another type."""
        target: Any = kind
        return Vec(target, of_bytes(target, to_bytes(self.element, self._lanes)))

    def even(self) -> "Vec[float]":
        """First of each pair of bf16, exact in f32."""
        return Vec(f32, self._lanes[::2])

    def odd(self) -> "Vec[float]":
        """Second of each pair of bf16, exact in f32."""
        return Vec(f32, self._lanes[1::2])

    def __repr__(self) -> str:
        return f"Vec[{self.element}]{self._lanes}"


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


@build.register
def _(descriptor: VecType, _inline: bool) -> Codec:
    size = VECTOR_BYTES

    def read_vec(allocation: Allocation, offset: int) -> Any:
        raw = allocation.buffer[offset : offset + size]
        return Vec(descriptor.element, of_bytes(descriptor.element, raw))

    def write_vec(allocation: Allocation, offset: int, value: Any) -> None:
        if not isinstance(value, descriptor):  # type: ignore[arg-type]
            raise TypeError(f"expected {descriptor}, found {value!r}")
        allocation.buffer[offset : offset + size] = to_bytes(value.element, value._lanes)

    return Codec(size, size, read_vec, write_vec)
