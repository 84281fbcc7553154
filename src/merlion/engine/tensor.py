"""Weight matrices in the form the kernels read.

A matrix of `rows` outputs by `columns` inputs is stored in groups of 16 rows (kernels/shapes.py).
One group, for each format (r = row in group, b = block of 32 columns, k = column):

| format | storage                                                         |
|--------|-----------------------------------------------------------------|
| Q4_0   | `packed`, quants [j 0..3][r][4]: low nibble k = 4j.., high 16 + 4j.. |
| Q4_1   | as Q4_0, with minimums                                          |
| Q8_0   | `packed`, quants [j 0..7][r][4]: q + 128 as u8, k = 4j..        |
| F16    | `halves` f16 [k][r]                                             |
| F32    | `floats` f32 [k][r]                                             |

`packed` is a stream of blocks with their scales (kernels/packing.py).
Invariant: groups are consecutive, and rows past `rows` in the last group are zero.
"""

from bare import Slice, Struct, f16, f32, u8, usize
from merlion.engine.kernels.packing import PackedQ4_0, PackedQ4_1, PackedQ8_0, packed_bytes
from merlion.engine.kernels.shapes import BLOCK, GROUP, group_count
from merlion.engine.quant import Format


class Matrix(Struct):
    """One repacked weight matrix: outputs [rows] = matrix [rows, columns] * inputs [columns]."""

    format: Format
    source: Slice[u8]  # The tensor in the file.
    rows: usize
    columns: usize
    packed: Slice[u8]
    halves: Slice[f16]  # Of a quantised format: the bytes of `packed`, for the scales in them.
    floats: Slice[f32]

    @property
    def groups(self) -> usize:
        """Groups of 16 rows, the last one padded."""
        return group_count(self.rows)

    @property
    def blocks(self) -> usize:
        """Blocks of 32 columns in a row (quantised formats)."""
        return self.columns // BLOCK

    def stored_bytes(self) -> usize:
        """Bytes that one product reads."""
        if len(self.packed) > 0:
            return len(self.packed)
        return 2 * len(self.halves) + 4 * len(self.floats)


def repacked_bytes(form: Format, rows: usize, columns: usize) -> usize:
    """Arena bytes a repacked matrix takes, alignment of its slices included."""
    groups = group_count(rows)
    blocks = groups * (columns // BLOCK)
    match form:
        case Format.F32:
            return groups * GROUP * columns * 4 + 64
        case Format.F16:
            return groups * GROUP * columns * 2 + 64
        case Format.Q4_0:
            return packed_bytes(PackedQ4_0, blocks) + 64
        case Format.Q4_1:
            return packed_bytes(PackedQ4_1, blocks) + 64
        case Format.Q8_0:
            return packed_bytes(PackedQ8_0, blocks) + 64
