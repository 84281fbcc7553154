"""Weight matrices in the form the kernels read.

A matrix of `rows` outputs by `columns` inputs is stored in groups of 16 rows (kernels/shapes.py).
One group, for each format (r = row in group, b = block of 32 columns, k = column):

| format | `quants` / `floats`                                         | `scales`, `minimums` |
|--------|-------------------------------------------------------------|----------------------|
| Q4_0   | [b][j 0..3][r][4]: low nibble k = 4j.., high k = 16 + 4j..  | f16 [b][r]           |
| Q4_1   | as Q4_0                                                     | f16 [b][r], f16 [b][r] |
| Q8_0   | [b][j 0..7][r][4]: q + 128 as u8, k = 4j..                  | f16 [b][r]           |
| F16    | `halves` f16 [k][r]                                         |                      |
| F32    | `floats` f32 [k][r]                                         |                      |

Invariant: groups are consecutive, and rows past `rows` in the last group are zero.
"""

from bare import Slice, Struct, f16, f32, u8, usize
from merlion.engine.kernels.shapes import BLOCK, GROUP, group_count
from merlion.engine.quant import Format


class Matrix(Struct):
    """One repacked weight matrix: outputs [rows] = matrix [rows, columns] * inputs [columns]."""

    format: Format
    source: Slice[u8]  # The tensor in the file.
    rows: usize
    columns: usize
    quants: Slice[u8]
    scales: Slice[f16]
    minimums: Slice[f16]
    halves: Slice[f16]
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
        return (
            len(self.quants)
            + 2 * len(self.scales)
            + 2 * len(self.minimums)
            + 2 * len(self.halves)
            + 4 * len(self.floats)
        )


def repacked_bytes(form: Format, rows: usize, columns: usize) -> usize:
    """Arena bytes a repacked matrix takes, alignment of its slices included."""
    padded = group_count(rows) * GROUP
    match form:
        case Format.F32:
            return padded * columns * 4 + 64
        case Format.F16:
            return padded * columns * 2 + 64
        case Format.Q4_0:
            return padded * (columns // BLOCK) * 18 + 128
        case Format.Q4_1:
            return padded * (columns // BLOCK) * 20 + 192
        case Format.Q8_0:
            return padded * (columns // BLOCK) * 34 + 128
