"""Attention over many heads, and the peak it is measured against (compiled with `bare`)."""

from bare import Slice, bf16, f32, stack, unchecked, unroll, usize
from bare.simd import Vec, dot2, multiversion
from merlion.engine.kernels.attention import attend
from merlion.engine.kernels.attention_tile import QueryTile
from merlion.engine.kv_cache import KvCache

CHAINS = 12  # Independent products of a vector in a round: more than the units' latency hides.


def attend_heads(
    tile: QueryTile, queries: Slice[f32], cache: KvCache, heads: usize, partials: Slice[f32]
) -> None:
    """One tile over `heads` heads of the cache, from the first again after the last."""
    for i in range(heads):
        head = i % cache.head_count
        keys = cache.head_keys(0, 0, head)
        values = cache.head_values(0, 0, head)
        attend(tile, queries, keys, values, cache.head_size, partials)


@multiversion
@unchecked("the slice is asserted to hold the pairs")
def multiply_pairs(factors: Slice[bf16], rounds: usize) -> f32:
    """`rounds` times CHAINS independent multiply-adds of a vector of pairs."""
    assert len(factors) >= 512
    sums = stack(Vec[f32], CHAINS)
    left = Vec[bf16].load(factors, 0)
    for i in range(rounds):
        right = Vec[bf16].broadcast2(factors, i % 256 * 2)
        for j in unroll(CHAINS):
            sums[j] = dot2(sums[j], left, right)
    total = sums[0]
    for i in unroll(CHAINS):
        total = total + sums[i]
    return total.sum()


@multiversion
def pair_products_a_round() -> usize:
    """Multiply-adds of one round of `multiply_pairs`."""
    return CHAINS * Vec[bf16].lanes
