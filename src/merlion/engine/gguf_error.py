"""Why a GGUF file is refused: one name an error, and what to tell the user."""

from enum import Enum, auto


class GgufError(Enum):
    """Why a file is refused."""

    NOT_GGUF = auto()
    BIG_ENDIAN = auto()
    UNSUPPORTED_VERSION = auto()
    TRUNCATED = auto()
    NOT_ARRIVED = auto()  # The header goes on in bytes that are still being read: try again.
    METADATA_COUNT = auto()
    TENSOR_COUNT = auto()
    EMPTY_KEY = auto()
    KEY_TOO_LONG = auto()
    DUPLICATE_KEY = auto()
    UNKNOWN_VALUE_TYPE = auto()
    NESTED_ARRAY = auto()
    BAD_BOOLEAN = auto()
    BAD_ALIGNMENT = auto()
    EMPTY_TENSOR_NAME = auto()
    TENSOR_NAME_TOO_LONG = auto()
    DUPLICATE_TENSOR = auto()
    CROWDED_NAMES = auto()
    DIMENSION_COUNT = auto()
    BAD_DIMENSION = auto()
    TENSOR_TOO_LARGE = auto()
    UNKNOWN_TENSOR_TYPE = auto()
    PARTIAL_BLOCK = auto()
    MISALIGNED_TENSOR = auto()
    TENSOR_OUTSIDE_FILE = auto()
    OUT_OF_MEMORY = auto()


GGUF_MESSAGES = {
    GgufError.NOT_GGUF: b"not a GGUF file (bad magic)",
    GgufError.BIG_ENDIAN: b"big-endian GGUF files are not supported",
    GgufError.UNSUPPORTED_VERSION: b"GGUF version is not 2 or 3",
    GgufError.TRUNCATED: b"file ends inside its header",
    GgufError.NOT_ARRIVED: b"the header has not been read yet",
    GgufError.METADATA_COUNT: b"absurd number of metadata keys",
    GgufError.TENSOR_COUNT: b"absurd number of tensors",
    GgufError.EMPTY_KEY: b"empty metadata key",
    GgufError.KEY_TOO_LONG: b"metadata key over 65535 bytes",
    GgufError.DUPLICATE_KEY: b"duplicate metadata key",
    GgufError.UNKNOWN_VALUE_TYPE: b"unknown metadata value type",
    GgufError.NESTED_ARRAY: b"array of arrays",
    GgufError.BAD_BOOLEAN: b"boolean is neither 0 nor 1",
    GgufError.BAD_ALIGNMENT: b"general.alignment is not a 32-bit power of two",
    GgufError.EMPTY_TENSOR_NAME: b"empty tensor name",
    GgufError.TENSOR_NAME_TOO_LONG: b"tensor name over 64 bytes",
    GgufError.DUPLICATE_TENSOR: b"duplicate tensor name",
    GgufError.CROWDED_NAMES: b"too many keys or names with the same hash",
    GgufError.DIMENSION_COUNT: b"tensor has no dimensions or more than 4",
    GgufError.BAD_DIMENSION: b"tensor dimension is zero or negative",
    GgufError.TENSOR_TOO_LARGE: b"tensor has too many elements",
    GgufError.UNKNOWN_TENSOR_TYPE: b"unknown tensor type",
    GgufError.PARTIAL_BLOCK: b"tensor row is no whole number of blocks",
    GgufError.MISALIGNED_TENSOR: b"tensor offset is not aligned",
    GgufError.TENSOR_OUTSIDE_FILE: b"tensor data lies past the end of the file",
    GgufError.OUT_OF_MEMORY: b"not enough memory for the file's tables",
}
