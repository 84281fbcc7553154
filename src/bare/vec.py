"""Vector values under CPython: a tuple of lanes with the baseline width, 16 bytes.

Integer lanes wrap and are exact. f32 lanes round after every operation; `sum` folds the upper half
onto the lower until one lane is left, so that levels differ only by their lane count.

`min` and `max` give the second operand when the lanes are unordered, as the instructions do.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bare.allocation import Allocation
from bare.codec import Codec, build
from bare.descriptors import INTEGERS, Composite, Descriptor, FloatType, IntType, show
from bare.ints import bf16, f32, i16, i32
from bare.lanes import divide, floor, of_bytes, round_bf16, round_f32, to_bytes, to_i32
from bare.memory import Bytes, Slice, as_slice
from bare.trap import trap

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

    def sum_pairs(self) -> "Vec[int]":
        """Add neighbouring lanes of i16 into one of i32."""
        if self.element is not i16:
            raise TypeError(f"sum_pairs is for Vec[i16], not {self!r}")
        lanes = zip(self._lanes[::2], self._lanes[1::2], strict=True)
        return VecType(i32).of(x + y for x, y in lanes)

    def even(self) -> "Vec[float]":
        """First of each pair of bf16, exact in f32."""
        return Vec(f32, self._lanes[::2])

    def odd(self) -> "Vec[float]":
        """Second of each pair of bf16, exact in f32."""
        return Vec(f32, self._lanes[1::2])

    def __repr__(self) -> str:
        return f"Vec[{self.element}]{self._lanes}"


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
