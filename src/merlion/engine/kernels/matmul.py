"""A matrix product of any format, for a share of the output rows."""

from bare import Slice, f32, usize
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.matmul_float import matmul_f16, matmul_f32
from merlion.engine.kernels.matmul_q4_0 import matmul_q4_0
from merlion.engine.kernels.matmul_q4_1 import matmul_q4_1
from merlion.engine.kernels.matmul_q8_0 import matmul_q8_0
from merlion.engine.quant import Format
from merlion.engine.tensor import Matrix


def matmul(
    matrix: Matrix,
    inputs: Activations,
    count: usize,
    output: Slice[f32],
    stride: usize,
    first_group: usize,
    last_group: usize,
) -> None:
    """Rows of groups [first_group, last_group) for `count` inputs.

    `output` is [input][stride]; it holds `padded_rows(count)` inputs of which the last few are
    garbage. Quantised formats read the int8 form of `inputs`, the others its f32 values.
    """
    if first_group >= last_group:
        return
    match matrix.format:
        case Format.Q4_0:
            matmul_q4_0(matrix, inputs, count, output, stride, first_group, last_group)
        case Format.Q8_0:
            matmul_q8_0(matrix, inputs, count, output, stride, first_group, last_group)
        case Format.Q4_1:
            matmul_q4_1(matrix, inputs, count, output, stride, first_group, last_group)
        case Format.F16:
            matmul_f16(matrix, inputs, count, output, stride, first_group, last_group)
        case Format.F32:
            matmul_f32(matrix, inputs, count, output, stride, first_group, last_group)
