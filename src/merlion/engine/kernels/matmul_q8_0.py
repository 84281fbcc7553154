"""Matrix product with Q8_0 weights: exact int8 dot products by block, f32 across blocks.

output = sum over blocks of (w_scale * x_scale) * dot(q, x). The stored weight is u = q + 128, so
dot(q, x) = dot(u, x) - 128 * sum(x), and that correction is where the accumulator starts.

Without vpdpbusd the same integer comes from |q| times x with the sign of q, which `dot4_small`
multiplies exactly: |q| <= 128 and |x| <= 127, so a pair's sum is at most 32,512 and fits 16 bits.
"""

from bare import Slice, f32, i8, i32, stack, u8, unchecked, unroll, usize
from bare.cpu import prefetch
from bare.simd import Vec, dot4, dot4_small, fma, multiversion, select
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.shapes import BLOCK, GROUP, INT8_TILES, PANEL, Tile, padded_rows
from merlion.engine.tensor import Matrix

GROUP_BYTES = GROUP * BLOCK  # One block of a group.
PREFETCH_BLOCKS = 8  # 4 KiB ahead: a quarter more bandwidth than the hardware finds alone.


@multiversion
@unchecked("the group range and the sizes of all three operands are asserted at entry")
def matmul_q8_0(
    matrix: Matrix,
    inputs: Activations,
    count: usize,
    output: Slice[f32],
    stride: usize,
    first_group: usize,
    last_group: usize,
) -> None:
    """Rows of groups [first_group, last_group) for `count` inputs: output [input][stride]."""
    blocks = matrix.columns // BLOCK
    columns = padded_rows(count)
    assert inputs.columns == matrix.columns
    assert last_group * blocks * GROUP_BYTES <= len(matrix.quants)
    assert last_group * blocks * GROUP <= len(matrix.scales)
    assert columns * blocks <= len(inputs.scales)
    assert last_group * GROUP <= stride
    assert columns * stride <= len(output)

    for group in range(first_group, last_group):
        column: usize = 0
        for tile in INT8_TILES:
            if Vec[f32].lanes >= tile.COLUMNS:
                while columns - column >= tile.COLUMNS:
                    for part in range(0, GROUP, Vec[f32].lanes):
                        tile_q8_0(tile, matrix, inputs, output, stride, group, part, column)
                    column += tile.COLUMNS


@unchecked("the caller asserted the ranges")
def tile_q8_0[T: Tile](
    tile: type[T],
    matrix: Matrix,
    inputs: Activations,
    output: Slice[f32],
    stride: usize,
    group: usize,
    part: usize,
    column: usize,
) -> None:
    """Lanes [part, part + lanes) of one group, for inputs [column, column + tile.COLUMNS)."""
    blocks = matrix.columns // BLOCK
    panel = column // PANEL
    totals = stack(Vec[f32], tile.COLUMNS)
    for block in range(blocks):
        at = group * blocks + block
        if tile.COLUMNS <= PANEL:
            ahead = at + PREFETCH_BLOCKS
            for j in unroll(8):
                prefetch(matrix.quants, ahead * GROUP_BYTES + j * 4 * GROUP)
            prefetch(matrix.scales, ahead * GROUP)
        scale = Vec[f32].load(matrix.scales, at * GROUP + part)
        weights = stack(Vec[u8], 8)
        signs = stack(Vec[i8], 8)
        for j in unroll(8):
            weights[j] = Vec[u8].load(matrix.quants, at * GROUP_BYTES + j * 4 * GROUP + part * 4)
            if Vec[f32].lanes < 16:
                weight = (weights[j] ^ Vec[u8].splat(128)).bits(i8)
                weights[j] = weight.abs().bits(u8)
                none = Vec[i8].splat(0)
                signs[j] = select(weight < none, Vec[i8].splat(-1), none)
        for c in unroll(tile.COLUMNS):
            x = ((panel + c // PANEL) * blocks + block) * PANEL + c % PANEL
            if Vec[f32].lanes == 16:
                dots = Vec[i32].splat(inputs.offsets_128[x])
                for j in unroll(8):
                    values = Vec[i8].broadcast4(inputs.quants, x * BLOCK + j * 4)
                    dots = dot4(dots, weights[j], values)
            else:
                dots = Vec[i32].splat(0)
                for j in unroll(8):
                    values = Vec[i8].broadcast4(inputs.quants, x * BLOCK + j * 4)
                    dots = dot4_small(dots, weights[j], (values ^ signs[j]) - signs[j])
            factor = scale * Vec[f32].splat(inputs.scales[x])
            totals[c] = fma(dots.to(f32), factor, totals[c])
    for c in unroll(tile.COLUMNS):
        totals[c].store(output, (column + c) * stride + group * GROUP + part)
