"""Atomic words: shared with another core or with a device.

`load` acquires and `store` releases; the read-modify-write operations do both and give the value
from before. Arithmetic is modulo the width.
"""

import threading
from typing import TYPE_CHECKING, Any

from bare.allocation import Allocation
from bare.codec import Codec, build, codec, reference
from bare.descriptors import AtomicType, IntType

_lock = threading.Lock()  # CPython threads share these words in the hosted tests.


class Atomic[T]:
    """A word in memory; made by the field, array or slice that contains it."""

    __slots__ = ("_allocation_", "_codec_", "_offset_", "element")

    if not TYPE_CHECKING:

        def __class_getitem__(cls, element: Any) -> AtomicType:
            """Name the type of a field or element."""
            return AtomicType(element)

    _allocation_: Allocation
    _codec_: Codec
    _offset_: int
    element: Any

    @property
    def _address_(self) -> int:
        return self._allocation_.address + self._offset_

    def load(self) -> T:
        """Read; later reads see what the writer stored before."""
        return self._codec_.read(self._allocation_, self._offset_)  # type: ignore[no-any-return]

    def store(self, value: T) -> None:
        """Write; earlier writes are seen by whoever reads this."""
        self._codec_.write(self._allocation_, self._offset_, value)

    def exchange(self, value: T) -> T:
        """Write and give the value from before."""
        with _lock:
            before = self.load()
            self.store(value)
            return before

    def compare_exchange(self, expected: T, value: T) -> bool:
        """Write if the word holds `expected`; tell whether it did."""
        with _lock:
            if self.load() != expected:
                return False
            self.store(value)
            return True

    def fetch_add(self, value: T) -> T:
        """Add, modulo the width."""
        return self._change(lambda before: before + value)

    def fetch_sub(self, value: T) -> T:
        """Subtract, modulo the width."""
        return self._change(lambda before: before - value)

    def fetch_or(self, value: T) -> T:
        """Set bits."""
        return self._change(lambda before: before | value)

    def fetch_and(self, value: T) -> T:
        """Keep bits."""
        return self._change(lambda before: before & value)

    def _change(self, operation: Any) -> T:
        with _lock:
            before: Any = self.load()
            after: Any = operation(before)
            if isinstance(self.element, IntType):
                after = self.element.wrap(after)
            self.store(after)
            return before  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"Atomic[{self.element}]({self.load()})"


@build.register
def _(descriptor: AtomicType, inline: bool) -> Codec:
    word = codec(descriptor.element)

    def read_atomic(allocation: Allocation, offset: int) -> Any:
        atomic: Atomic[Any] = Atomic.__new__(Atomic)
        atomic._allocation_ = allocation
        atomic._offset_ = offset
        atomic._codec_ = word
        atomic.element = descriptor.element
        return atomic

    if not inline:
        return reference(_AtomicTarget(read_atomic, word.size), nullable=False)

    def write_atomic(allocation: Allocation, offset: int, value: Any) -> None:
        word.write(allocation, offset, value.load() if isinstance(value, Atomic) else value)

    return Codec(word.size, word.align, read_atomic, write_atomic)


class _AtomicTarget:
    """Stands in for the class a reference points to."""

    def __init__(self, read: Any, size: int) -> None:
        self._at_ = read
        self._size_ = size

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, Atomic)
