"""A tile of up to eight queries, and its products with the cache: scores, and weighted values.

Both multiply pairs of bf16 (`dot2`): of neighbouring dimensions for scores, of neighbouring
positions for values. Each query's sums are chains of their own, in order, so its bits depend on no
other query. A level without vdpbf16ps multiplies the same numbers widened to f32, in the same
order, and gets the same bits: there the tile keeps its factors as f32 too.
"""

from typing import ClassVar

from bare import Arena, Array, Slice, Struct, array, bf16, f32, stack, unchecked, unroll, usize
from bare.cpu import prefetch_l2
from bare.simd import Vec, dot2, fma, multiversion, native_dot2, pack
from merlion.engine.kernels.shapes import GROUP
from merlion.engine.limits import HEAD_SIZE_MAX

TILE_QUERIES = 8
RANGE = 256  # Positions of a range: scores of a tile stay in the L1 cache.
SPAN = 32  # Positions that scores are computed of at a time: two vectors of 512 bits.
# Between the queries of a tile: a constant for the instructions' addresses, and 64 bytes more than
# a power of two, so that queries do not share the sets of the L1 cache.
QUERY_STRIDE = HEAD_SIZE_MAX + 32

UNLIMITED = 3.0e38
MASKED = -1.0e30  # A score whose weight is 0.


class Width:
    """How many queries and vectors of the cache one pass multiplies (compile time only)."""

    QUERIES: ClassVar[int] = 0
    VECTORS: ClassVar[int] = 0
    FETCHES: ClassVar[bool] = False  # Whether reading the cache takes longer than multiplying.


class Eight(Width):
    """Enough to be bound by arithmetic: each factor from memory is used twice, or eight times."""

    QUERIES = 8
    VECTORS = 2


class EightNarrow(Width):
    """The last vector of a head, or any where there are 16 registers."""

    QUERIES = 8
    VECTORS = 1


class Four(Width):
    """One token's queries of a key-value head; enough to hide the latency of sums."""

    QUERIES = 4
    VECTORS = 4
    FETCHES = True


class FourPair(Width):
    """The same where vectors are shorter, and loads of half a line or less."""

    QUERIES = 4
    VECTORS = 2
    FETCHES = True


class FourNarrow(Width):
    """What is left of a head."""

    QUERIES = 4
    VECTORS = 1
    FETCHES = True


class QueryTile(Struct):
    """Up to eight queries of one sequence and key-value head, and room for their factors."""

    count: usize
    row: Array[usize] = array(TILE_QUERIES)  # Of the batch.
    head: Array[usize] = array(TILE_QUERIES)
    visible: Array[usize] = array(TILE_QUERIES)  # Positions a query attends to.
    source: Array[usize] = array(TILE_QUERIES)  # Where its head starts in the query rows.
    target: Array[usize] = array(TILE_QUERIES)  # Where its partial result goes.
    queries: Slice[bf16]  # [TILE_QUERIES][QUERY_STRIDE]
    wide_queries: Slice[f32]  # The same, where `dot2` is no instruction.
    scores: Slice[f32]  # [TILE_QUERIES][RANGE], and then the weights where it is none.
    weights: Slice[bf16]  # [TILE_QUERIES][RANGE]
    highest: Array[f32] = array(TILE_QUERIES)  # Score in a range, times its scale.
    total: Array[f32] = array(TILE_QUERIES)  # Sum of weights in a range.
    sums: Slice[f32]  # [TILE_QUERIES][16], parts of it.
    limits: Slice[f32]  # 16 times no limit for a score, then 16 times MASKED.

    def init(self, arena: Arena) -> None:
        """Take room for one range."""
        self.queries = arena.slice(bf16, TILE_QUERIES * QUERY_STRIDE)
        self.wide_queries = arena.slice(f32, TILE_QUERIES * QUERY_STRIDE)
        self.scores = arena.slice(f32, TILE_QUERIES * RANGE)
        self.weights = arena.slice(bf16, TILE_QUERIES * RANGE)
        self.sums = arena.slice(f32, TILE_QUERIES * GROUP)
        self.limits = arena.slice(f32, 2 * GROUP)
        self.limits[:GROUP].fill(UNLIMITED)
        self.limits[GROUP:].fill(MASKED)

    def visible_max(self) -> usize:
        """Positions that the farthest-seeing query attends to."""
        result: usize = 0
        for i in range(self.count):
            result = max(result, self.visible[i])
        return result


def tile_bytes() -> usize:
    """Arena bytes of a tile, with room for alignment."""
    return TILE_QUERIES * ((QUERY_STRIDE + RANGE) * 6 + GROUP * 4) + 1024


@multiversion
@unchecked("the caller asserted that the queries lie in the rows")
def round_queries(tile: QueryTile, rows: Slice[f32], head_size: usize) -> None:
    """The queries as factors."""
    lanes = Vec[f32].lanes
    for query in range(tile.count):
        source = tile.source[query]
        at = query * QUERY_STRIDE
        done: usize = 0
        while done + 2 * lanes <= head_size:
            low = Vec[f32].load(rows, source + done)
            high = Vec[f32].load(rows, source + done + lanes)
            pack(low, high).store(tile.queries, at + done)
            done += 2 * lanes
        for d in range(done, head_size):
            tile.queries[at + d] = rows[source + d]
        if not native_dot2():
            for d in range(0, head_size, lanes):
                Vec[f32].load(tile.queries, at + d).store(tile.wide_queries, at + d)


@multiversion
@unchecked("the caller asserted the sizes")
def score(
    tile: QueryTile, keys: Slice[bf16], head_size: usize, length: usize, soon: Slice[bf16]
) -> None:
    """scores[q][t] = sum over d of q[d] * k[t][d], for `length` positions, a multiple of SPAN.

    `soon` is what will be read after this: the memory need not rest meanwhile.
    """
    lanes = Vec[f32].lanes
    first: usize = 0
    if lanes >= 8:
        while first + 4 < tile.count:
            if lanes >= 16:
                score_width(Eight, tile, first, keys, head_size, length, soon)
            else:
                score_width(EightNarrow, tile, first, keys, head_size, length, soon)
            first += 8
    while first < tile.count:
        if lanes >= 16:
            score_width(FourNarrow, tile, first, keys, head_size, length, soon)
        else:
            score_width(FourPair, tile, first, keys, head_size, length, soon)
        first += 4


@unchecked("the caller asserted the sizes")
def score_width[W: Width](
    width: type[W],
    tile: QueryTile,
    first: usize,
    keys: Slice[bf16],
    head_size: usize,
    length: usize,
    soon: Slice[bf16],
) -> None:
    """Scores of queries [first, first + width.QUERIES)."""
    lanes = Vec[f32].lanes
    for position in range(0, length, width.VECTORS * lanes):
        dots = stack(Vec[f32], width.QUERIES * width.VECTORS)
        for d in range(0, head_size, 2):
            for v in unroll(width.VECTORS):
                p = position + v * lanes
                block = p // GROUP * GROUP
                place = block * head_size + d * GROUP + (p - block) * 2
                if width.FETCHES:
                    prefetch_l2(soon, place)
                key = Vec[bf16].load(keys, place)
                for q in unroll(width.QUERIES):
                    at = (first + q) * QUERY_STRIDE + d
                    n = v * width.QUERIES + q
                    if native_dot2():
                        dots[n] = dot2(dots[n], key, Vec[bf16].broadcast2(tile.queries, at))
                    else:
                        odd = Vec[f32].splat(tile.wide_queries[at + 1])
                        even = Vec[f32].splat(tile.wide_queries[at])
                        dots[n] = fma(key.even(), even, fma(key.odd(), odd, dots[n]))
        for q in unroll(width.QUERIES):
            for v in unroll(width.VECTORS):
                place = (first + q) * RANGE + position + v * lanes
                dots[v * width.QUERIES + q].store(tile.scores, place)


@multiversion
@unchecked("the caller asserted the sizes")
def weigh(
    tile: QueryTile,
    values: Slice[bf16],
    stride: usize,
    positions: usize,
    partials: Slice[f32],
    soon: Slice[bf16],
) -> None:
    """partials[q][d] = sum over t of weight[q][t] * v[t][d], for all dimensions."""
    lanes = Vec[f32].lanes
    first: usize = 0
    if lanes >= 8:
        while first + 4 < tile.count:
            at: usize = 0
            if lanes >= 16:
                while at + 2 * lanes <= stride:
                    weigh_width(Eight, tile, first, values, at, stride, positions, partials, soon)
                    at += 2 * lanes
            while at < stride:
                weigh_width(EightNarrow, tile, first, values, at, stride, positions, partials, soon)
                at += lanes
            first += 8
    while first < tile.count:
        at = 0
        if lanes >= 16:
            while at + 4 * lanes <= stride:
                weigh_width(Four, tile, first, values, at, stride, positions, partials, soon)
                at += 4 * lanes
            while at < stride:
                weigh_width(FourNarrow, tile, first, values, at, stride, positions, partials, soon)
                at += lanes
        else:
            while at < stride:
                weigh_width(FourPair, tile, first, values, at, stride, positions, partials, soon)
                at += 2 * lanes
        first += 4


@unchecked("the caller asserted the sizes")
def weigh_width[W: Width](
    width: type[W],
    tile: QueryTile,
    first: usize,
    values: Slice[bf16],
    dimension: usize,
    stride: usize,
    positions: usize,
    partials: Slice[f32],
    soon: Slice[bf16],
) -> None:
    """`width.VECTORS` vectors of dimensions for queries [first, first + width.QUERIES)."""
    lanes = Vec[f32].lanes
    sums = stack(Vec[f32], width.QUERIES * width.VECTORS)
    for span in range(0, positions, SPAN):
        for pair in range((min(positions - span, SPAN) + 1) // 2):
            t = span + 2 * pair
            for v in unroll(width.VECTORS):
                place = t * stride + (dimension + v * lanes) * 2
                if width.FETCHES:
                    prefetch_l2(soon, place)
                value = Vec[bf16].load(values, place)
                for q in unroll(width.QUERIES):
                    row = (first + q) * RANGE + span
                    n = v * width.QUERIES + q
                    if native_dot2():
                        weight = Vec[bf16].broadcast2(tile.weights, row + 2 * pair)
                        sums[n] = dot2(sums[n], value, weight)
                    else:
                        odd = Vec[f32].splat(tile.scores[row + GROUP + pair])
                        even = Vec[f32].splat(tile.scores[row + pair])
                        sums[n] = fma(value.even(), even, fma(value.odd(), odd, sums[n]))
    for q in unroll(width.QUERIES):
        if first + q < tile.count:
            for v in unroll(width.VECTORS):
                place = tile.target[first + q] + dimension + v * lanes
                sums[v * width.QUERIES + q].store(partials, place)
