"""A loaded model: tokenizer, weights, cache, and the team that runs them.

`load` reads a whole GGUF file in memory, which must outlive the engine (the embedding table and
the vocabulary are read in place), takes everything else from one arena, and allocates nothing
afterwards. What is refused is refused by name: `LoadError` says what is wrong and with what.

Who reads the file from a disk takes the three steps of `load` while it arrives, from its front:
`open` when the header is there, `fill` whenever there is more, `finish` at the end. docs/design/
loading.md says what that is good for.
"""

from dataclasses import dataclass
from enum import Enum, auto

from bare import Arena, Bytes, Slice, Struct, u8, u32, u64, usize
from merlion.engine.gguf import Gguf
from merlion.engine.gguf_error import GGUF_MESSAGES, GgufError
from merlion.engine.hparams import HPARAMS_MESSAGES, Hyperparameters
from merlion.engine.kv_cache import kv_bytes, whole_spans
from merlion.engine.limits import (
    BATCH_ROWS_MAX,
    LOGITS_ROWS_MIN,
    SEQUENCE_COUNT_MAX,
    THREAD_COUNT_MAX,
)
from merlion.engine.model import NoRoom, UnsupportedType
from merlion.engine.team import Team
from merlion.engine.tokenizer import Tokenizer
from merlion.engine.vocab import VOCABULARY_MESSAGES
from merlion.engine.workspace import workspace_bytes


class LoadStage(Enum):
    """What was being read when loading failed."""

    WAITING = auto()  # No failure: the header goes on in bytes that have not arrived.
    FILE = auto()
    HYPERPARAMETERS = auto()
    TOKENIZER = auto()
    WEIGHTS = auto()
    MEMORY = auto()  # For the weights.
    CACHE = auto()  # Memory for what grows with the context and the sequences.


@dataclass(frozen=True, slots=True)
class LoadError:
    """Why a model is refused: `message`, and what it is about, as far as there is something."""

    stage: LoadStage
    message: Bytes
    subject: Bytes  # A key, token or tensor of the file.
    type: Bytes  # Of the tensor, where that is what is wrong.
    needed: usize  # Bytes, where there are not enough.


def refused(stage: LoadStage, message: Bytes, subject: Bytes) -> LoadError:
    """The file says something that cannot be."""
    return LoadError(stage, message, subject, b"", 0)


class EngineConfig(Struct):
    """What to make room for. Values beyond the limits are lowered to them."""

    context: u32 = 2048  # Positions of a sequence; at most what the model was trained for.
    sequences: u32 = 4  # Sequences decoded together.
    batch_rows: u32 = 64  # Tokens of one forward pass: what a product keeps totals of.
    threads: u32 = 2


class Engine(Struct):
    """One model, ready to run after `load`."""

    gguf: Gguf
    hparams: Hyperparameters
    tokenizer: Tokenizer
    team: Team
    context: u32
    sequences: u32
    batch_rows: u32
    file_bytes: usize
    weights_bytes: usize  # Repacked weights, tables, vocabulary.
    kv_bytes: usize
    workspace_bytes: usize

    def load(self, data: Slice[u8], arena: Arena, config: EngineConfig) -> LoadError | None:
        """Read a model. After an error the engine must not be used."""
        size = len(data)
        error = self.open(data, size, arena, config)
        if error is not None:
            return error
        while self.fill(size, size):
            pass
        self.finish()
        return None

    def open(
        self, data: Slice[u8], arrived: usize, arena: Arena, config: EngineConfig
    ) -> LoadError | None:
        """Read the header and make room for everything else; only data[:arrived] is looked at.

        WAITING: more of the file must arrive. Then try again, with the arena as it was before.
        After another error the engine must not be used.
        """
        before = arena.used
        self.file_bytes = len(data)
        gguf_error = self.gguf.parse_front(data, arrived, arena)
        if gguf_error is not None:
            waiting = gguf_error == GgufError.NOT_ARRIVED
            stage = LoadStage.WAITING if waiting else LoadStage.FILE
            return refused(stage, GGUF_MESSAGES[gguf_error], self.gguf.error_name)
        error = self.hparams.read(self.gguf)
        if error is not None:
            stage = LoadStage.HYPERPARAMETERS
            return refused(stage, HPARAMS_MESSAGES[error], self.hparams.error_key)
        wrong_tokens = self.tokenizer.load(self.gguf, arena)
        if wrong_tokens is not None:
            name = self.tokenizer.vocabulary.error_name
            return refused(LoadStage.TOKENIZER, VOCABULARY_MESSAGES[wrong_tokens], name)

        self.context = min(max(config.context, 16), self.hparams.context_length)
        self.sequences = min(max(config.sequences, 1), SEQUENCE_COUNT_MAX)
        self.batch_rows = min(max(config.batch_rows, self.sequences), BATCH_ROWS_MAX)
        threads = usize(min(max(config.threads, 1), THREAD_COUNT_MAX))
        self.team.init(arena, threads)
        self.team.start(threads)
        model = self.team.llama.model
        wrong = model.open(self.gguf, self.hparams, whole_spans(self.context), arena)
        if isinstance(wrong, UnsupportedType):
            message = b"no kernel for the type of a tensor"
            return LoadError(LoadStage.WEIGHTS, message, wrong.tensor, wrong.type, 0)
        if isinstance(wrong, NoRoom):
            message = b"not enough memory for the weights"
            return LoadError(LoadStage.MEMORY, message, b"", b"", wrong.needed)
        self.weights_bytes = arena.used - before
        return self.make_room(arena, threads)

    def fill(self, arrived: usize, byte_count: usize) -> bool:
        """Repack a little of what has arrived: data[:arrived] holds what it should.

        The team does jobs of at least `byte_count` bytes of the file, or of all that is there; a
        call computes one chunk of a job, so that the caller can look after other things between.
        False: no job is under way, and there is nothing for another.
        """
        return self.team.repack(arrived, byte_count)

    def finish(self) -> None:
        """Read the rest. The whole file is there, and `fill` has nothing left to do."""
        model = self.team.llama.model
        assert model.filling.is_done(), "all weights are repacked"
        model.finish(self.gguf, self.hparams, whole_spans(self.context))

    def make_room(self, arena: Arena, threads: usize) -> LoadError | None:
        """The cache and the workspace."""
        llama = self.team.llama
        model = llama.model
        layers = len(model.layers)
        context = whole_spans(self.context)
        heads = model.head_count_kv
        size = model.head_size
        wanted = max(self.sequences, LOGITS_ROWS_MIN)
        cache = kv_bytes(layers, self.sequences, heads, size, context)
        work = workspace_bytes(model, self.batch_rows, wanted, threads, context)
        if cache + work > arena.remaining():
            message = b"not enough memory for the cache"
            return LoadError(LoadStage.CACHE, message, b"", b"", cache + work)
        before = arena.used
        llama.cache.init(arena, layers, self.sequences, heads, size, context)
        self.kv_bytes = arena.used - before
        llama.work.init(arena, model, self.batch_rows, wanted, threads, context)
        llama.batch.init(arena, self.batch_rows, wanted)
        self.workspace_bytes = arena.used - before - self.kv_bytes
        return None

    def token_bytes(self) -> usize:
        """Bytes of weights that decoding one token reads."""
        return self.team.llama.model.weight_bytes

    def layer_products(self) -> u64:
        """Multiply-adds of one token's matrices, without the output matrix."""
        model = self.team.llama.model
        total: u64 = 0
        for index in range(model.matrix_count - 1):
            matrix = model.matrix(usize(index))
            total += u64(matrix.rows) * u64(matrix.columns)
        return total
