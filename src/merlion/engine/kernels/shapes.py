"""The sizes that repacked weights, quantised activations and kernels agree on.

Weights are stored in groups of 16 output rows, so that one 64-byte line holds 4 consecutive
input values of each row: lane r of a vector belongs to row r of the group, and no kernel needs a
horizontal sum. Narrower vectors take a group in two or four parts.

Activations are stored in panels of 4 batch rows; a tile is one batch row, or one, two or four
panels.
"""

from typing import ClassVar

from bare import usize

GROUP = 16  # Output rows interleaved in one panel of weights.
PANEL = 4  # Batch rows interleaved in one panel of activations.
BLOCK = 32  # Input values that share a scale, in weights and activations.


class Tile:
    """How many batch rows one pass over a group of weights multiplies (compile time only)."""

    COLUMNS: ClassVar[int] = 0


class Tile16(Tile):
    """16 accumulators, 8 weight registers and 8 spare fill the 32 registers of AVX-512."""

    COLUMNS = 16


class Tile8(Tile):
    """Two panels: the most that 16 registers hold, and what is left of a batch."""

    COLUMNS = 8


class Tile4(Tile):
    """One panel."""

    COLUMNS = 4


class Tile1(Tile):
    """One row: decode of a single sequence."""

    COLUMNS = 1


# Widest first. A tile wider than the vector's lanes would not fit the registers.
INT8_TILES = (Tile16, Tile8, Tile4, Tile1)
FLOAT_TILES = (Tile4, Tile1)  # Two accumulators a column (matmul_float.py).


def group_count(rows: usize) -> usize:
    """Groups that hold `rows` output rows; the last one is padded with zero rows."""
    return (rows + GROUP - 1) // GROUP


def padded_rows(rows: usize) -> usize:
    """Batch rows that kernels compute for `rows`: one, or whole panels (the rest is garbage)."""
    if rows == 1:
        return 1
    return (rows + PANEL - 1) // PANEL * PANEL
