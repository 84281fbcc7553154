"""Metadata values of a GGUF file: their types, reading them past a key, fetching them as numbers.

`Reader` walks bytes that nobody vouches for: its first failure sticks (`failed`), so that code
reads straight through and checks once. Nothing here reads outside the data it is given.
"""

from enum import Enum, IntEnum, auto

from bare import Bytes, Struct, bitcast, f32, u32, u64, usize
from merlion.engine.gguf_error import GgufError


class Lookup(Enum):
    """Why a typed getter has no value."""

    ABSENT = auto()
    WRONG_TYPE = auto()


class ValueType(IntEnum):
    """Metadata value types (gguf.md)."""

    U8 = 0
    I8 = 1
    U16 = 2
    I16 = 3
    U32 = 4
    I32 = 5
    F32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    U64 = 10
    I64 = 11
    F64 = 12


STRING_BYTES_MIN = 8  # A string's length.
VALUE_TYPE_COUNT = 13
VALUE_BYTES = (1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8)  # 0: has its own length.


class Value(Struct):
    """One metadata value: where its bytes lie. Bounds were checked by `parse`."""

    type: u32  # A ValueType.
    element: u32  # Of an array: the ValueType of its elements.
    offset: usize  # Absolute. Of a string or array: of its first byte, behind the lengths.
    length: usize  # Bytes.
    count: u64  # Elements of an array, else 1.


class Reader(Struct):
    """A cursor over untrusted bytes."""

    data: Bytes
    at: usize = 0
    failed: bool = False

    def left(self) -> usize:
        """Bytes not yet read."""
        return len(self.data) - self.at

    def read_u32(self) -> u32:
        """Read 4 bytes, 0 after a failure."""
        if self.left() < 4:
            self.failed = True
            return 0
        self.at += 4
        return read_u32(self.data, self.at - 4)

    def read_u64(self) -> u64:
        """Read 8 bytes, 0 after a failure."""
        if self.left() < 8:
            self.failed = True
            return 0
        self.at += 8
        return read_u64(self.data, self.at - 8)

    def read_string(self) -> Bytes:
        """Read a length and that many bytes, none after a failure."""
        length = self.read_u64()
        if length > self.left():
            self.failed = True
        if self.failed:
            return self.data[0:0]
        start = self.at
        self.at += usize(length)
        return self.data[start : self.at]


def read_u32(data: Bytes, at: usize) -> u32:
    """The little-endian u32 at byte `at`, at any alignment."""
    return data[at] | u32(data[at + 1]) << 8 | u32(data[at + 2]) << 16 | u32(data[at + 3]) << 24


def read_u64(data: Bytes, at: usize) -> u64:
    """The little-endian u64 at byte `at`, at any alignment."""
    return read_u32(data, at) | u64(read_u32(data, at + 4)) << 32


def read_f32(data: Bytes, at: usize) -> f32:
    """The f32 at byte `at`."""
    return bitcast(f32, read_u32(data, at))


def value_is_signed(kind: u32) -> bool:
    """Whether the ValueType `kind` is a signed integer."""
    if kind == ValueType.I8 or kind == ValueType.I16:
        return True
    return kind == ValueType.I32 or kind == ValueType.I64


def unsigned_of(data: Bytes, value: Value) -> u64 | Lookup:
    """The value of any integer type when it is not negative."""
    at = value.offset
    result: u64 = 0
    if value.type == ValueType.U8 or value.type == ValueType.I8:
        result = data[at]
    elif value.type == ValueType.U16 or value.type == ValueType.I16:
        result = data[at] | u32(data[at + 1]) << 8
    elif value.type == ValueType.U32 or value.type == ValueType.I32:
        result = read_u32(data, at)
    elif value.type == ValueType.U64 or value.type == ValueType.I64:
        result = read_u64(data, at)
    else:
        return Lookup.WRONG_TYPE
    if value_is_signed(value.type) and result >> (VALUE_BYTES[value.type] * 8 - 1) != 0:
        return Lookup.WRONG_TYPE
    return result


def read_value(reader: Reader, value: Value) -> GgufError | None:
    """Read one metadata value behind its key, checking that it lies in the file."""
    value.type = reader.read_u32()
    value.count = 1
    if reader.failed:
        return GgufError.TRUNCATED
    if value.type >= VALUE_TYPE_COUNT:
        return GgufError.UNKNOWN_VALUE_TYPE
    if value.type != ValueType.ARRAY:
        value.element = value.type
        return read_elements(reader, value)
    value.element = reader.read_u32()
    value.count = reader.read_u64()
    if reader.failed:
        return GgufError.TRUNCATED
    if value.element >= VALUE_TYPE_COUNT:
        return GgufError.UNKNOWN_VALUE_TYPE
    if value.element == ValueType.ARRAY:
        return GgufError.NESTED_ARRAY
    return read_elements(reader, value)


def read_elements(reader: Reader, value: Value) -> GgufError | None:
    """Skip `value.count` elements of type `value.element`, noting where they lie."""
    value.offset = reader.at
    if value.element == ValueType.STRING:
        return read_strings(reader, value)
    size = VALUE_BYTES[value.element]
    if value.count > reader.left() // size:
        return GgufError.TRUNCATED
    value.length = usize(value.count) * size
    if value.element == ValueType.BOOL:
        for byte in reader.data[value.offset : value.offset + value.length]:
            if byte > 1:
                return GgufError.BAD_BOOLEAN
    reader.at += value.length
    return None


def read_strings(reader: Reader, value: Value) -> GgufError | None:
    """Skip strings. A lone string's place is that of its bytes, an array's of its first length."""
    if value.count > reader.left() // STRING_BYTES_MIN:
        return GgufError.TRUNCATED
    for _ in range(value.count):
        text = reader.read_string()
        if reader.failed:
            return GgufError.TRUNCATED
        if value.type == ValueType.STRING:
            value.offset = reader.at - len(text)
    value.length = reader.at - value.offset
    return None
