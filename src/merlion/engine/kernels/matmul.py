"""A matrix product of any format, for a share of the output rows."""

from bare import Slice, f32, usize
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.matmul_float import matmul_float
from merlion.engine.kernels.matmul_int8 import matmul_int8
from merlion.engine.kernels.packing import PackedQ4_0, PackedQ4_1, PackedQ8_0
from merlion.engine.quant import Format
from merlion.engine.tensor import Matrix


def matmul(
    matrix: Matrix,
    inputs: Activations,
    count: usize,
    output: Slice[f32],
    stride: usize,
    first: usize,
    last: usize,
    accumulate: bool,
) -> None:
    """Output rows of groups [first, last) for `count` inputs.

    `output` is [input][stride]; its first column is the first row of group `first`, and whole
    groups are written. `accumulate` adds the product to what is there. Quantised formats read the
    int8 form of `inputs`, the others its f32 values.
    """
    if first >= last or count == 0:
        return
    assert inputs.columns == matrix.columns
    match matrix.format:
        case Format.Q4_0:
            matmul_int8(PackedQ4_0, matrix, inputs, count, output, stride, first, last, accumulate)
        case Format.Q8_0:
            matmul_int8(PackedQ8_0, matrix, inputs, count, output, stride, first, last, accumulate)
        case Format.Q4_1:
            matmul_int8(PackedQ4_1, matrix, inputs, count, output, stride, first, last, accumulate)
        case Format.F16:
            matmul_float(matrix.halves, inputs, count, output, stride, first, last, accumulate)
        case Format.F32:
            matmul_float(matrix.floats, inputs, count, output, stride, first, last, accumulate)
