"""What the kernels compute, one value at a time: their definition, and the tests' yardstick.

Slow and plain on purpose. A kernel may differ in the last places of f32, since it fuses multiply
and add, and keeps several partial sums; integer dot products are equal.
"""

from bare import f32, f64, i32, usize
from merlion.engine.elementary import exp
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.packing import (
    LINE,
    PackedQ4_0,
    PackedQ4_1,
    PackedQ8_0,
    Packing,
    minimums_at,
    quants_at,
    scales_at,
)
from merlion.engine.kernels.shapes import BLOCK, GROUP
from merlion.engine.quant import Format
from merlion.engine.tensor import Matrix


def product(matrix: Matrix, inputs: Activations, row: usize, output: usize) -> f32:
    """Output `output` of a matrix for input row `row`."""
    match matrix.format:
        case Format.Q4_0:
            return product_int8(PackedQ4_0, matrix, inputs, row, output)
        case Format.Q4_1:
            return product_int8(PackedQ4_1, matrix, inputs, row, output)
        case Format.Q8_0:
            return product_int8(PackedQ8_0, matrix, inputs, row, output)
        case _:
            total: f32 = 0.0
            values = inputs.row(row)
            for k in range(matrix.columns):
                total = total + unpacked_value(matrix, output, k) * values[k]
            return total


def product_int8[P: Packing](
    packing: type[P], matrix: Matrix, inputs: Activations, row: usize, output: usize
) -> f32:
    """The sum over blocks of weight scale * input scale * (integer dot product) + minimum."""
    total: f32 = 0.0
    lane = output % GROUP
    for block in range(matrix.blocks):
        x = inputs.block_index(row, block)
        at = output // GROUP * matrix.blocks + block
        dot: i32 = 0
        for k in range(BLOCK):
            weight = packed_quant(packing, matrix, at, lane, k)
            dot = i32(dot + weight * inputs.quants[x * BLOCK + k])
        scale = matrix.halves[scales_at(packing, at) + lane]
        total = total + scale * inputs.scales[x] * f32(dot)
        if packing.HAS_MINIMUM:
            total = total + matrix.halves[minimums_at(packing, at) + lane] * inputs.sums[x]
    return total


def unpacked_value(matrix: Matrix, row: usize, column: usize) -> f32:
    """One value of a repacked matrix."""
    match matrix.format:
        case Format.F32:
            return matrix.floats[(row // GROUP * matrix.columns + column) * GROUP + row % GROUP]
        case Format.F16:
            return matrix.halves[(row // GROUP * matrix.columns + column) * GROUP + row % GROUP]
        case Format.Q4_0:
            return packed_value(PackedQ4_0, matrix, row, column)
        case Format.Q4_1:
            return packed_value(PackedQ4_1, matrix, row, column)
        case Format.Q8_0:
            return packed_value(PackedQ8_0, matrix, row, column)


def packed_value[P: Packing](packing: type[P], matrix: Matrix, row: usize, column: usize) -> f32:
    """One value of a quantised format."""
    at = row // GROUP * matrix.blocks + column // BLOCK
    lane = row % GROUP
    scale = matrix.halves[scales_at(packing, at) + lane]
    value = scale * f32(packed_quant(packing, matrix, at, lane, column % BLOCK))
    if packing.HAS_MINIMUM:
        return value + matrix.halves[minimums_at(packing, at) + lane]
    return value


def packed_quant[P: Packing](
    packing: type[P], matrix: Matrix, at: usize, lane: usize, k: usize
) -> i32:
    """Quant k of a row's block, as the file has it: what the scale multiplies."""
    start = quants_at(packing, at) + lane * 4 + k % 4
    if packing.IS_NIBBLES:
        pair = matrix.packed[start + k % 16 // 4 * LINE]
        return i32(pair & 15 if k < 16 else pair >> 4) - packing.BIAS
    return i32(matrix.packed[start + k // 4 * LINE]) - packing.BIAS


def silu(gate: f32, up: f32) -> f32:
    """gate * sigmoid(gate) * up."""
    return f32(f64(gate) / (1.0 + exp(-f64(gate))) * f64(up))
