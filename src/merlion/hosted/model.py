"""A model loaded in this process: tokens, generation, scores."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import batched
from pathlib import Path

from bare import Arena, Slice, f32, f64, u32
from merlion.engine.engine import Engine, EngineConfig, LoadError, LoadStage
from merlion.engine.limits import THREAD_COUNT_MAX
from merlion.engine.params import GenerateParams
from merlion.engine.scheduler import Scheduler, SlotState, SubmitError
from merlion.engine.scoring import score_tokens
from merlion.engine.team import Team
from merlion.engine.tokenizer import TokenizeError, Tokenizer
from merlion.hosted import memory, observation
from merlion.hosted.code import Code
from merlion.hosted.errors import HostedError
from merlion.hosted.passes import next_text
from merlion.hosted.threads import Helpers, default_threads

CONTEXT_DEFAULT = 4096
REQUESTS_MIN = 16  # Running and waiting; twice the sequences, where that is more.
MEBIBYTE = 1 << 20
# What to do when the engine refuses a file; the rest depends on the command (Settings.lower).
LOAD_FIXES = {
    LoadStage.FILE: "give a whole GGUF file",
    LoadStage.HYPERPARAMETERS: "give a GGUF file of a Llama model",
    LoadStage.TOKENIZER: "give a GGUF file of a Llama model with its vocabulary",
    LoadStage.WEIGHTS: "merlion model convert MODEL --to q8_0 (or q4_0, f16) -o FILE",
    LoadStage.MEMORY: "end other programs, or take a smaller model",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What to make room for."""

    context: int = CONTEXT_DEFAULT
    sequences: int = 1
    threads: int = 0  # 0: one a physical core.
    pinned: bool = True
    lower: str = "shorten the text"  # What the user can do to need less room.


@dataclass(frozen=True, slots=True)
class Score:
    """Losses of tokens 1 and up, and the likeliest alternatives at each of those positions."""

    nll: list[float]
    top: list[list[tuple[int, float]]]


def text_slice(text: bytes) -> "Slice[int]":
    """Storage for text that compiled code reads during one call."""
    return Slice.from_bytes(text)


class Model:
    """An engine with its scheduler and threads. Close it, or use it in `with`."""

    def __init__(
        self, code: Code, path: Path, settings: Settings, progress: memory.Progress | None = None
    ) -> None:
        """Read and prepare the file. Raises HostedError when it is refused."""
        self.code, self.path, self.settings = code, path, settings
        threads = settings.threads or default_threads()
        before = observation.read()
        start = time.monotonic()
        self.file = memory.read_file(path, progress)
        self.read_seconds = time.monotonic() - start
        self.arena = Arena(memory.reserve(len(self.file)))
        self.engine: Engine = self.arena.alloc(Engine)
        config = EngineConfig(
            context=settings.context,
            sequences=settings.sequences,
            threads=threads,
        )
        self.threads = min(threads, THREAD_COUNT_MAX)
        self.helpers = Helpers(self.engine.team, self.threads, code(Team.help))
        start = time.monotonic()
        try:
            self.helpers.begin()  # They repack weights, too.
            self._prepare(config)
            self.helpers.end()
        except BaseException:
            self.helpers.close()
            raise
        self.prepare_seconds = time.monotonic() - start
        # The load average would count what this machine did a minute ago, our own runs included.
        if settings.pinned and not observation.between(before, observation.read()).disturbed:
            self.helpers.pin()

    def _prepare(self, config: EngineConfig) -> None:
        """Load the engine from the file, and make room for requests."""
        code = self.code
        error = code(Engine.load)(self.engine, self.file, self.arena, config)
        if error is not None:
            raise self._refused(error)
        self.scheduler: Scheduler = self.arena.alloc(Scheduler)
        requests = max(REQUESTS_MIN, 2 * config.sequences)
        if not code(Scheduler.init)(self.scheduler, self.engine, self.arena, requests):
            raise HostedError("not enough memory for the requests", self.settings.lower)

    def _refused(self, error: LoadError) -> HostedError:
        """What the engine does not like, and what to do about it."""
        what = bytes(error.message).decode()
        about = [bytes(part).decode(errors="replace") for part in (error.subject, error.type)]
        if any(about):
            what += f" ({': '.join(part for part in about if part)})"
        if error.needed:
            what += f": {-(-error.needed // MEBIBYTE):,} MiB needed, {self._free_mib():,} MiB free"
        fix = self.settings.lower if error.stage == LoadStage.CACHE else LOAD_FIXES[error.stage]
        return HostedError(f"{self.path}: {what}", fix)

    def _free_mib(self) -> int:
        """What the arena has left, in MiB."""
        return int(self.arena.remaining()) // MEBIBYTE

    def __enter__(self) -> "Model":
        """Return the model."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads."""
        self.close()

    def close(self) -> None:
        """End the threads. The model must not be used any more."""
        self.helpers.close()

    @property
    def context(self) -> int:
        """Positions of a sequence."""
        return int(self.engine.context)

    def encode(self, text: str, parse_special: bool, prompt: bool = False) -> list[int]:
        """The tokens of a text; of a prompt, with BOS where the model wants it."""
        data = text.encode("utf-8", "surrogateescape")
        out = Slice.of(u32, [0] * (len(data) + 16))
        function = Tokenizer.encode_prompt if prompt else Tokenizer.encode
        call = self.code(function)
        count = call(self.engine.tokenizer, text_slice(data), out, parse_special)
        if isinstance(count, TokenizeError):
            raise HostedError(f"the text cannot be tokenised: {count.name.lower()}")
        return [int(token) for token in out[:count]]

    def generate(self, prompt: list[int], params: GenerateParams) -> "Answer":
        """Start an answer. One at a time: the answer must be read to its end."""
        ids = Slice.of(u32, prompt)
        slot = self.code(Scheduler.submit)(self.scheduler, ids, params, time.monotonic_ns())
        if isinstance(slot, SubmitError):
            if slot == SubmitError.TOO_LONG:
                raise HostedError(
                    f"the prompt has {len(prompt)} tokens, the context {self.context}",
                    "shorten the prompt: the model was made for no longer context",
                )
            raise HostedError("the prompt is empty" if not prompt else "the queue is full")
        return Answer(self, slot)

    def score(self, tokens: list[int], top: int) -> Score:
        """Losses of given tokens, as they stand (no BOS is added)."""
        if len(tokens) < 2:
            raise HostedError("fewer than two tokens: there is nothing to score")
        if len(tokens) > self.context:
            raise HostedError(
                f"{len(tokens)} tokens do not fit the context of {self.context}",
                "score a shorter text",
            )
        ids = Slice.of(u32, tokens)
        team = self.engine.team
        top = min(top, int(team.llama.model.vocabulary))
        count = len(tokens) - 1
        nll = Slice.of(f64, [0.0] * count)
        best, logits = Slice.of(u32, [0] * count * top), Slice.of(f32, [0.0] * count * top)
        self.helpers.begin()
        self.code(score_tokens)(team, ids, 0, nll, best, logits)
        self.helpers.end()
        places = batched(zip(best, logits, strict=True), top) if top else ()
        return Score(list(nll), [list(place) for place in places])


class Answer:
    """A request being answered."""

    def __init__(self, model: Model, slot: int) -> None:
        """Iterate over it once for its text; ids and finish are complete afterwards."""
        self._model, self._slot = model, slot
        self.ids: list[int] = []
        self.text = b""
        self.finish = ""
        self.first_token_seconds = 0.0
        self.seconds = 0.0

    def __iter__(self) -> Iterator[bytes]:
        """Text as it comes: whole characters."""
        model, slot = self._model, self._slot
        code, scheduler = model.code, model.scheduler
        advance = code(next_text)
        start = time.monotonic()
        model.helpers.begin()
        taken = 0
        while True:
            piece = bytes(advance(scheduler, slot, taken, time.monotonic_ns()))
            taken = len(piece)
            if not self.first_token_seconds and scheduler.completion_tokens(slot) > 0:
                self.first_token_seconds = time.monotonic() - start
            if piece:
                self.text += piece
                yield piece
            if scheduler.state(slot) == SlotState.DONE:
                break
        model.helpers.end()
        self.seconds = time.monotonic() - start
        self.ids = [int(token) for token in scheduler.token_ids(slot)]
        self.finish = scheduler.finish_reason(slot).name.lower()
        code(Scheduler.release)(scheduler, slot)
