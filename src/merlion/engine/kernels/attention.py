"""Attention of up to eight queries of one sequence and key-value head, over a bf16 cache.

Positions are taken in ranges of 256. A range gives each query a partial result: the highest score
(times log2(e) / sqrt(head size)), the sum of powers of two below it, and the values weighted with
them; `fold` adds a range to the sum of those before, in order, so it does not matter who computed
which range or when. Queries share what they load. Each sees its own number of positions
(`visible`): what a neighbour needs beyond that is weighted with 0, so a query gives the same bits
alone.

Queries and weights are rounded to bf16; sums are f32. The sum of weights is one of rounded ones, so
that rounding makes no output longer or shorter.
"""

from bare import Slice, bf16, f32, u32, unchecked, usize
from bare.math import sqrt
from bare.simd import Vec, dot2, fma, multiversion, native_dot2, pairs
from merlion.engine.kernels.attention_tile import (
    RANGE,
    SPAN,
    TILE_QUERIES,
    QueryTile,
    round_queries,
    score,
    weigh,
)
from merlion.engine.kernels.exponential import exp2_lanes
from merlion.engine.kernels.shapes import GROUP

LOG2_E = 1.44269504088896341
LOWEST = -1.0e20  # Below every score, and far above a hidden one.


def value_stride(head_size: usize) -> usize:
    """Values of a position in the cache: the head size in whole vectors."""
    return (head_size + GROUP - 1) // GROUP * GROUP


def partial_stride(head_size: usize) -> usize:
    """Floats of a partial result: weighted sums, then highest score, sum of weights."""
    return value_stride(head_size) + GROUP


@multiversion
def attend(
    tile: QueryTile,
    queries: Slice[f32],
    keys: Slice[bf16],
    values: Slice[bf16],
    head_size: usize,
    partials: Slice[f32],
) -> None:
    """All ranges of a tile: query i's result is the i-th of `partials` (room for 16)."""
    stride = partial_stride(head_size)
    visible = tile.visible_max()
    for i in range(TILE_QUERIES):
        tile.target[i] = i * stride
    attend_range(tile, queries, keys, values, head_size, 0, partials)
    for i in range(TILE_QUERIES):
        tile.target[i] = (TILE_QUERIES + i) * stride
    for first in range(RANGE, visible, RANGE):
        attend_range(tile, queries, keys, values, head_size, first, partials)
        for i in range(tile.count):
            if tile.visible[i] > first:
                at = tile.target[i]
                fold(partials[i * stride : (i + 1) * stride], partials[at : at + stride])


@multiversion
@unchecked("sizes are asserted at entry")
def attend_range(
    tile: QueryTile,
    queries: Slice[f32],
    keys: Slice[bf16],
    values: Slice[bf16],
    head_size: usize,
    first: usize,
    partials: Slice[f32],
) -> None:
    """Partial results over positions [first, first + RANGE) for the queries that see any."""
    visible = min(tile.visible_max(), first + RANGE)
    if visible <= first:
        return
    length = (visible - first + SPAN - 1) // SPAN * SPAN
    stride = value_stride(head_size)
    assert head_size % 2 == 0
    assert length <= RANGE
    assert (first + length) * head_size <= len(keys)
    assert (first + length) * stride <= len(values)
    assert tile.count <= TILE_QUERIES
    for i in range(tile.count):
        assert tile.source[i] + head_size <= len(queries)
        assert tile.target[i] + stride + 2 <= len(partials)

    round_queries(tile, queries, head_size)
    here = values[first * stride :]
    score(tile, keys[first * head_size :], head_size, length, here)
    scale: f32 = f32(LOG2_E) / sqrt(f32(head_size))
    softmax(tile, first, length, scale)
    for i in range(tile.count):
        if tile.visible[i] > first:
            at = tile.target[i] + stride
            partials[at] = tile.highest[i]
            partials[at + 1] = tile.total[i]
    following = first + RANGE
    soon = keys[following * head_size :] if following < tile.visible_max() else here
    weigh(tile, here, stride, visible - first, partials, soon)


@multiversion
@unchecked("the caller asserted the sizes")
def softmax(tile: QueryTile, first: usize, length: usize, scale: f32) -> None:
    """Scores of `length` positions from `first` become weights 2**(scale * score - highest).

    In passes over all queries, so that none waits for another's chain of operations.
    """
    for query in range(tile.count):
        seen = min(max(tile.visible[query], first) - first, length)
        tile.highest[query] = highest_score(tile, query, seen, length) * scale
    for query in range(tile.count):
        exponentials(tile, query, length, scale)
    for query in range(tile.count):
        tile.total[query] = sum_by_halves(tile.sums[query * GROUP : query * GROUP + GROUP])


@multiversion
@unchecked("the caller asserted the sizes")
def highest_score(tile: QueryTile, query: usize, seen: usize, length: usize) -> f32:
    """The highest of the first `seen` scores; the others become MASKED, whatever they were."""
    lanes = Vec[f32].lanes
    row = query * RANGE
    whole = seen // SPAN * SPAN
    peaks = Vec[f32].splat(LOWEST)
    for i in range(row, row + whole, lanes):
        peaks = peaks.max(Vec[f32].load(tile.scores, i))
    for span in range(whole, length, SPAN):
        left = max(seen, span) - span
        for part in range(0, GROUP, lanes):
            # The limits of a half of a span: none for the positions that are left, then MASKED.
            at = row + span + part
            limit = Vec[f32].load(tile.limits, GROUP - (left + 1) // 2 + part)
            even = Vec[f32].load(tile.scores, at).min(limit)
            limit = Vec[f32].load(tile.limits, GROUP - left // 2 + part)
            odd = Vec[f32].load(tile.scores, at + GROUP).min(limit)
            even.store(tile.scores, at)
            odd.store(tile.scores, at + GROUP)
            peaks = peaks.max(even).max(odd)
    return peaks.max_lane()


@multiversion
@unchecked("the caller asserted the sizes")
def exponentials(tile: QueryTile, query: usize, length: usize, scale: f32) -> None:
    """The weights of a query, and 16 partial sums of them."""
    lanes = Vec[f32].lanes
    scores = tile.scores[query * RANGE : query * RANGE + length]
    weights = tile.weights[query * RANGE : query * RANGE + length]
    factor = Vec[f32].splat(scale)
    shift = Vec[f32].splat(-tile.highest[query])
    ones = pairs(Vec[f32].splat(1.0), Vec[f32].splat(1.0))
    for part in range(0, GROUP, lanes):
        sums = Vec[f32].splat(0.0)
        for span in range(0, length, SPAN):
            at = span + part
            even = exp2_lanes(fma(Vec[f32].load(scores, at), factor, shift))
            odd = exp2_lanes(fma(Vec[f32].load(scores, at + GROUP), factor, shift))
            both = rounded_pairs(even, odd)
            both.store(weights, span + 2 * part)
            sums = dot2(sums, both, ones)
            if not native_dot2():
                both.even().store(scores, at)
                both.odd().store(scores, at + GROUP)
        sums.store(tile.sums, query * GROUP + part)


def rounded_pairs(even: Vec[f32], odd: Vec[f32]) -> Vec[bf16]:
    """`pairs` of numbers from 0 to 1, ties upwards: a quarter of the time of the instruction."""
    half = Vec[u32].splat(0x8000)
    low = (even.bits(u32) + half) >> 16
    high = (odd.bits(u32) + half) & Vec[u32].splat(0xFFFF0000)
    return (low | high).bits(bf16)


@multiversion
@unchecked("the caller passes 16 values")
def sum_by_halves(partial: Slice[f32]) -> f32:
    """The sum of 16 values: the upper half is added to the lower until one is left."""
    lanes = Vec[f32].lanes
    if lanes == 16:
        return Vec[f32].load(partial, 0).sum()
    if lanes == 8:
        return (Vec[f32].load(partial, 0) + Vec[f32].load(partial, 8)).sum()
    even = Vec[f32].load(partial, 0) + Vec[f32].load(partial, 8)
    odd = Vec[f32].load(partial, 4) + Vec[f32].load(partial, 12)
    return (even + odd).sum()


@multiversion
@unchecked("the lengths are asserted equal, and to be whole vectors")
def fold(sums: Slice[f32], part: Slice[f32]) -> None:
    """Add the partial result of the next range to the sum of those before."""
    assert len(sums) == len(part)
    assert len(sums) % GROUP == 0
    assert len(sums) > GROUP
    size = len(sums) - GROUP
    highest = max(sums[size], part[size])
    here = exp2_lanes(Vec[f32].splat(sums[size] - highest))
    there = exp2_lanes(Vec[f32].splat(part[size] - highest))
    sums[size] = highest
    sums[size + 1] = sums[size + 1] * here[0] + part[size + 1] * there[0]
    for i in range(0, size, Vec[f32].lanes):
        scaled = Vec[f32].load(sums, i) * here
        fma(Vec[f32].load(part, i), there, scaled).store(sums, i)


@multiversion
@unchecked("the output is asserted to fit the sums")
def settle(sums: Slice[f32], out: Slice[f32]) -> None:
    """The output of a query: its weighted sums over its sum of weights."""
    assert len(sums) > GROUP
    size = len(sums) - GROUP
    assert len(out) <= size
    factor: f32 = 1.0 / sums[size + 1]
    lanes = Vec[f32].lanes
    whole = len(out) // lanes * lanes
    factors = Vec[f32].splat(factor)
    for i in range(0, whole, lanes):
        (Vec[f32].load(sums, i) * factors).store(out, i)
    for i in range(whole, len(out)):
        out[i] = sums[i] * factor
