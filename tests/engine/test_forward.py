"""The forward pass of a real model against numpy: a batch, then one token at a time."""

import numpy as np
import pytest

from bare import Arena
from merlion.engine.gguf import Gguf
from merlion.engine.hparams import Hyperparameters
from merlion.engine.team import Team
from tests.engine.files import DATA
from tests.engine.matrices import arena, array_of, rounded, to_slice
from tests.engine.reference import Reference

STORIES = DATA / "stories260K.gguf"
TOKENS = [1, 403, 407, 261]

pytestmark = pytest.mark.skipif(not STORIES.exists(), reason="no stories260K.gguf")


def load(space: Arena, rows_max: int, context: int) -> Team:
    """stories260K with a workspace for `rows_max` rows and two sequences."""
    gguf = space.alloc(Gguf)
    assert gguf.parse(to_slice(STORIES.read_bytes()), space) is None
    hparams = space.alloc(Hyperparameters)
    assert hparams.read(gguf) is None
    team = space.alloc(Team)
    team.init(space, 1)
    llama = team.llama
    model = llama.model
    assert model.open(gguf, hparams, context, space) is None
    llama.cache.init(space, len(model.layers), 2, model.head_count_kv, model.head_size, context)
    llama.work.init(space, model, rows_max, 4, 1, context)
    llama.batch.init(space, rows_max, 4)
    while team.repack(len(gguf.data), len(gguf.data)):
        pass
    model.finish(gguf, hparams, context)
    return team


def test_logits_equal_numpy_in_a_batch_and_alone() -> None:
    reference = Reference(STORIES, rounded)
    wanted = reference.forward(TOKENS)
    team = load(arena(64 << 20), 8, 32)
    batch = team.llama.batch
    batch.clear()
    for position, token in enumerate(TOKENS[:3]):
        batch.add(token, 1, position, position == 2)
    team.run()
    np.testing.assert_allclose(array_of(team.llama.logits(0)), wanted[2], atol=2e-2)

    batch.clear()
    batch.add(TOKENS[3], 1, 3, True)
    team.run()
    alone = array_of(team.llama.logits(0))
    np.testing.assert_allclose(alone, wanted[3], atol=2e-2)
