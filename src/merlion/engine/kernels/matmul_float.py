"""Matrix product with F16 and F32 weights: f32 arithmetic throughout.

Each output has two accumulators, over even and over odd inputs, added at the end: enough
independent chains for a single row to keep up with memory.
"""

from bare import Slice, f32, stack, unchecked, unroll, usize
from bare.simd import Vec, fma, multiversion
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.shapes import FLOAT_TILES, GROUP, Tile, padded_rows
from merlion.engine.tensor import Matrix


@multiversion
@unchecked("the group range and the sizes of all three operands are asserted at entry")
def matmul_f16(
    matrix: Matrix,
    inputs: Activations,
    count: usize,
    output: Slice[f32],
    stride: usize,
    first_group: usize,
    last_group: usize,
) -> None:
    """Rows of groups [first_group, last_group) for `count` inputs: output [input][stride]."""
    columns = padded_rows(count)
    assert inputs.columns == matrix.columns
    assert last_group * matrix.columns * GROUP <= len(matrix.halves)
    assert columns * matrix.columns <= len(inputs.values)
    assert last_group * GROUP <= stride
    assert columns * stride <= len(output)

    for group in range(first_group, last_group):
        weights = matrix.halves[group * matrix.columns * GROUP :]
        column: usize = 0
        for tile in FLOAT_TILES:
            while columns - column >= tile.COLUMNS:
                for part in range(0, GROUP, Vec[f32].lanes):
                    at = column * stride + group * GROUP + part
                    tile_float(tile, weights, inputs, part, column, output[at:], stride)
                column += tile.COLUMNS


@multiversion
@unchecked("the group range and the sizes of all three operands are asserted at entry")
def matmul_f32(
    matrix: Matrix,
    inputs: Activations,
    count: usize,
    output: Slice[f32],
    stride: usize,
    first_group: usize,
    last_group: usize,
) -> None:
    """As `matmul_f16`, for F32 weights."""
    columns = padded_rows(count)
    assert inputs.columns == matrix.columns
    assert last_group * matrix.columns * GROUP <= len(matrix.floats)
    assert columns * matrix.columns <= len(inputs.values)
    assert last_group * GROUP <= stride
    assert columns * stride <= len(output)

    for group in range(first_group, last_group):
        weights = matrix.floats[group * matrix.columns * GROUP :]
        column: usize = 0
        for tile in FLOAT_TILES:
            while columns - column >= tile.COLUMNS:
                for part in range(0, GROUP, Vec[f32].lanes):
                    at = column * stride + group * GROUP + part
                    tile_float(tile, weights, inputs, part, column, output[at:], stride)
                column += tile.COLUMNS


@unchecked("the caller asserted the ranges")
def tile_float[T: Tile, E](
    tile: type[T],
    weights: Slice[E],
    inputs: Activations,
    part: usize,
    column: usize,
    output: Slice[f32],
    stride: usize,
) -> None:
    """One group for inputs [column, column + tile.COLUMNS); `output` starts at its first lane."""
    length = inputs.columns
    start = column * length
    even = stack(Vec[f32], tile.COLUMNS)
    odd = stack(Vec[f32], tile.COLUMNS)
    for k in range(0, length - 1, 2):
        weight_0 = Vec[f32].load(weights, k * GROUP + part)
        weight_1 = Vec[f32].load(weights, (k + 1) * GROUP + part)
        for c in unroll(tile.COLUMNS):
            x = start + c * length + k
            even[c] = fma(weight_0, Vec[f32].splat(inputs.values[x]), even[c])
            odd[c] = fma(weight_1, Vec[f32].splat(inputs.values[x + 1]), odd[c])
    if length % 2 == 1:
        weight_0 = Vec[f32].load(weights, (length - 1) * GROUP + part)
        for c in unroll(tile.COLUMNS):
            x = start + c * length + length - 1
            even[c] = fma(weight_0, Vec[f32].splat(inputs.values[x]), even[c])
    for c in unroll(tile.COLUMNS):
        (even[c] + odd[c]).store(output, c * stride)
