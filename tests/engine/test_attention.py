"""Attention over the f16 cache against numpy, alone and in company."""

from typing import Any

import numpy as np
import pytest

from bare import f32
from merlion.engine.kernels.attention import QueryTile
from merlion.engine.kv_cache import KvCache
from tests.engine.levels import kernel_levels
from tests.engine.matrices import Floats, arena, array_of, floats

POSITIONS = 21

impl = kernel_levels("merlion.engine.kernels.attention", "merlion.engine.kv_cache")


def attended(
    impl: Any, queries: Floats, visible: list[int], keys: Floats, values: Floats
) -> Floats:
    """The kernel's outputs for up to four queries."""
    space = arena(1 << 20)
    size = queries.shape[1]
    cache = space.alloc(KvCache)
    cache.init(space, 2, 2, 2, size, 32)
    for position in range(len(keys)):
        row = np.stack([np.zeros(size, np.float32), keys[position]])
        cache.store_key(1, 1, position, floats(space, row), 0, 2 * size)
        row = np.stack([np.zeros(size, np.float32), values[position]])
        cache.store_value(1, 1, position, floats(space, row), 4, 2 * size)
    tile = space.alloc(QueryTile)
    tile.init(space, 32)
    for i in range(4):
        query = min(i, len(queries) - 1)
        tile.visible[i] = visible[query]
        tile.source[i] = query * size
        tile.target[i] = query * size
    output = space.slice(f32, 4 * size)
    impl.attend(
        tile,
        floats(space, queries),
        cache.head_keys(1, 1, 1),
        cache.head_values(1, 1, 1),
        size,
        cache.value_stride,
        output,
    )
    return array_of(output).reshape(4, size)[: len(queries)]


@pytest.mark.parametrize("size", [8, 20, 64])
def test_attention_equals_numpy_and_ignores_neighbours(impl: Any, size: int) -> None:
    random = np.random.default_rng(7)
    queries = random.standard_normal((3, size)).astype(np.float32) * 2
    keys = random.standard_normal((POSITIONS, size)).astype(np.float16).astype(np.float32)
    values = random.standard_normal((POSITIONS, size)).astype(np.float16).astype(np.float32)
    visible = [3, 21, 16]
    found = attended(impl, queries, visible, keys, values)
    for query, seen in enumerate(visible):
        scores = keys[:seen] @ queries[query] / np.sqrt(size)
        weights = np.exp(scores - scores.max())
        wanted = weights / weights.sum() @ values[:seen]
        np.testing.assert_allclose(found[query], wanted, rtol=1e-5, atol=1e-6)
    alone = attended(impl, queries[:1], visible[:1], keys, values)
    np.testing.assert_array_equal(alone[0], found[0])
