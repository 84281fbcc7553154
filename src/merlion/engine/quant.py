"""Tensor element formats of GGUF and what their bytes mean (ggml's `ggml-common.h` block layouts).

A row of a quantised tensor is a run of blocks of 32 values, each with its own scale:

| format | block bytes | layout                                    | value i of the block         |
|--------|-------------|-------------------------------------------|------------------------------|
| F32    | 4 (1 value) | f32                                       | x                            |
| F16    | 2 (1 value) | f16                                       | x                            |
| Q8_0   | 34          | f16 scale, 32 x i8                        | scale * q[i]                 |
| Q4_0   | 18          | f16 scale, 16 x (low nibble i, high i+16) | scale * (q[i] - 8)           |
| Q4_1   | 20          | f16 scale, f16 minimum, 16 nibble pairs   | scale * q[i] + minimum       |

`dequantise_row` is the definition: every kernel is tested against it. Other formats are refused
by name (ggml_type.py). Invariant: a row holds a whole number of blocks.
"""

from enum import IntEnum

from bare import Slice, f16, f32, i32, reinterpret, u8, u32, usize

BLOCK = 32  # Values that share a scale.


class Format(IntEnum):
    """Formats with kernels; the numbers are ggml's type ids."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q8_0 = 8


BLOCK_BYTES = {Format.F32: 4, Format.F16: 2, Format.Q4_0: 18, Format.Q4_1: 20, Format.Q8_0: 34}
BLOCK_VALUES = {Format.F32: 1, Format.F16: 1, Format.Q4_0: 32, Format.Q4_1: 32, Format.Q8_0: 32}


def find_format(type_id: u32) -> Format | None:
    """The format of a ggml type id, or None where there is no kernel for it."""
    if type_id == 0:
        return Format.F32
    if type_id == 1:
        return Format.F16
    if type_id == 2:
        return Format.Q4_0
    if type_id == 3:
        return Format.Q4_1
    if type_id == 8:
        return Format.Q8_0
    return None


def is_quantised(form: Format) -> bool:
    """Whether the kernels multiply it with int8 activations (else with f32)."""
    return form != Format.F32 and form != Format.F16


def row_fits(form: Format, columns: usize) -> bool:
    """Whether a row of `columns` values is a whole number of blocks."""
    return columns % BLOCK_VALUES[form] == 0


def row_bytes(form: Format, columns: usize) -> usize:
    """Bytes of a row of `columns` values in the file."""
    assert row_fits(form, columns), "a row is a whole number of blocks"
    return columns // BLOCK_VALUES[form] * BLOCK_BYTES[form]


def dequantise_row(form: Format, row: Slice[u8], out: Slice[f32]) -> None:
    """Expand one row of file bytes into `out`: the definition of every format."""
    assert len(row) == row_bytes(form, len(out)), "row and output have the same length"
    match form:
        case Format.F32:
            out.copy_from(reinterpret(f32, row))
        case Format.F16:
            halves = reinterpret(f16, row)
            for i in range(len(out)):
                out[i] = halves[i]
        case Format.Q8_0:
            for block in range(len(out) // BLOCK):
                dequantise_q8_0(row[block * 34 : block * 34 + 34], out[block * BLOCK :])
        case Format.Q4_0:
            for block in range(len(out) // BLOCK):
                dequantise_q4_0(row[block * 18 : block * 18 + 18], out[block * BLOCK :])
        case Format.Q4_1:
            for block in range(len(out) // BLOCK):
                dequantise_q4_1(row[block * 20 : block * 20 + 20], out[block * BLOCK :])


def dequantise_q8_0(block: Slice[u8], out: Slice[f32]) -> None:
    """One Q8_0 block: 32 values."""
    scale = reinterpret(f16, block[0:2])[0]
    for i in range(BLOCK):
        byte = i32(block[2 + i])
        out[i] = scale * f32(byte - (byte & 0x80) * 2)


def dequantise_q4_0(block: Slice[u8], out: Slice[f32]) -> None:
    """One Q4_0 block: 32 values."""
    scale = reinterpret(f16, block[0:2])[0]
    for i in range(BLOCK // 2):
        pair = i32(block[2 + i])
        out[i] = scale * f32((pair & 15) - 8)
        out[i + BLOCK // 2] = scale * f32((pair >> 4) - 8)


def dequantise_q4_1(block: Slice[u8], out: Slice[f32]) -> None:
    """One Q4_1 block: 32 values."""
    scale = reinterpret(f16, block[0:2])[0]
    minimum = reinterpret(f16, block[2:4])[0]
    for i in range(BLOCK // 2):
        pair = i32(block[4 + i])
        out[i] = scale * f32(pair & 15) + minimum
        out[i + BLOCK // 2] = scale * f32(pair >> 4) + minimum
