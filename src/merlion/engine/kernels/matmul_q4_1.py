"""Matrix product with Q4_1 weights: exact int8 dot products by block, f32 across blocks.

output = sum over blocks of (w_scale * x_scale) * dot(q, x) + w_minimum * (x_scale * sum(x)).
"""

from bare import Slice, f32, i8, i32, stack, u8, unchecked, unroll, usize
from bare.cpu import prefetch
from bare.simd import Vec, dot4_small, fma, multiversion
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.shapes import BLOCK, GROUP, INT8_TILES, PANEL, Tile, padded_rows
from merlion.engine.tensor import Matrix

GROUP_BYTES = GROUP * BLOCK // 2  # One block of a group.
PREFETCH_BLOCKS = 16  # 4 KiB ahead: a quarter more bandwidth than the hardware finds alone.


@multiversion
@unchecked("the group range and the sizes of all three operands are asserted at entry")
def matmul_q4_1(
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
    assert last_group * blocks * GROUP <= len(matrix.minimums)
    assert columns * blocks <= len(inputs.scales)
    assert last_group * GROUP <= stride
    assert columns * stride <= len(output)

    for group in range(first_group, last_group):
        column: usize = 0
        for tile in INT8_TILES:
            if Vec[f32].lanes >= tile.COLUMNS:
                while columns - column >= tile.COLUMNS:
                    for part in range(0, GROUP, Vec[f32].lanes):
                        tile_q4_1(tile, matrix, inputs, output, stride, group, part, column)
                    column += tile.COLUMNS


@unchecked("the caller asserted the ranges")
def tile_q4_1[T: Tile](
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
    mask = Vec[u8].splat(15)
    for block in range(blocks):
        at = group * blocks + block
        if tile.COLUMNS <= PANEL:
            ahead = at + PREFETCH_BLOCKS
            for j in unroll(4):
                prefetch(matrix.quants, ahead * GROUP_BYTES + j * 4 * GROUP)
            prefetch(matrix.scales, ahead * GROUP)
            prefetch(matrix.minimums, ahead * GROUP)
        scale = Vec[f32].load(matrix.scales, at * GROUP + part)
        minimum = Vec[f32].load(matrix.minimums, at * GROUP + part)
        low = stack(Vec[u8], 4)
        high = stack(Vec[u8], 4)
        for j in unroll(4):
            pairs = Vec[u8].load(matrix.quants, at * GROUP_BYTES + j * 4 * GROUP + part * 4)
            low[j] = pairs & mask
            high[j] = pairs >> 4
        for c in unroll(tile.COLUMNS):
            x = ((panel + c // PANEL) * blocks + block) * PANEL + c % PANEL
            dots = Vec[i32].splat(0)
            for j in unroll(4):
                values = Vec[i8].broadcast4(inputs.quants, x * BLOCK + j * 4)
                dots = dot4_small(dots, low[j], values)
            for j in unroll(4):
                values = Vec[i8].broadcast4(inputs.quants, x * BLOCK + 16 + j * 4)
                dots = dot4_small(dots, high[j], values)
            totals[c] = fma(minimum, Vec[f32].splat(inputs.sums[x]), totals[c])
            factor = scale * Vec[f32].splat(inputs.scales[x])
            totals[c] = fma(dots.to(f32), factor, totals[c])
    for c in unroll(tile.COLUMNS):
        totals[c].store(output, (column + c) * stride + group * GROUP + part)
