"""What happens to a row of activations between matrix products.

Sums are taken in 16 partial sums (value i in sum i % 16) added in order, whatever the width of
the vectors; values past the last multiple of 16 are added after them.
"""

from bare import Slice, f32, stack, unchecked
from bare.math import sqrt
from bare.simd import Vec, fma, multiversion
from merlion.engine.kernels.exponential import exp_lanes
from merlion.engine.kernels.shapes import GROUP


@multiversion
@unchecked("the three lengths are asserted equal")
def rms_norm(row: Slice[f32], weight: Slice[f32], epsilon: f32, out: Slice[f32]) -> None:
    """out = row / sqrt(mean(row**2) + epsilon) * weight (Zhang and Sennrich 2019)."""
    assert len(row) == len(weight)
    assert len(row) == len(out)
    lanes = Vec[f32].lanes
    whole = len(row) // GROUP * GROUP

    partial = stack(f32, 16)
    for part in range(0, GROUP, lanes):
        squares = Vec[f32].splat(0.0)
        for i in range(part, whole, GROUP):
            value = Vec[f32].load(row, i)
            squares = fma(value, value, squares)
        squares.store(partial, part)
    total = sum_of_partials(partial)
    for i in range(whole, len(row)):
        total = total + row[i] * row[i]

    factor: f32 = 1.0 / sqrt(total / f32(len(row)) + epsilon)
    factors = Vec[f32].splat(factor)
    for i in range(0, whole, lanes):
        (Vec[f32].load(row, i) * factors * Vec[f32].load(weight, i)).store(out, i)
    for i in range(whole, len(row)):
        out[i] = row[i] * factor * weight[i]


@unchecked("the caller passes 16 values")
def sum_of_partials(partial: Slice[f32]) -> f32:
    """The 16 partial sums, added in order."""
    total: f32 = 0.0
    for i in range(GROUP):
        total = total + partial[i]
    return total


@multiversion
@unchecked("the lengths are asserted equal, and to be whole vectors")
def silu_multiply(gate: Slice[f32], up: Slice[f32], out: Slice[f32]) -> None:
    """out = gate * sigmoid(gate) * up."""
    assert len(gate) == len(out)
    assert len(up) == len(out)
    assert len(out) % GROUP == 0
    for i in range(0, len(out), Vec[f32].lanes):
        silu_lanes(Vec[f32].load(gate, i), Vec[f32].load(up, i)).store(out, i)


def silu_lanes(gate: Vec[f32], up: Vec[f32]) -> Vec[f32]:
    """gate * sigmoid(gate) * up in every lane."""
    one = Vec[f32].splat(1.0)
    return gate / (one + exp_lanes(Vec[f32].splat(0.0) - gate)) * up
