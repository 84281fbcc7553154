"""Attention of up to eight queries of one sequence and key-value head, over an f16 cache.

Positions are taken in ranges of 256. A range gives each query a partial result: the highest score,
the sum of exponentials below it, and the values weighted with them; `fold` adds a range to the sum
of those before, in order, so it does not matter who computed which range or when. Queries share
what they load. Each sees its own number of positions (`visible`): what a neighbour needs beyond
that is computed and then weighted with 0, so a query gives the same bits alone.

Per query and range: score[t] = sum over d in order of q[d] * k[t][d]; the sum of exponentials is
kept as in rows.py; sums[d] = sum over t in order of weight[t] * v[t][d].
"""

from typing import ClassVar

from bare import Arena, Array, Slice, Struct, array, f16, f32, stack, unchecked, unroll, usize
from bare.simd import Vec, fma, multiversion
from merlion.engine.kernels.exponential import exp_lanes
from merlion.engine.kernels.rows import sum_of_partials
from merlion.engine.kernels.shapes import GROUP

TILE_QUERIES = 8
RANGE = 256  # Positions of a range: scores of a tile stay in the L1 cache.
MASKED = -1.0e30  # A score whose exponential is 0.


class Width:
    """How many queries one pass takes (compile time only)."""

    QUERIES: ClassVar[int] = 0
    VECTORS: ClassVar[int] = 0  # Of dimensions that one pass over the values sums.


class Eight(Width):
    """Enough to be bound by arithmetic; two by eight sums for the 32 registers of AVX-512."""

    QUERIES = 8
    VECTORS = 2


class EightNarrow(Width):
    """The last vector of a head, or any where there are 16 registers."""

    QUERIES = 8
    VECTORS = 1


class Four(Width):
    """One token's queries of a key-value head; enough to hide the latency of fma."""

    QUERIES = 4
    VECTORS = 4


class FourNarrow(Width):
    """What is left of a head."""

    QUERIES = 4
    VECTORS = 1


class QueryTile(Struct):
    """Eight queries (the last one repeated where there are fewer) and room for their scores."""

    count: usize
    row: Array[usize] = array(TILE_QUERIES)  # Of the batch.
    head: Array[usize] = array(TILE_QUERIES)
    visible: Array[usize] = array(TILE_QUERIES)  # Positions a query attends to.
    source: Array[usize] = array(TILE_QUERIES)  # Where its head starts in the query rows.
    target: Array[usize] = array(TILE_QUERIES)  # Where its partial result goes.
    scores: Slice[f32]  # [TILE_QUERIES][RANGE]

    def init(self, arena: Arena) -> None:
        """Take room for one range."""
        self.scores = arena.slice(f32, TILE_QUERIES * RANGE)

    def visible_max(self) -> usize:
        """Positions that the farthest-seeing query attends to."""
        result: usize = 0
        for i in range(self.count):
            result = max(result, self.visible[i])
        return result


def value_stride(head_size: usize) -> usize:
    """Values of a position in the cache: the head size in whole vectors."""
    return (head_size + GROUP - 1) // GROUP * GROUP


def partial_stride(head_size: usize) -> usize:
    """Floats of a partial result: weighted sums, then highest score, sum of exponentials."""
    return value_stride(head_size) + GROUP


def attend(
    tile: QueryTile,
    queries: Slice[f32],
    keys: Slice[f16],
    values: Slice[f16],
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


def attend_range(
    tile: QueryTile,
    queries: Slice[f32],
    keys: Slice[f16],
    values: Slice[f16],
    head_size: usize,
    first: usize,
    partials: Slice[f32],
) -> None:
    """Partial results over positions [first, first + RANGE) for the queries that see any."""
    visible = min(tile.visible_max(), first + RANGE)
    if visible <= first:
        return
    length = (visible - first + GROUP - 1) // GROUP * GROUP
    stride = value_stride(head_size)
    score(tile, queries, keys[first * head_size :], head_size, length)
    for i in range(tile.count):
        seen = min(max(tile.visible[i], first) - first, length)
        at = tile.target[i] + stride
        if seen > 0:
            softmax(tile.scores[i * RANGE : i * RANGE + length], seen, partials[at : at + GROUP])
        else:
            tile.scores[i * RANGE : i * RANGE + length].fill(0.0)
    weigh(tile, values[first * stride :], stride, visible - first, partials)


@multiversion
@unchecked("sizes are asserted at entry")
def score(
    tile: QueryTile, queries: Slice[f32], keys: Slice[f16], head_size: usize, length: usize
) -> None:
    """Scores of `length` positions for the queries of a tile, scaled by 1/sqrt(head_size)."""
    assert length <= RANGE
    assert length % GROUP == 0
    assert len(tile.scores) >= TILE_QUERIES * RANGE
    assert length * head_size <= len(keys)
    assert tile.count <= TILE_QUERIES
    for query in range(TILE_QUERIES):
        assert tile.source[query] + head_size <= len(queries)

    first: usize = 0
    if Vec[f32].lanes >= 8:
        while first + 4 < tile.count:
            score_width(Eight, tile, first, queries, keys, head_size, length)
            first += 8
    while first < tile.count:
        score_width(Four, tile, first, queries, keys, head_size, length)
        first += 4


@unchecked("the caller asserted the sizes")
def score_width[W: Width](
    width: type[W],
    tile: QueryTile,
    first: usize,
    queries: Slice[f32],
    keys: Slice[f16],
    head_size: usize,
    length: usize,
) -> None:
    """Scores of queries [first, first + width.QUERIES)."""
    one: f32 = 1.0
    scale = Vec[f32].splat(one) / Vec[f32].splat(f32(head_size)).sqrt()
    for block in range(0, length, GROUP):
        for part in range(0, GROUP, Vec[f32].lanes):
            dots = stack(Vec[f32], width.QUERIES)
            for d in range(head_size):
                key = Vec[f32].load(keys, block * head_size + d * GROUP + part)
                for q in unroll(width.QUERIES):
                    weight = Vec[f32].splat(queries[tile.source[first + q] + d])
                    dots[q] = fma(key, weight, dots[q])
            for q in unroll(width.QUERIES):
                (dots[q] * scale).store(tile.scores, (first + q) * RANGE + block + part)


@multiversion
@unchecked("the buffer is asserted to be whole vectors")
def softmax(scores: Slice[f32], visible: usize, out: Slice[f32]) -> None:
    """Replace the first `visible` scores by exp(score - max) and the rest by 0.

    out = max, sum of the exponentials.
    """
    assert len(scores) % GROUP == 0
    assert 0 < visible <= len(scores)
    assert len(out) == GROUP
    lanes = Vec[f32].lanes
    for i in range(visible, len(scores)):
        scores[i] = MASKED
    peaks = Vec[f32].splat(MASKED)
    for i in range(0, len(scores), lanes):
        peaks = peaks.max(Vec[f32].load(scores, i))
    highest = peaks.max_lane()
    peak = Vec[f32].splat(highest)

    partial = stack(f32, 16)
    for part in range(0, GROUP, lanes):
        sums = Vec[f32].splat(0.0)
        for i in range(part, len(scores), GROUP):
            weight = exp_lanes(Vec[f32].load(scores, i) - peak)
            weight.store(scores, i)
            sums = sums + weight
        sums.store(partial, part)
    out[0] = highest
    out[1] = sum_of_partials(partial)


@multiversion
@unchecked("sizes are asserted at entry")
def weigh(
    tile: QueryTile, values: Slice[f16], stride: usize, positions: usize, partials: Slice[f32]
) -> None:
    """The values of `positions` positions weighted with the exponentials, for every query."""
    assert stride % GROUP == 0
    assert positions <= RANGE
    assert positions * stride <= len(values)
    assert len(tile.scores) >= TILE_QUERIES * RANGE
    assert tile.count <= TILE_QUERIES
    for query in range(TILE_QUERIES):
        assert tile.target[query] + stride <= len(partials)

    lanes = Vec[f32].lanes
    first: usize = 0
    if lanes >= 8:
        while first + 4 < tile.count:
            at: usize = 0
            if lanes >= 16:
                while at + 2 * lanes <= stride:
                    weigh_width(Eight, tile, first, values, at, stride, positions, partials)
                    at += 2 * lanes
            while at < stride:
                weigh_width(EightNarrow, tile, first, values, at, stride, positions, partials)
                at += lanes
            first += 8
    while first < tile.count:
        at = 0
        if lanes >= 16:
            while at + 4 * lanes <= stride:
                weigh_width(Four, tile, first, values, at, stride, positions, partials)
                at += 4 * lanes
        while at < stride:
            weigh_width(FourNarrow, tile, first, values, at, stride, positions, partials)
            at += lanes
        first += 4


@unchecked("the caller asserted the sizes")
def weigh_width[W: Width](
    width: type[W],
    tile: QueryTile,
    first: usize,
    values: Slice[f16],
    dimension: usize,
    stride: usize,
    positions: usize,
    partials: Slice[f32],
) -> None:
    """`width.VECTORS` vectors of dimensions for queries [first, first + width.QUERIES)."""
    lanes = Vec[f32].lanes
    sums = stack(Vec[f32], width.QUERIES * width.VECTORS)
    for t in range(positions):
        for v in unroll(width.VECTORS):
            value = Vec[f32].load(values, t * stride + dimension + v * lanes)
            for q in unroll(width.QUERIES):
                weight = Vec[f32].splat(tile.scores[(first + q) * RANGE + t])
                at = v * width.QUERIES + q
                sums[at] = fma(value, weight, sums[at])
    for q in unroll(width.QUERIES):
        if first + q < tile.count:
            for v in unroll(width.VECTORS):
                place = tile.target[first + q] + dimension + v * lanes
                sums[v * width.QUERIES + q].store(partials, place)


@multiversion
@unchecked("the lengths are asserted equal, and to be whole vectors")
def fold(sums: Slice[f32], part: Slice[f32]) -> None:
    """Add the partial result of the next range to the sum of those before."""
    assert len(sums) == len(part)
    assert len(sums) % GROUP == 0
    assert len(sums) > GROUP
    size = len(sums) - GROUP
    highest = max(sums[size], part[size])
    here = exp_lanes(Vec[f32].splat(sums[size] - highest))
    there = exp_lanes(Vec[f32].splat(part[size] - highest))
    sums[size] = highest
    sums[size + 1] = sums[size + 1] * here[0] + part[size + 1] * there[0]
    for i in range(0, size, Vec[f32].lanes):
        scaled = Vec[f32].load(sums, i) * here
        fma(Vec[f32].load(part, i), there, scaled).store(sums, i)


@multiversion
@unchecked("the output is asserted to fit the sums")
def settle(sums: Slice[f32], out: Slice[f32]) -> None:
    """The output of a query: its weighted sums over its sum of exponentials."""
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
