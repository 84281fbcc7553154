"""Attention over the f16 cache against numpy, alone and in company."""

import numpy as np

from bare import f32
from merlion.engine.kernels.attention import QueryTile, attend
from merlion.engine.kv_cache import KvCache
from tests.engine.matrices import Floats, arena, array_of, floats

POSITIONS, SIZE = 21, 8


def attended(queries: Floats, visible: list[int], keys: Floats, values: Floats) -> Floats:
    """The kernel's outputs for up to four queries."""
    space = arena(1 << 18)
    cache = space.alloc(KvCache)
    cache.init(space, 2, 2, 2, SIZE, 32)
    for position in range(len(keys)):
        row = np.stack([np.zeros(SIZE, np.float32), keys[position]])
        cache.store_key(1, 1, position, floats(space, row), 0, 2 * SIZE)
        row = np.stack([np.zeros(SIZE, np.float32), values[position]])
        cache.store_value(1, 1, position, floats(space, row), 4, 2 * SIZE)
    tile = space.alloc(QueryTile)
    tile.init(space, 32)
    for i in range(4):
        query = min(i, len(queries) - 1)
        tile.visible[i] = visible[query]
        tile.source[i] = query * SIZE
        tile.target[i] = query * SIZE
    output = space.slice(f32, 4 * SIZE)
    attend(
        tile,
        floats(space, queries),
        cache.head_keys(1, 1, 1),
        cache.head_values(1, 1, 1),
        SIZE,
        cache.value_stride,
        output,
    )
    return array_of(output).reshape(4, SIZE)[: len(queries)]


def test_attention_equals_numpy_and_ignores_neighbours() -> None:
    random = np.random.default_rng(7)
    queries = random.standard_normal((3, SIZE)).astype(np.float32) * 2
    keys = random.standard_normal((POSITIONS, SIZE)).astype(np.float16).astype(np.float32)
    values = random.standard_normal((POSITIONS, SIZE)).astype(np.float16).astype(np.float32)
    visible = [3, 21, 16]
    found = attended(queries, visible, keys, values)
    for query, seen in enumerate(visible):
        scores = keys[:seen] @ queries[query] / np.sqrt(SIZE)
        weights = np.exp(scores - scores.max())
        wanted = weights / weights.sum() @ values[:seen]
        np.testing.assert_allclose(found[query], wanted, rtol=1e-5, atol=1e-6)
    alone = attended(queries[:1], visible[:1], keys, values)
    np.testing.assert_array_equal(alone[0], found[0])
