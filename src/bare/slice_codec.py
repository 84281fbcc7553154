"""How slices and arrays lie in memory: a slice as address and length, an array as its elements."""

import weakref
from collections.abc import Callable
from typing import Any

from bare.allocation import Allocation, locate
from bare.codec import PAIR, Codec, build, codec
from bare.descriptors import ArrayType, BytesType, Descriptor, SliceType, show
from bare.memory import Array, Slice, View, allocate, as_slice, element_codec, make_view


def slice_reader(element: Descriptor) -> Callable[[int, int], Any]:
    """Give what makes a Slice of `element` from an address and a length.

    It looks first where the last slice was: between two calls lie megabytes of weights, so that a
    search would run from memory and not from a cache.
    """
    empty: list[Any] = []
    last: list[Callable[[], Allocation | None]] = [lambda: None]

    def read_slice(address: int, length: int) -> Any:
        if length == 0:
            if not empty:
                empty.append(allocate(element, 0))
            return empty[0]
        size = length * element_codec(element)[0].size
        allocation = last[0]()
        offset = -1 if allocation is None else address - allocation.address
        if allocation is None or not 0 <= offset <= allocation.size - size:
            allocation, offset = locate(address, size)
            if allocation.owner is not None:  # Else nobody says how long the memory is there.
                last[0] = weakref.ref(allocation)
        return make_view(Slice, element, allocation, offset, length)

    return read_slice


@build.register
def _(descriptor: SliceType, _inline: bool) -> Codec:
    return _slice_codec(descriptor.element)


@build.register
def _(descriptor: BytesType, _inline: bool) -> Codec:
    return _slice_codec(descriptor.element)


def _slice_codec(element: Descriptor) -> Codec:
    unpack, pack = PAIR.unpack_from, PAIR.pack_into
    make = slice_reader(element)

    def read_slice(allocation: Allocation, offset: int) -> Any:
        address, length = unpack(allocation.buffer, offset)
        found = allocation.refs.get(offset)
        if (
            found is not None
            and found._length_ == length
            and found._allocation_.address + found._offset_ == address
        ):
            return found
        return make(address, length)

    def write_slice(allocation: Allocation, offset: int, value: Any) -> None:
        value = as_slice(value)
        if value.element is not element:
            raise TypeError(f"expected Slice[{show(element)}], found {value!r}")
        pack(allocation.buffer, offset, value.address, value._length_)
        allocation.refs[offset] = value

    return Codec(16, 8, read_slice, write_slice)


@build.register
def _(descriptor: ArrayType, inline: bool) -> Codec:
    if len(descriptor.parts) != 2:
        raise TypeError(f"{descriptor} needs a length: = array(n)")
    element, count = descriptor.element, descriptor.count
    found = codec(element, True)

    def read_array(allocation: Allocation, offset: int) -> Any:
        return make_view(Array, element, allocation, offset, count)

    def write_array(allocation: Allocation, offset: int, value: Any) -> None:
        target = read_array(allocation, offset)
        if isinstance(value, View | bytes):
            target.copy_from(value)
            return
        for index, item in enumerate(value):
            target[index] = item

    return Codec(found.size * count, found.align, read_array, write_array)
