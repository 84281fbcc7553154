"""Attention of up to four queries of one sequence and key-value head, over an f16 cache.

Two passes: all scores into a buffer and their softmax, then the weighted sum of values. Queries
share what they load. Each query sees its own number of positions (`visible`): what a neighbour
needs beyond that is computed and then weighted with 0, so a query gives the same bits alone.

Per query: score[t] = sum over d in order of q[d] * k[t][d]; the sum of exponentials is kept as in
rows.py; output[d] = sum over t in order of weight[t] * v[t][d].
"""

from typing import ClassVar

from bare import Arena, Array, Slice, Struct, array, f16, f32, stack, unchecked, unroll, usize
from bare.simd import Vec, fma, multiversion
from merlion.engine.kernels.exponential import exp_lanes
from merlion.engine.kernels.rows import sum_of_partials
from merlion.engine.kernels.shapes import GROUP

QUERIES = 4  # Enough independent sums to hide the latency of fma.
MASKED = -1.0e30  # A score whose exponential is 0.


class Span:
    """How many vectors of dimensions one pass over the values sums (compile time only)."""

    VECTORS: ClassVar[int] = 0


class Span4(Span):
    """Four by four sums and four values: for the 32 registers of AVX-512."""

    VECTORS = 4


class Span2(Span):
    """Two by four sums."""

    VECTORS = 2


class Span1(Span):
    """What is left."""

    VECTORS = 1


SPANS = (Span4, Span2, Span1)


class QueryTile(Struct):
    """Four queries (the last one repeated where there are fewer) and room for their scores."""

    visible: Array[usize] = array(QUERIES)  # Positions a query attends to.
    source: Array[usize] = array(QUERIES)  # Where its head starts in the query rows.
    target: Array[usize] = array(QUERIES)  # Where its head starts in the output rows.
    normaliser: Array[f32] = array(QUERIES)  # 1 / sum of exponentials.
    context: usize
    scores: Slice[f32]  # [QUERIES][context]

    def init(self, arena: Arena, context: usize) -> None:
        """Take room for `context` positions, a multiple of 16."""
        assert context % GROUP == 0
        self.context = context
        self.scores = arena.slice(f32, QUERIES * context)

    def visible_max(self) -> usize:
        """Positions that the farthest-seeing query attends to."""
        result: usize = 0
        for i in range(QUERIES):
            result = max(result, self.visible[i])
        return result


def attend(
    tile: QueryTile,
    queries: Slice[f32],
    keys: Slice[f16],
    values: Slice[f16],
    head_size: usize,
    value_stride: usize,
    output: Slice[f32],
) -> None:
    """Fill the outputs of a tile from the keys and values of its head."""
    length = (tile.visible_max() + GROUP - 1) // GROUP * GROUP
    score(tile, queries, keys, head_size, length)
    for query in range(QUERIES):
        start = query * tile.context
        scores = tile.scores[start : start + length]
        tile.normaliser[query] = softmax(scores, tile.visible[query])
    weigh(tile, values, head_size, value_stride, output)


@multiversion
@unchecked("sizes are asserted at entry")
def score(
    tile: QueryTile, queries: Slice[f32], keys: Slice[f16], head_size: usize, length: usize
) -> None:
    """Scores of positions [0, length) for the queries of a tile, scaled by 1/sqrt(head_size)."""
    assert length <= tile.context
    assert QUERIES * tile.context <= len(tile.scores)
    assert length * head_size <= len(keys)
    for query in range(QUERIES):
        assert tile.source[query] + head_size <= len(queries)

    one: f32 = 1.0
    scale = Vec[f32].splat(one) / Vec[f32].splat(f32(head_size)).sqrt()
    for block in range(0, length, GROUP):
        for part in range(0, GROUP, Vec[f32].lanes):
            dots = stack(Vec[f32], QUERIES)
            for d in range(head_size):
                key = Vec[f32].load(keys, block * head_size + d * GROUP + part)
                for q in unroll(QUERIES):
                    dots[q] = fma(key, Vec[f32].splat(queries[tile.source[q] + d]), dots[q])
            for q in unroll(QUERIES):
                (dots[q] * scale).store(tile.scores, q * tile.context + block + part)


@multiversion
@unchecked("the buffer is asserted to be whole vectors")
def softmax(scores: Slice[f32], visible: usize) -> f32:
    """Replace the first `visible` scores by exp(score - max) and the rest by 0.

    Returns 1 / sum of the exponentials.
    """
    assert len(scores) % GROUP == 0
    assert 0 < visible <= len(scores)
    lanes = Vec[f32].lanes
    for i in range(visible, len(scores)):
        scores[i] = MASKED
    peaks = Vec[f32].splat(MASKED)
    for i in range(0, len(scores), lanes):
        peaks = peaks.max(Vec[f32].load(scores, i))
    peak = Vec[f32].splat(peaks.max_lane())

    partial = stack(f32, 16)
    for part in range(0, GROUP, lanes):
        sums = Vec[f32].splat(0.0)
        for i in range(part, len(scores), GROUP):
            weight = exp_lanes(Vec[f32].load(scores, i) - peak)
            weight.store(scores, i)
            sums = sums + weight
        sums.store(partial, part)
    total = sum_of_partials(partial)
    return 1.0 / total


@multiversion
@unchecked("sizes are asserted at entry")
def weigh(
    tile: QueryTile, values: Slice[f16], head_size: usize, value_stride: usize, output: Slice[f32]
) -> None:
    """Outputs of the queries of a tile: the values weighted with the exponentials."""
    positions = tile.visible_max()
    assert head_size <= value_stride
    assert value_stride % GROUP == 0
    assert positions <= tile.context
    assert positions * value_stride <= len(values)
    for query in range(QUERIES):
        assert tile.target[query] + head_size <= len(output)

    lanes = Vec[f32].lanes
    dimension: usize = 0
    for span in SPANS:
        if lanes >= span.VECTORS * QUERIES:
            while dimension + (span.VECTORS - 1) * lanes < head_size:
                weigh_span(span, tile, values, dimension, value_stride, head_size, output)
                dimension += span.VECTORS * lanes


@unchecked("the caller asserted the sizes; the tail goes through a buffer of one vector")
def weigh_span[S: Span](
    span: type[S],
    tile: QueryTile,
    values: Slice[f16],
    dimension: usize,
    value_stride: usize,
    head_size: usize,
    output: Slice[f32],
) -> None:
    """Outputs of `span.VECTORS` vectors of dimensions; only the last may pass the head's end."""
    lanes = Vec[f32].lanes
    positions = tile.visible_max()
    context = tile.context
    sums = stack(Vec[f32], QUERIES * span.VECTORS)
    for t in range(positions):
        for v in unroll(span.VECTORS):
            value = Vec[f32].load(values, t * value_stride + dimension + v * lanes)
            for q in unroll(QUERIES):
                weight = Vec[f32].splat(tile.scores[q * context + t])
                sums[v * QUERIES + q] = fma(value, weight, sums[v * QUERIES + q])
    for v in unroll(span.VECTORS):
        start = dimension + v * lanes
        for q in unroll(QUERIES):
            result = sums[v * QUERIES + q] * Vec[f32].splat(tile.normaliser[q])
            if start + lanes <= head_size:
                result.store(output, tile.target[q] + start)
            else:
                tail = stack(f32, 16)
                result.store(tail, 0)
                rest = head_size - start
                at = tile.target[q] + start
                output[at : at + rest].copy_from(tail[:rest])
