"""Inputs of a matrix product: a batch of rows in f32, and the same rows in int8 blocks.

A block of 32 values x has scale = max |x| / 127 and q = round(x / scale), as ggml's Q8_0. The
int8 form is laid out for the kernels as [panel of 4 rows][block][row in panel][32], the
per-block numbers as [panel][block][row in panel].

Weights are unsigned in the kernels (q + 8 for Q4_0, q + 128 for Q8_0, as vpdpbusd wants), so a
dot product starts from the correction -8 * sum(x) or -128 * sum(x); a Q4_1 minimum multiplies
scale * sum(x). All three are kept with the block.
"""

from bare import Arena, Slice, Struct, f32, i8, i32, unchecked, usize
from bare.simd import Vec, multiversion
from merlion.engine.kernels.shapes import BLOCK, PANEL


class Activations(Struct):
    """`rows_max` rows of up to `columns_max` values; `columns` of them in use."""

    columns: usize
    values: Slice[f32]  # [row][columns]
    quants: Slice[i8]  # [panel][block][PANEL][BLOCK]
    scales: Slice[f32]  # [panel][block][PANEL], and so the rest
    offsets_8: Slice[i32]  # -8 * sum of quants
    offsets_128: Slice[i32]  # -128 * sum of quants
    sums: Slice[f32]  # scale * sum of quants

    def init(self, arena: Arena, rows_max: usize, columns_max: usize) -> None:
        """Take the storage; `rows_max` is rounded up to whole panels."""
        rows = (rows_max + PANEL - 1) // PANEL * PANEL
        blocks = rows * ((columns_max + BLOCK - 1) // BLOCK)
        self.columns = columns_max
        self.values = arena.slice(f32, rows * columns_max)
        self.quants = arena.slice(i8, blocks * BLOCK)
        self.scales = arena.slice(f32, blocks)
        self.offsets_8 = arena.slice(i32, blocks)
        self.offsets_128 = arena.slice(i32, blocks)
        self.sums = arena.slice(f32, blocks)

    def row(self, row: usize) -> Slice[f32]:
        """The f32 values of one row."""
        return self.values[row * self.columns : (row + 1) * self.columns]


def block_index(blocks: usize, row: usize, block: usize) -> usize:
    """Where the numbers of a block are, for rows of `blocks` blocks."""
    return (row // PANEL * blocks + block) * PANEL + row % PANEL


@multiversion
@unchecked("the block range is asserted to lie in the row, and the row in the storage")
def quantise(target: Activations, row: usize, first: usize, last: usize) -> None:
    """Fill the int8 form of blocks [first, last) of `row` from its f32 values."""
    lanes = Vec[f32].lanes
    blocks = target.columns // BLOCK
    assert last <= blocks
    assert (row + 1) * target.columns <= len(target.values)
    assert block_index(blocks, row, blocks) <= len(target.scales) + PANEL * PANEL

    for block in range(first, last):
        start = row * target.columns + block * BLOCK
        at = block_index(blocks, row, block)
        peak = Vec[f32].splat(0.0)
        for i in range(0, BLOCK, lanes):
            peak = peak.max(Vec[f32].load(target.values, start + i).abs())
        largest = peak.max_lane()
        inverse: f32 = 0.0
        if largest > 0.0:
            inverse = 127.0 / largest
        factor = Vec[f32].splat(inverse)
        total = Vec[i32].splat(0)
        for i in range(0, BLOCK, lanes):
            quant = (Vec[f32].load(target.values, start + i) * factor).round_to_i32()
            quant.store(target.quants, at * BLOCK + i)
            total = total + quant
        scale: f32 = largest / 127.0
        sum_ = total.sum()
        target.scales[at] = scale
        target.offsets_8[at] = sum_ * -8
        target.offsets_128[at] = sum_ * -128
        target.sums[at] = scale * f32(sum_)


def quantise_row(target: Activations, row: usize) -> None:
    """Fill the int8 form of a whole row."""
    quantise(target, row, 0, target.columns // BLOCK)
