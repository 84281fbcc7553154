"""What the kernels compute, one value at a time: their definition, and the tests' yardstick.

Slow and plain on purpose. A kernel may differ in the last places of f32, since it fuses multiply
and add, and keeps several partial sums; integer dot products are equal.
"""

from bare import f32, f64, i32, usize
from merlion.engine.elementary import exp
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.shapes import BLOCK
from merlion.engine.quant import Format, is_quantised
from merlion.engine.repack import unpacked_value
from merlion.engine.tensor import Matrix


def product(matrix: Matrix, inputs: Activations, row: usize, output: usize) -> f32:
    """Output `output` of a matrix for input row `row`."""
    if is_quantised(matrix.format):
        return product_int8(matrix, inputs, row, output)
    total: f32 = 0.0
    values = inputs.row(row)
    for k in range(matrix.columns):
        total = total + unpacked_value(matrix, output, k) * values[k]
    return total


def product_int8(matrix: Matrix, inputs: Activations, row: usize, output: usize) -> f32:
    """The sum over blocks of weight scale * input scale * (integer dot product) + minimum."""
    total: f32 = 0.0
    for block in range(matrix.blocks):
        at = inputs.block_index(row, block)
        group = output // 16 * matrix.blocks + block
        scale = matrix.scales[group * 16 + output % 16]
        dot: i32 = 0
        for k in range(BLOCK):
            weight = i32(weight_quant(matrix, group, output % 16, k))
            dot = i32(dot + weight * inputs.quants[at * BLOCK + k])
        total = total + scale * inputs.scales[at] * f32(dot)
        if matrix.format == Format.Q4_1:
            total = total + matrix.minimums[group * 16 + output % 16] * inputs.sums[at]
    return total


def weight_quant(matrix: Matrix, group: usize, lane: usize, k: usize) -> i32:
    """Quant k of a row's block: what the scale multiplies."""
    if matrix.format == Format.Q8_0:
        return i32(matrix.quants[(group * 8 + k // 4) * 64 + lane * 4 + k % 4]) - 128
    pair = i32(matrix.quants[(group * 4 + k % 16 // 4) * 64 + lane * 4 + k % 4])
    nibble = pair & 15 if k < 16 else pair >> 4
    if matrix.format == Format.Q4_0:
        return nibble - 8
    return nibble


def silu(gate: f32, up: f32) -> f32:
    """gate * sigmoid(gate) * up."""
    return f32(f64(gate) / (1.0 + exp(-f64(gate))) * f64(up))
