"""GGUF v2 and v3: a safe, zero-copy reader over the bytes of a whole file.

Specification: ggml/docs/gguf.md. Little endian throughout. A file is

    magic "GGUF", version u32, tensor_count u64, metadata_count u64
    metadata_count times: key string, value type u32, value
    tensor_count   times: name string, dimension count u32, dimensions u64.., type u32, offset u64
    padding to general.alignment, then the tensors' data, each at an aligned offset

where a string is a u64 length and that many bytes. Nothing in the file is trusted: every count is
bounded by the bytes left before it is used, every length is checked before it is added, and
`parse` ends with the first error, where it is (`error_at`) and what it concerns (`error_name`).
After a successful parse every accessor is safe: no getter reads outside the file.

A file may be parsed while it is still being read: `parse_front` looks at its first `arrived` bytes
only, and says NOT_ARRIVED when the header is longer than that.

Keys and tensor names are found through a hash index (string_index.py), which also finds duplicates.
"""

from bare import Arena, Array, Bytes, Slice, Struct, array, bitcast, f64, u8, u32, u64, usize
from merlion.engine.ggml_type import row_bytes, type_is_known
from merlion.engine.gguf_error import GgufError
from merlion.engine.gguf_value import (
    Lookup,
    Reader,
    Value,
    ValueType,
    read_f32,
    read_u32,
    read_u64,
    read_value,
    unsigned_of,
)
from merlion.engine.limits import (
    DIMENSION_COUNT_MAX,
    KEY_BYTES_MAX,
    METADATA_COUNT_MAX,
    TENSOR_COUNT_MAX,
    TENSOR_ELEMENTS_MAX,
    TENSOR_NAME_BYTES_MAX,
)
from merlion.engine.string_index import NOT_FOUND, Refusal, Span, StringIndex, slots_for

MAGIC = b"GGUF"
VERSION_MIN = 2
VERSION_MAX = 3
HEADER_BYTES = 24
METADATA_BYTES_MIN = 8 + 1 + 4 + 1  # A one-byte key and a one-byte value.
TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8
ALIGNMENT_DEFAULT = 32
ALIGNMENT_MAX = 1 << 24
VERSION_2_SWAPPED = 0x0200_0000
VERSION_3_SWAPPED = 0x0300_0000


SPAN_BYTES = 16
ENTRY_BYTES = 64  # The larger of Value and Tensor.


class Tensor(Struct):
    """One tensor: shape and place. dims[0] is the row length (the fastest dimension)."""

    type: u32  # A number that type_is_known().
    dimension_count: u32
    dims: Array[u64] = array(DIMENSION_COUNT_MAX)  # Unused ones are 1.
    offset: usize  # Absolute in the file.
    length: usize  # Bytes.


class Gguf(Struct):
    """A parsed file. Holds no copy: `data` must outlive it."""

    data: Slice[u8]
    front: Slice[u8]  # Of `data`, what may be looked at by `parse_front`.
    version: u32
    alignment: usize
    data_offset: usize
    keys: Slice[Span]
    values: Slice[Value]
    key_index: StringIndex
    names: Slice[Span]
    tensors: Slice[Tensor]
    name_index: StringIndex
    error_at: usize
    error_name: Bytes

    def parse(self, data: Slice[u8], arena: Arena) -> GgufError | None:
        """Read the whole header. On an error `error_at` and `error_name` say where and what."""
        return self.parse_front(data, len(data), arena)

    def parse_front(self, data: Slice[u8], arrived: usize, arena: Arena) -> GgufError | None:
        """As `parse`, when only data[:arrived] holds the file's bytes yet.

        After NOT_ARRIVED, try again with more of them, and with the arena as it was.
        """
        self.data = data
        self.front = data[:arrived]
        self.error_at = 0
        self.error_name = b""
        if arrived < len(MAGIC) and arrived < len(data):
            return self.fail(GgufError.TRUNCATED, arrived, b"")
        if len(data) < len(MAGIC) or data[: len(MAGIC)] != MAGIC:
            return GgufError.NOT_GGUF
        if arrived < HEADER_BYTES:
            return self.fail(GgufError.TRUNCATED, arrived, b"")
        self.version = read_u32(data, 4)
        if self.version == VERSION_2_SWAPPED or self.version == VERSION_3_SWAPPED:
            return self.fail(GgufError.BIG_ENDIAN, 4, b"")
        if self.version < VERSION_MIN or self.version > VERSION_MAX:
            return self.fail(GgufError.UNSUPPORTED_VERSION, 4, b"")
        tensor_count = read_u64(data, 8)
        metadata_count = read_u64(data, 16)
        room = len(data) - HEADER_BYTES
        if metadata_count > min(room // METADATA_BYTES_MIN, METADATA_COUNT_MAX):
            return self.fail(GgufError.METADATA_COUNT, 16, b"")
        if tensor_count > min(room // TENSOR_BYTES_MIN, TENSOR_COUNT_MAX):
            return self.fail(GgufError.TENSOR_COUNT, 8, b"")
        if not self.allocate(arena, usize(metadata_count), usize(tensor_count)):
            return self.fail(GgufError.OUT_OF_MEMORY, 8, b"")

        reader = Reader(data=self.front, at=HEADER_BYTES)
        error = self.parse_metadata(reader)
        if error is not None:
            return error
        error = self.find_alignment()
        if error is not None:
            return error
        return self.parse_tensors(reader)

    def fail(self, error: GgufError, at: usize, name: Bytes) -> GgufError:
        """Note where the error is and what it is about."""
        self.error_at = at
        self.error_name = name
        if error == GgufError.TRUNCATED and len(self.front) < len(self.data):
            return GgufError.NOT_ARRIVED
        return error

    def allocate(self, arena: Arena, metadata_count: usize, tensor_count: usize) -> bool:
        """Reserve the tables. False when the arena is too small for all of them together."""
        total = metadata_count + tensor_count
        slots = slots_for(metadata_count) + slots_for(tensor_count)
        # Per entry a span and a value or tensor; 8 alignment gaps of 64 bytes.
        if not arena.fits(u8, total * (SPAN_BYTES + ENTRY_BYTES) + slots * 4 + 8 * 64):
            return False
        self.keys = arena.slice(Span, metadata_count)
        self.values = arena.slice(Value, metadata_count)
        self.key_index.start(arena.slice(u32, slots_for(metadata_count)))
        self.names = arena.slice(Span, tensor_count)
        self.tensors = arena.slice(Tensor, tensor_count)
        self.name_index.start(arena.slice(u32, slots_for(tensor_count)))
        return True

    def parse_metadata(self, reader: Reader) -> GgufError | None:
        """Read every key and value."""
        for i in range(len(self.keys)):
            at = reader.at
            key = reader.read_string()
            if reader.failed:
                return self.fail(GgufError.TRUNCATED, at, b"")
            if len(key) == 0:
                return self.fail(GgufError.EMPTY_KEY, at, b"")
            if len(key) > KEY_BYTES_MAX:
                return self.fail(GgufError.KEY_TOO_LONG, at, b"")
            self.keys[i].offset = reader.at - len(key)
            self.keys[i].length = u32(len(key))
            refusal = self.key_index.insert(self.keys, self.data, i)
            if refusal is not None:
                return self.fail(insert_error(refusal, GgufError.DUPLICATE_KEY), at, key)
            at = reader.at
            error = read_value(reader, self.values[i])
            if error is not None:
                return self.fail(error, at, key)
        return None

    def find_alignment(self) -> GgufError | None:
        """The alignment of tensor data."""
        self.alignment = ALIGNMENT_DEFAULT
        i = self.find(b"general.alignment")
        if i == NOT_FOUND:
            return None
        value = self.values[i]
        bad = value.type != ValueType.U32
        alignment = 0 if bad else read_u32(self.data, value.offset)
        if alignment == 0 or alignment & (alignment - 1) != 0 or alignment > ALIGNMENT_MAX:
            return self.fail(GgufError.BAD_ALIGNMENT, value.offset, b"general.alignment")
        self.alignment = alignment
        return None

    def parse_tensors(self, reader: Reader) -> GgufError | None:
        """Read every tensor, then check that their data lie in the file."""
        for i in range(len(self.tensors)):
            at = reader.at
            name = reader.read_string()
            if reader.failed:
                return self.fail(GgufError.TRUNCATED, at, b"")
            if len(name) == 0:
                return self.fail(GgufError.EMPTY_TENSOR_NAME, at, b"")
            if len(name) > TENSOR_NAME_BYTES_MAX:
                return self.fail(GgufError.TENSOR_NAME_TOO_LONG, at, b"")
            self.names[i].offset = reader.at - len(name)
            self.names[i].length = u32(len(name))
            refusal = self.name_index.insert(self.names, self.data, i)
            if refusal is not None:
                return self.fail(insert_error(refusal, GgufError.DUPLICATE_TENSOR), at, name)
            error = self.read_tensor(reader, self.tensors[i])
            if error is not None:
                return self.fail(error, at, name)

        # The data begins at the next aligned byte; offsets so far count from there.
        end = reader.at
        self.data_offset = end + (self.alignment - end % self.alignment) % self.alignment
        for i in range(len(self.tensors)):
            tensor = self.tensors[i]
            space = len(self.data) - min(self.data_offset, len(self.data))
            if tensor.offset > space or tensor.length > space - tensor.offset:
                name = self.tensor_name(i)
                return self.fail(GgufError.TENSOR_OUTSIDE_FILE, self.names[i].offset, name)
            tensor.offset += self.data_offset
        return None

    def read_tensor(self, reader: Reader, tensor: Tensor) -> GgufError | None:
        """Read one tensor's shape, type and (relative) offset."""
        tensor.dimension_count = reader.read_u32()
        if reader.failed:
            return GgufError.TRUNCATED
        if tensor.dimension_count < 1 or tensor.dimension_count > DIMENSION_COUNT_MAX:
            return GgufError.DIMENSION_COUNT
        elements = self.read_dimensions(reader, tensor)
        if isinstance(elements, GgufError):
            return elements
        tensor.type = reader.read_u32()
        offset = reader.read_u64()
        if reader.failed:
            return GgufError.TRUNCATED
        if not type_is_known(tensor.type):
            return GgufError.UNKNOWN_TENSOR_TYPE
        row = row_bytes(tensor.type, tensor.dims[0])
        if row == 0:
            return GgufError.PARTIAL_BLOCK
        if offset % self.alignment != 0:
            return GgufError.MISALIGNED_TENSOR
        if offset > len(self.data):
            return GgufError.TENSOR_OUTSIDE_FILE
        tensor.offset = usize(offset)
        tensor.length = usize(elements // tensor.dims[0] * row)
        return None

    def read_dimensions(self, reader: Reader, tensor: Tensor) -> u64 | GgufError:
        """Read the dimensions; returns the number of elements."""
        elements: u64 = 1
        for i in range(DIMENSION_COUNT_MAX):
            tensor.dims[i] = reader.read_u64() if i < tensor.dimension_count else 1
            if reader.failed:
                return GgufError.TRUNCATED
            if tensor.dims[i] == 0 or tensor.dims[i] >> 63 != 0:
                return GgufError.BAD_DIMENSION
            if tensor.dims[i] > TENSOR_ELEMENTS_MAX // elements:
                return GgufError.TENSOR_TOO_LARGE
            elements *= tensor.dims[i]
        return elements

    def find(self, key: Bytes) -> u32:
        """The index of a metadata key, or NOT_FOUND."""
        return self.key_index.find(self.keys, self.data, key)

    def has(self, key: Bytes) -> bool:
        """Whether there is a metadata key, of any type."""
        return self.find(key) != NOT_FOUND

    def tensor(self, name: Bytes) -> Tensor | None:
        """The tensor called `name`."""
        i = self.name_index.find(self.names, self.data, name)
        if i == NOT_FOUND:
            return None
        return self.tensors[i]

    def tensor_name(self, i: usize) -> Bytes:
        """The name of tensor `i`."""
        span = self.names[i]
        return self.data[span.offset : span.offset + span.length]

    def tensor_data(self, tensor: Tensor) -> Slice[u8]:
        """The tensor's bytes, in the file."""
        return self.data[tensor.offset : tensor.offset + tensor.length]

    def unsigned(self, key: Bytes) -> u64 | Lookup:
        """A non-negative integer of any width."""
        i = self.find(key)
        if i == NOT_FOUND:
            return Lookup.ABSENT
        return unsigned_of(self.data, self.values[i])

    def real(self, key: Bytes) -> f64 | Lookup:
        """A float of either width."""
        i = self.find(key)
        if i == NOT_FOUND:
            return Lookup.ABSENT
        value = self.values[i]
        if value.type == ValueType.F32:
            return f64(read_f32(self.data, value.offset))
        if value.type == ValueType.F64:
            return bitcast(f64, read_u64(self.data, value.offset))
        return Lookup.WRONG_TYPE

    def boolean(self, key: Bytes) -> bool | Lookup:
        """A boolean."""
        i = self.find(key)
        if i == NOT_FOUND:
            return Lookup.ABSENT
        value = self.values[i]
        if value.type != ValueType.BOOL:
            return Lookup.WRONG_TYPE
        return self.data[value.offset] != 0

    def string(self, key: Bytes) -> Bytes | Lookup:
        """A string: its bytes in the file."""
        i = self.find(key)
        if i == NOT_FOUND:
            return Lookup.ABSENT
        value = self.values[i]
        if value.type != ValueType.STRING:
            return Lookup.WRONG_TYPE
        return self.data[value.offset : value.offset + value.length]

    def array(self, key: Bytes, element: u32) -> Value | Lookup:
        """An array whose elements have the ValueType `element`; its bytes are `value_data`."""
        i = self.find(key)
        if i == NOT_FOUND:
            return Lookup.ABSENT
        value = self.values[i]
        if value.type != ValueType.ARRAY or value.element != element:
            return Lookup.WRONG_TYPE
        return value

    def value_data(self, value: Value) -> Bytes:
        """The bytes of a value, without its leading length or count."""
        return self.data[value.offset : value.offset + value.length]


def insert_error(refusal: Refusal, duplicate: GgufError) -> GgufError:
    """Why the file is refused when the index refuses one of its names."""
    return duplicate if refusal == Refusal.DUPLICATE else GgufError.CROWDED_NAMES
