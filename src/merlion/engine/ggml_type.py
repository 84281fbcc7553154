"""Tensor element types of GGUF files: number, name, block shape (ggml.h, enum ggml_type).

A row of a quantised tensor is a sequence of blocks; a block holds BLOCK_ELEMENTS[type] weights in
BLOCK_BYTES[type] bytes. All published types are listed, so that a file is measured exactly and an
unsupported type is refused by its name; numbers that ggml has withdrawn have BLOCK_ELEMENTS 0.
The formats that have kernels are in quant.py.
"""

from bare import Bytes, u32, u64

_TYPES = {
    0: (b"F32", 1, 4),
    1: (b"F16", 1, 2),
    2: (b"Q4_0", 32, 18),
    3: (b"Q4_1", 32, 20),
    6: (b"Q5_0", 32, 22),
    7: (b"Q5_1", 32, 24),
    8: (b"Q8_0", 32, 34),
    9: (b"Q8_1", 32, 36),
    10: (b"Q2_K", 256, 84),
    11: (b"Q3_K", 256, 110),
    12: (b"Q4_K", 256, 144),
    13: (b"Q5_K", 256, 176),
    14: (b"Q6_K", 256, 210),
    15: (b"Q8_K", 256, 292),
    16: (b"IQ2_XXS", 256, 66),
    17: (b"IQ2_XS", 256, 74),
    18: (b"IQ3_XXS", 256, 98),
    19: (b"IQ1_S", 256, 50),
    20: (b"IQ4_NL", 32, 18),
    21: (b"IQ3_S", 256, 110),
    22: (b"IQ2_S", 256, 82),
    23: (b"IQ4_XS", 256, 136),
    24: (b"I8", 1, 1),
    25: (b"I16", 1, 2),
    26: (b"I32", 1, 4),
    27: (b"I64", 1, 8),
    28: (b"F64", 1, 8),
    29: (b"IQ1_M", 256, 56),
    30: (b"BF16", 1, 2),
    34: (b"TQ1_0", 256, 54),
    35: (b"TQ2_0", 256, 66),
    39: (b"MXFP4", 32, 17),
}

TYPE_COUNT = max(_TYPES) + 1
TYPE_NAMES = tuple(_TYPES.get(i, (b"unknown", 0, 0))[0] for i in range(TYPE_COUNT))
BLOCK_ELEMENTS = tuple(_TYPES.get(i, (b"", 0, 0))[1] for i in range(TYPE_COUNT))
BLOCK_BYTES = tuple(_TYPES.get(i, (b"", 0, 0))[2] for i in range(TYPE_COUNT))


def type_is_known(number: u32) -> bool:
    """Whether ggml defines this type number."""
    return number < TYPE_COUNT and BLOCK_ELEMENTS[number] != 0


def type_name(number: u32) -> Bytes:
    """The type's name as ggml writes it, `unknown` for a number without one."""
    if number >= TYPE_COUNT:
        return b"unknown"
    return TYPE_NAMES[number]


def row_bytes(number: u32, elements: u64) -> u64:
    """Bytes of one row of `elements` weights; 0 when they are no whole number of blocks."""
    assert type_is_known(number)
    block = BLOCK_ELEMENTS[number]
    if elements % block != 0:
        return 0
    return elements // block * BLOCK_BYTES[number]
