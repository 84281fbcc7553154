"""Inputs of a matrix product: a batch of rows in f32, and the same rows in int8 blocks.

A block of 32 values x has scale = max |x| / 127 and q = round(x / scale), as ggml's Q8_0. The
int8 form is laid out for the kernels as [block][row][32], the per-block numbers as [block][row]: a
block of weights meets its rows one after the other, and a single row lies in one piece.

Weights are unsigned in the kernels (q + 8 for Q4_0, q + 128 for Q8_0, as vpdpbusd wants), so a
dot product starts from the correction -8 * sum(x) or -128 * sum(x); a Q4_1 minimum multiplies
scale * sum(x). All three are kept with the block.
"""

from bare import Arena, Slice, Struct, f32, i8, i32, unchecked, usize
from bare.simd import Vec, multiversion
from merlion.engine.kernels.shapes import BLOCK


class Activations(Struct):
    """Up to `rows_max` rows of `columns` values; `rows` of them in use."""

    columns: usize
    rows: usize  # Part of the int8 layout: it is set before rows are filled.
    values: Slice[f32]  # [row][columns]
    quants: Slice[i8]  # [block][row][BLOCK]
    scales: Slice[f32]  # [block][row], and so the rest
    offsets_8: Slice[i32]  # -8 * sum of quants
    offsets_128: Slice[i32]  # -128 * sum of quants
    sums: Slice[f32]  # scale * sum of quants

    def init(self, arena: Arena, rows_max: usize, columns: usize) -> None:
        """Take the storage."""
        blocks = rows_max * ((columns + BLOCK - 1) // BLOCK)
        self.columns = columns
        self.rows = rows_max
        self.values = arena.slice(f32, rows_max * columns)
        self.quants = arena.slice(i8, blocks * BLOCK)
        self.scales = arena.slice(f32, blocks)
        self.offsets_8 = arena.slice(i32, blocks)
        self.offsets_128 = arena.slice(i32, blocks)
        self.sums = arena.slice(f32, blocks)

    def row(self, row: usize) -> Slice[f32]:
        """The f32 values of one row."""
        return self.values[row * self.columns : (row + 1) * self.columns]

    def block_index(self, row: usize, block: usize) -> usize:
        """Where the numbers of a block are."""
        return block * self.rows + row


@multiversion
@unchecked("the block and the rows are asserted to lie in the storage, and the source to hold them")
def quantise_block(target: Activations, block: usize, source: Slice[f32], stride: usize) -> None:
    """Fill block `block` of every row from 32 values each, `stride` apart."""
    blocks = target.columns // BLOCK
    assert block < blocks
    assert target.rows > 0
    assert target.rows * target.columns <= len(target.values)
    assert target.rows * blocks <= len(target.scales)
    assert (target.rows - 1) * stride + BLOCK <= len(source)
    for row in range(target.rows):
        quantise_values(target, target.block_index(row, block), source, row * stride)


@multiversion
@unchecked("the block range is asserted to lie in the row, and the row in the storage")
def quantise(target: Activations, row: usize, first: usize, last: usize) -> None:
    """Fill the int8 form of blocks [first, last) of `row` from its f32 values."""
    blocks = target.columns // BLOCK
    assert last <= blocks
    assert row < target.rows
    assert target.rows * target.columns <= len(target.values)
    assert target.rows * blocks <= len(target.scales)
    for block in range(first, last):
        start = row * target.columns + block * BLOCK
        quantise_values(target, target.block_index(row, block), target.values, start)


@multiversion
@unchecked("the callers assert the ranges")
def quantise_values(target: Activations, at: usize, source: Slice[f32], start: usize) -> None:
    """The int8 form of 32 values."""
    lanes = Vec[f32].lanes
    peak = Vec[f32].splat(0.0)
    for i in range(0, BLOCK, lanes):
        peak = peak.max(Vec[f32].load(source, start + i).abs())
    largest = peak.max_lane()
    inverse: f32 = 0.0
    if largest > 0.0:
        inverse = 127.0 / largest
    factor = Vec[f32].splat(inverse)
    total = Vec[i32].splat(0)
    for i in range(0, BLOCK, lanes):
        quant = (Vec[f32].load(source, start + i) * factor).round_to_i32()
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
