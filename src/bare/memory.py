"""Slices and arrays: bounds-checked views of an `Allocation`.

Slicing never copies. An index that is negative or past the end traps; so does a value that does
not fit. Elements that are Structs or Atomics are references into the storage.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, overload

from bare import descriptors
from bare.allocation import Allocation, copy_refs
from bare.codec import Codec, codec
from bare.descriptors import (
    ArrayType,
    Descriptor,
    FloatType,
    IntType,
    RefType,
    SliceType,
    normalize,
    show,
)
from bare.ints import u8
from bare.structs import Struct, Wire, array
from bare.trap import trap

FILL_ELEMENTS = 1 << 16  # Set at a time.
SLICE_ALIGN = 64  # Static, stack and arena slices start on a cache line.


class View[T]:
    """What Slice and Array have in common."""

    __slots__ = ("_allocation_", "_codec_", "_items_", "_length_", "_offset_", "element")
    _allocation_: Allocation
    _codec_: Codec
    _items_: "memoryview[Any] | None"  # The elements, where `memoryview` can read them itself.
    _length_: int
    _offset_: int
    element: Descriptor

    @property
    def address(self) -> int:
        """Where the first element lies."""
        return self._allocation_.address + self._offset_

    _address_ = address

    @property
    def allocation(self) -> Allocation:
        """What holds the elements."""
        return self._allocation_

    @property
    def offset(self) -> int:
        """Where in the allocation the first element lies."""
        return self._offset_

    def __len__(self) -> int:
        return self._length_

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> "Slice[T]": ...
    def __getitem__(self, index: Any) -> Any:
        if index.__class__ is slice:
            return self._part(index)
        if 0 <= index < self._length_:
            items = self._items_
            if items is not None:
                return items[index]
            found = self._codec_
            return found.read(self._allocation_, self._offset_ + index * found.size)
        trap(f"index {index} is outside the {self._length_} elements")

    def _part(self, index: Any) -> "Slice[T]":
        start = 0 if index.start is None else index.start
        stop = self._length_ if index.stop is None else index.stop
        if index.step is not None:
            raise TypeError("a slice has no step")
        if not 0 <= start <= stop <= self._length_:
            trap(f"slice [{start}:{stop}] is outside the {self._length_} elements")
        result: Slice[T] = Slice.__new__(Slice)
        result._allocation_ = self._allocation_
        result._offset_ = self._offset_ + start * self._codec_.size
        result._codec_ = self._codec_
        result._length_ = stop - start
        result.element = self.element
        items = self._items_
        result._items_ = None if items is None else items[start:stop]
        return result

    def __setitem__(self, index: int, value: T) -> None:
        if not 0 <= index < self._length_:
            trap(f"index {index} is outside the {self._length_} elements")
        items = self._items_
        if items is None:
            found = self._codec_
            found.write(self._allocation_, self._offset_ + index * found.size, value)
            return
        try:
            items[index] = value
        except ValueError:
            trap(f"value {value!r} does not fit in {show(self.element)}")
        except TypeError:
            if items.readonly:
                trap("these bytes are read-only")
            raise

    def __iter__(self) -> Iterator[T]:
        if self._items_ is not None:
            return iter(self._items_)
        return (self[index] for index in range(self._length_))

    def __eq__(self, other: object) -> bool:
        """Compare the elements, as bytes do."""
        if isinstance(other, View):
            if self.element is u8 and other.element is u8:
                return self.tobytes() == other.tobytes()
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        if isinstance(other, bytes | bytearray | memoryview):
            return self.tobytes() == other
        if isinstance(other, list | tuple):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def fill(self, value: T) -> None:
        """Set every element."""
        if self._items_ is not None and self._length_ > 1:
            self[0] = value
            view = self._raw()
            block = bytes(view[: self._codec_.size]) * min(self._length_, FILL_ELEMENTS)
            for start in range(0, len(view), len(block)):
                view[start : start + len(block)] = block[: len(view) - start]
            return
        for index in range(self._length_):
            self._codec_.write(self._allocation_, self._offset_ + index * self._codec_.size, value)

    def copy_from(self, source: "View[T] | bytes") -> None:
        """Copy elements from a source of the same length, which may overlap."""
        if len(source) != self._length_:
            trap(f"{len(source)} elements copied to {self._length_}")
        if isinstance(source, View):
            if source.element is not self.element:
                raise TypeError(f"expected {show(self.element)}, found {show(source.element)}")
            copy_refs(
                source._allocation_,
                source._offset_,
                self._allocation_,
                self._offset_,
                self._length_ * self._codec_.size,
            )
            self._raw()[:] = source._raw()
        else:
            self._raw()[:] = source

    def find(self, pattern: "Bytes", start: int = 0) -> int:
        """Give the index of the first `pattern` at or after `start`, or -1."""
        return self.tobytes().find(bytes(pattern), start)

    def startswith(self, prefix: "Bytes") -> bool:
        """Compare the first bytes."""
        return self.tobytes().startswith(bytes(prefix))

    def endswith(self, suffix: "Bytes") -> bool:
        """Compare the last bytes."""
        return self.tobytes().endswith(bytes(suffix))

    def _raw(self) -> "memoryview[int]":
        start = self._offset_
        return self._allocation_.buffer[start : start + self._length_ * self._codec_.size]

    def tobytes(self) -> bytes:
        """Copy the storage (tests and import only)."""
        return bytes(self._raw())

    def __bytes__(self) -> bytes:
        return bytes(self._raw())

    def __buffer__(self, flags: int, /) -> memoryview:
        """Share the storage with whatever takes a buffer (PEP 688)."""
        return self._raw() if self._items_ is None else self._items_

    def __repr__(self) -> str:
        name = f"{type(self).__name__}[{show(self.element)}]"
        if self.element is u8:
            return f"{name}({self.tobytes()[:80]!r})"
        return f"{name}(length {self._length_})"


class Slice[T](View[T]):
    """Pointer and length, by value; what it points at belongs to somebody else."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __class_getitem__(cls, element: Any) -> SliceType:
            return SliceType(element)

    @overload
    @staticmethod
    def of[E](element: type[E], values: Iterable[E]) -> "Slice[E]": ...
    @overload
    @staticmethod
    def of(element: object, values: Iterable[Any]) -> "Slice[Any]": ...
    @staticmethod
    def of(element: Any, values: Any) -> Any:
        """Make storage holding `values` (tests and import only)."""
        items = list(values)
        result = allocate(element, len(items))
        for index, value in enumerate(items):
            result[index] = value
        return result

    @staticmethod
    def from_bytes(data: bytes) -> "Slice[int]":
        """Make a writable copy of `data` (tests and import only)."""
        allocation = Allocation.new(len(data), SLICE_ALIGN)
        allocation.buffer[:] = data
        return make_view(Slice, u8, allocation, 0, len(data))  # type: ignore[no-any-return]

    @staticmethod
    def over(data: Any) -> "Slice[int]":
        """Share the storage of a writable buffer: bytearray, mmap, array (host side only)."""
        allocation = Allocation.over(data)
        return make_view(Slice, u8, allocation, 0, allocation.size)  # type: ignore[no-any-return]


class Array[T](View[T]):
    """Storage inline in a Struct; `array_field[:]` is a Slice of it."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __class_getitem__(cls, element: Any) -> ArrayType:
            return ArrayType(element)


if TYPE_CHECKING:
    Bytes = bytes | Slice[int]
    type Ref[T] = T
else:
    Bytes = descriptors.Bytes

    class Ref:
        """`Ref[X]`: a field that points at a Struct, set in the constructor."""

        def __class_getitem__(cls, target: Any) -> RefType:
            """Name the pointer type."""
            return RefType(target)


_elements: dict[Descriptor, tuple[Codec, str]] = {}


def element_codec(descriptor: Descriptor) -> tuple[Codec, str]:
    """The codec of an element, and the letter by which `memoryview` knows it or nothing."""
    result = _elements.get(descriptor)
    if result is None:
        found = codec(descriptor, True)
        known = found.format[:1] == "<" and found.format != "<e" and str(descriptor) != "usize"
        result = _elements[descriptor] = (found, found.format[1:] if known else "")
    return result


def make_view(
    kind: type[View[Any]], element: Descriptor, allocation: Allocation, offset: int, length: int
) -> Any:
    """Make a Slice or Array over `length` elements at `offset`."""
    view = kind.__new__(kind)
    found, letter = element_codec(element)
    view._allocation_ = allocation
    view._offset_ = offset
    view._length_ = length
    view._codec_ = found
    view.element = element
    view._items_ = None
    if letter:
        raw = allocation.buffer[offset : offset + length * found.size]
        view._items_ = raw if letter == "B" else raw.cast(letter)  # type: ignore[call-overload]
    return view


def allocate(element: Any, count: int) -> Any:
    """Make zeroed storage for `count` elements."""
    kind = normalize(element)
    found = codec(kind, True)
    allocation = Allocation.new(found.size * count, max(SLICE_ALIGN, found.align))
    return make_view(Slice, kind, allocation, 0, count)


@overload
def static[T](element: type[T], count: int) -> Slice[T]: ...
@overload
def static(element: object, count: int) -> Slice[Any]: ...
def static(element: Any, count: int) -> Any:
    """Zeroed static storage, made at import."""
    return allocate(element, count)


@overload
def stack[T](element: type[T], count: int) -> Slice[T]: ...
@overload
def stack(element: object, count: int) -> Slice[Any]: ...
def stack(element: Any, count: int) -> Any:
    """Zeroed storage that lives until the function returns; `count` is a constant."""
    return allocate(element, count)


def as_slice(data: Any) -> Slice[Any]:
    """Take whatever may be passed for `Bytes` as a Slice."""
    if isinstance(data, Slice):
        return data
    if isinstance(data, Array):
        return data[:]
    allocation = Allocation.of(data)
    return make_view(Slice, u8, allocation, 0, allocation.size)  # type: ignore[no-any-return]


def reinterpret[T](element: type[T], data: Bytes | Slice[Any]) -> Slice[T]:
    """See the same storage as other plain numbers; it must divide and be aligned."""
    kind = normalize(element)
    if not isinstance(kind, IntType | FloatType):
        raise TypeError(f"reinterpret is for numbers, not {show(kind)}")
    source = as_slice(data)
    size = source._length_ * source._codec_.size
    if size % kind.size or source.address % kind.size:
        trap(f"{size} bytes at {source.address:#x} cannot be seen as {kind}")
    return make_view(Slice, kind, source._allocation_, source._offset_, size // kind.size)  # type: ignore[no-any-return]


__all__ = [
    "Array",
    "Bytes",
    "Ref",
    "Slice",
    "Struct",
    "Wire",
    "allocate",
    "array",
    "as_slice",
    "make_view",
    "reinterpret",
    "stack",
    "static",
]
