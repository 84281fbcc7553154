"""A model loaded while its file arrives gives the same bits as one loaded from a whole file."""

from collections.abc import Callable
from typing import Any

import gguf
import numpy as np
import pytest

from bare import Arena, Slice, static, u8
from bare.testing import COMPILED, variants
from bare.unsafe import address_of
from merlion.engine.engine import Engine, EngineConfig, LoadStage
from merlion.engine.team import Team
from tests.engine.compiled_engine import compiled_entries
from tests.engine.files import storage
from tests.engine.gguf_builder import U32, byte_pair, llama

ROOM = 8 << 20
WIDTH, HIDDEN, VOCABULARY = 32, 64, 259  # 17 groups of 16 rows of embeddings, the last not full.
SHAPES = {"attn_k": (WIDTH, 16), "attn_v": (WIDTH, 16), "ffn_down": (HIDDEN, WIDTH)}
SHAPES |= {"ffn_gate": (WIDTH, HIDDEN), "ffn_up": (WIDTH, HIDDEN)}
SHAPES |= {"token_embd": (WIDTH, VOCABULARY)}
KINDS = {"f32": (0, gguf.GGMLQuantizationType.F32), "q4_0": (2, gguf.GGMLQuantizationType.Q4_0)}
TOKENS = (3, 200, 77)
GARBAGE = 0xA5
STEP = 1_237  # Bytes; cuts lengths, names, blocks and rows anywhere.
ENTRIES = (Engine.load, Engine.open, Engine.fill, Engine.finish, Team.run)

type Calls = dict[Any, Callable[..., Any]]


def model(kind: str = "f32", factors: bool = False, backwards: bool = False) -> bytes:
    """A Llama of two blocks with random weights."""
    rng = np.random.default_rng(5)
    builder = byte_pair([(b"a", b"b"), (b"ab", b"c")], "smollm", **{"<|im_start|>": 3})
    frame = llama(VOCABULARY)
    builder.metadata += frame.metadata
    builder.replace("llama.embedding_length", U32, WIDTH)
    builder.replace("llama.feed_forward_length", U32, HIDDEN)
    for spec in frame.tensors:
        name = str(spec.name)
        part = name.split(".")[-2]
        number, quantised = KINDS["f32" if "norm" in part else kind]
        shape = (WIDTH,) if "norm" in part else SHAPES.get(part, (WIDTH, WIDTH))
        values = rng.standard_normal(shape[::-1]).astype(np.float32)
        data = gguf.quants.quantize(values, quantised).tobytes()
        builder.tensor(name, *shape, type=number, data=data)
    if factors:
        builder.tensor("rope_freqs.weight", 4, data=np.array([1, 2, 4, 8], np.float32).tobytes())
    if backwards:
        builder.tensors.reverse()
    return builder.build()


@pytest.fixture(scope="module", params=variants())
def calls(request: pytest.FixtureRequest) -> Calls:
    """The engine's functions: as they are, and compiled."""
    if request.param == COMPILED:
        return {entry: compiled_entries().function(entry) for entry in ENTRIES}
    return {entry: entry for entry in ENTRIES}


class Loading:
    """A file that arrives in steps, and the engine that is made of it."""

    def __init__(self, calls: Calls, data: bytes) -> None:
        self.calls, self.data = calls, data
        self.file: Slice[u8] = static(u8, len(data))
        self.file.fill(GARBAGE)
        self.arrived = 0
        self.arena = Arena(static(u8, ROOM))
        self.engine: Engine = Engine.zeroed()
        self.config = EngineConfig(context=64, sequences=1, batch_rows=4, threads=1)

    def arrive(self, count: int) -> None:
        end = min(self.arrived + count, len(self.data))
        self.file[self.arrived : end].copy_from(self.data[self.arrived : end])
        self.arrived = end

    def open(self) -> Any:
        """The error, None when the engine is open."""
        self.arena.reset(0)
        call = self.calls[Engine.open]
        return call(self.engine, self.file, self.arrived, self.arena, self.config)

    def fill(self, byte_count: int) -> bool:
        return bool(self.calls[Engine.fill](self.engine, self.arrived, byte_count))

    def run(self, step: int, byte_count: int) -> int:
        """Load all of it; gives the number of calls that had something to do."""
        while (error := self.open()) is not None:
            assert error.stage == LoadStage.WAITING, bytes(error.message)
            assert self.arrived < len(self.data)
            self.arrive(step)
        calls = 0
        while True:
            while self.fill(byte_count):
                calls += 1
            if self.arrived == len(self.data):
                break
            self.arrive(step)
        self.calls[Engine.finish](self.engine)
        return calls


def logits(calls: Calls, engine: Engine) -> list[bytes]:
    """Of each token, in one batch: every weight has a part in them."""
    llama = engine.team.llama
    llama.batch.clear()
    for position, token in enumerate(TOKENS):
        llama.batch.add(token, 0, position, True)
    calls[Team.run](engine.team)
    return [bytes(llama.logits(row)) for row in range(len(TOKENS))]


def whole(calls: Calls, data: bytes) -> list[bytes]:
    """The logits after `Engine.load`."""
    engine: Engine = Engine.zeroed()
    config = EngineConfig(context=64, sequences=1, batch_rows=4, threads=1)
    file, arena = storage(data), Arena(static(u8, ROOM))
    assert calls[Engine.load](engine, file, arena, config) is None
    return logits(calls, engine)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("kind", "factors"), [("f32", True), ("q4_0", False)])
def test_arriving_in_steps_gives_the_same_bits(
    calls: Calls, kind: str, factors: bool, backwards: bool
) -> None:
    data = model(kind, factors, backwards)
    loading = Loading(calls, data)
    assert loading.run(STEP, 1) > 17, "a job of one byte is one group"
    found = logits(calls, loading.engine)
    assert found == whole(calls, data)
    assert len(set(found)) == len(TOKENS)


def test_the_order_in_the_file_changes_no_bit(calls: Calls) -> None:
    assert whole(calls, model()) == whole(calls, model(backwards=True))


def test_all_that_has_arrived_can_be_repacked(calls: Calls) -> None:
    """The first group that is left over ends behind what has arrived."""
    loading = Loading(calls, model(backwards=True))
    while loading.open() is not None:
        loading.arrive(64)
    filling = loading.engine.team.llama.model.filling
    while loading.arrived < len(loading.data):
        loading.arrive(STEP)
        while loading.fill(700):
            pass
        if filling.is_done():
            break
        place = filling.places[filling.place]
        length = len(place.matrix.source)
        end = (filling.group + 1) * 16 * (length // place.matrix.rows)
        assert place.offset + min(end, length) > loading.arrived
    assert filling.is_done()


def test_opening_leaves_the_memory_of_the_weights_alone(calls: Calls) -> None:
    """A page that is touched for the first time costs milliseconds, and nobody helps yet."""
    loading = Loading(calls, model(factors=True))
    loading.arrive(len(loading.data))
    loading.arena.storage.fill(GARBAGE)
    assert loading.open() is None
    weights = loading.engine.team.llama.model
    first, last = weights.layers[0].attention_norm, weights.output.floats
    start = address_of(first) - address_of(loading.arena.storage)
    end = address_of(last) + 4 * len(last) - address_of(loading.arena.storage)
    assert end - start > 4 * VOCABULARY * WIDTH
    assert set(bytes(loading.arena.storage[start:end])) == {GARBAGE}


def test_every_cut_of_the_header_asks_for_more(calls: Calls) -> None:
    """With garbage behind the cut, so that whoever looks at it says something else."""
    data = model()
    end = data.rindex(b"ffn_down.weight") + 15 + 4 + 16 + 4 + 8
    loading = Loading(calls, data)
    while loading.arrived < end:
        error = loading.open()
        assert error is not None
        assert error.stage == LoadStage.WAITING, (loading.arrived, bytes(error.message))
        # Byte by byte where it costs little: at the front, and where tensors are described.
        at = loading.arrived
        near = at < 200 or end - at <= 200
        loading.arrive(1 if near else min(97, end - 200 - at))
    assert loading.arrived == end
    assert loading.open() is None
    assert not loading.fill(1), "no tensor has arrived"


def test_a_wrong_file_is_refused_with_its_header(calls: Calls) -> None:
    data = model().replace(b"blk.1.ffn_norm.weight", b"blk.1.ffn_mmrn.weight")
    loading = Loading(calls, data)
    loading.arrive(len(data) // 2)
    error = loading.open()
    assert error.stage == LoadStage.HYPERPARAMETERS
    loading = Loading(calls, data[: len(data) // 2])
    loading.arrive(len(data) // 2)
    error = loading.open()
    assert error.stage == LoadStage.FILE, "of the whole file's end, not of what has arrived"
