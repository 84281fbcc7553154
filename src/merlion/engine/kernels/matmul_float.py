"""Matrix product with F16 and F32 weights: f32 arithmetic throughout.

Each output has two accumulators, over even and over odd inputs, added at the end: enough
independent chains for a single row to keep up with memory.
"""

from typing import ClassVar

from bare import Slice, f32, stack, unchecked, unroll, usize
from bare.simd import Vec, fma, multiversion
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.shapes import GROUP


class Inputs:
    """How many inputs one pass over a group of weights multiplies (compile time only)."""

    COUNT: ClassVar[int] = 1


class One(Inputs):
    """What is left of a batch, or decoding."""


class Four(Inputs):
    """Enough to be bound by arithmetic."""

    COUNT = 4


WIDTHS = (Four, One)


@multiversion
@unchecked("the group range and the sizes of all three operands are asserted at entry")
def matmul_float[E](
    weights: Slice[E],
    inputs: Activations,
    count: usize,
    output: Slice[f32],
    stride: usize,
    first: usize,
    last: usize,
    accumulate: bool,
) -> None:
    """As `matmul`, for weights [group][column][GROUP]."""
    columns = inputs.columns
    assert first < last
    assert 0 < count <= inputs.rows
    assert last * columns * GROUP <= len(weights)
    assert count * columns <= len(inputs.values)
    assert (count - 1) * stride + (last - first) * GROUP <= len(output)

    for group in range(first, last):
        of_group = weights[group * columns * GROUP :]
        column: usize = 0
        for width in WIDTHS:
            while count - column >= width.COUNT:
                for part in range(0, GROUP, Vec[f32].lanes):
                    at = column * stride + (group - first) * GROUP + part
                    out = output[at:]
                    tile_float(width, of_group, inputs, part, column, out, stride, accumulate)
                column += width.COUNT


@unchecked("the caller asserted the ranges")
def tile_float[W: Inputs, E](
    width: type[W],
    weights: Slice[E],
    inputs: Activations,
    part: usize,
    column: usize,
    output: Slice[f32],
    stride: usize,
    accumulate: bool,
) -> None:
    """One group for inputs [column, column + width.COUNT); `output` starts at its first lane."""
    length = inputs.columns
    start = column * length
    even = stack(Vec[f32], width.COUNT)
    odd = stack(Vec[f32], width.COUNT)
    for k in range(0, length - 1, 2):
        weight_0 = Vec[f32].load(weights, k * GROUP + part)
        weight_1 = Vec[f32].load(weights, (k + 1) * GROUP + part)
        for c in unroll(width.COUNT):
            x = start + c * length + k
            even[c] = fma(weight_0, Vec[f32].splat(inputs.values[x]), even[c])
            odd[c] = fma(weight_1, Vec[f32].splat(inputs.values[x + 1]), odd[c])
    if length % 2 == 1:
        weight_0 = Vec[f32].load(weights, (length - 1) * GROUP + part)
        for c in unroll(width.COUNT):
            x = start + c * length + length - 1
            even[c] = fma(weight_0, Vec[f32].splat(inputs.values[x]), even[c])
    for c in unroll(width.COUNT):
        total = even[c] + odd[c]
        if accumulate:
            total = total + Vec[f32].load(output, c * stride)
        total.store(output, c * stride)
