"""What a refused model's error says: which tensor of what type, how much memory is missing."""

from collections.abc import Callable
from typing import Any

import pytest

from bare import Arena, Slice, static, u8
from merlion.cli.synth import SHAPES, synthesise
from merlion.engine.engine import Engine, EngineConfig, LoadStage
from tests.engine.compiled_engine import compiled_entries

ROOM = 64 << 20
BF16 = 30  # ggml's number of a type for which there is no kernel.
TENSOR = b"blk.1.attn_q.weight"

type Load = Callable[[bytes, int], Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    synthesise(SHAPES["tiny"], "tiny", "f16", 1, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def load() -> Load:
    function = compiled_entries().function(Engine.load)
    storage = static(u8, ROOM)

    def run(data: bytes, room: int) -> Any:
        arena = Arena(storage[:room])
        engine: Engine = Engine.zeroed()
        config = EngineConfig(context=512, sequences=8, batch_rows=64, threads=1)
        return function(engine, Slice.from_bytes(data), arena, config)

    return run


def test_a_type_without_kernel_is_named_with_its_tensor(tiny: bytes, load: Load) -> None:
    at = tiny.index(TENSOR) + len(TENSOR) + 4 + 2 * 8
    assert tiny[at] == 1
    error = load(tiny[:at] + bytes([BF16]) + tiny[at + 1 :], ROOM)
    assert error.stage == LoadStage.WEIGHTS
    assert bytes(error.subject) == TENSOR
    assert bytes(error.type) == b"BF16"


def test_missing_memory_is_told_in_bytes(tiny: bytes, load: Load) -> None:
    stages = []
    room = 1 << 20
    while (error := load(tiny, room)) is not None:
        if error.stage in (LoadStage.MEMORY, LoadStage.CACHE):
            assert 0 < error.needed < ROOM
            stages.append(error.stage)
        room += 128 << 10
    assert stages == sorted(stages, key=[LoadStage.MEMORY, LoadStage.CACHE].index)
    assert set(stages) == {LoadStage.MEMORY, LoadStage.CACHE}
