"""Attention over the bf16 cache against numpy, alone and in company."""

from typing import Any

import numpy as np
import pytest

import bare.simd
from bare import f32
from bare.testing import PYTHON, compiled
from merlion.engine import kv_cache
from merlion.engine.kernels import attention
from merlion.engine.kernels.attention import partial_stride
from merlion.engine.kernels.attention_tile import QueryTile
from merlion.engine.kv_cache import KvCache
from tests.engine.levels import HOST_LEVELS, kernel_levels
from tests.engine.matrices import Floats, arena, array_of, floats, rounded

FUSED = [bare.simd.LEVELS.index(name) for name in HOST_LEVELS if name != "baseline"]

impl = kernel_levels("merlion.engine.kernels.attention", "merlion.engine.kv_cache")


def attended(
    impl: Any, queries: Floats, visible: list[int], keys: Floats, values: Floats
) -> Floats:
    """The kernel's outputs for up to eight queries."""
    context = (len(keys) + 15) // 16 * 16
    space = arena(4 << 20)
    size = queries.shape[1]
    cache = space.alloc(KvCache)
    cache.init(space, 2, 2, 2, size, context)
    for position in range(len(keys)):
        row = np.stack([np.zeros(size, np.float32), keys[position]])
        cache.store_key(1, 1, position, floats(space, row), 0, 2 * size)
        row = np.stack([np.zeros(size, np.float32), values[position]])
        cache.store_value(1, 1, position, floats(space, row), 4, 2 * size)
    tile = space.alloc(QueryTile)
    tile.init(space)
    tile.count = len(queries)
    for i in range(8):
        query = min(i, len(queries) - 1)
        tile.visible[i] = visible[query]
        tile.source[i] = query * size
    stride = partial_stride(size)
    partials = space.slice(f32, 16 * stride)
    impl.attend(
        tile,
        floats(space, queries),
        cache.head_keys(1, 1, 1),
        cache.head_values(1, 1, 1),
        size,
        partials,
    )
    output = space.slice(f32, size)
    found = []
    for i in range(len(queries)):
        impl.settle(partials[i * stride : (i + 1) * stride], output)
        found.append(array_of(output))
    return np.stack(found)


def check(impl: Any, size: int, visible: list[int]) -> None:
    """Numpy's result, and the same bits for the first query alone and the last four.

    Numpy computes with the rounded factors, but weights as they are: rounding those may change an
    output by 2**-9 of each term above and below the fraction.
    """
    random = np.random.default_rng(7)
    positions = max(visible)
    queries = random.standard_normal((len(visible), size)).astype(np.float32) * 2
    keys = random.standard_normal((positions, size)).astype(np.float32)
    values = random.standard_normal((positions, size)).astype(np.float32)
    found = attended(impl, queries, visible, keys, values)
    for query, seen in enumerate(visible):
        scores = rounded(keys[:seen]) @ rounded(queries[query]) / np.sqrt(size)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        wanted = weights @ rounded(values[:seen])
        bound = weights @ np.abs(rounded(values[:seen])) * 2**-8
        assert np.all(np.abs(found[query] - wanted) <= bound + 1e-5)
    alone = attended(impl, queries[:1], visible[:1], keys, values)
    np.testing.assert_array_equal(alone[0], found[0])
    last = attended(impl, queries[-4:], visible[-4:], keys, values)
    np.testing.assert_array_equal(last, found[-4:])


@pytest.mark.parametrize("size", [8, 20, 64])
def test_attention_equals_numpy_and_ignores_neighbours(impl: Any, size: int) -> None:
    check(impl, size, [3, 21, 16])


def test_ranges_and_full_tiles(impl: Any, request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["impl"] == PYTHON:
        pytest.skip("too slow for CPython")
    check(impl, 64, [3, 700, 256, 257, 600, 5, 512, 513])


@pytest.mark.skipif(len(FUSED) < 2, reason="compares levels that fuse multiply and add")
def test_bits_do_not_depend_on_the_level() -> None:
    random = np.random.default_rng(8)
    queries, keys, values = (
        random.standard_normal((count, 20)).astype(np.float32) for count in (7, 300, 300)
    )
    visible = [294, 295, 296, 297, 298, 299, 300]
    before = bare.simd.level()
    with compiled(attention, kv_cache) as proxy:
        found = []
        for number in FUSED:
            bare.simd.set_level(number)
            found.append(attended(proxy, queries, visible, keys, values))
    bare.simd.set_level(before)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
