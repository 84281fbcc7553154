"""`ai-bench [--json] [TOKENS [PROMPT-TOKENS [STREAMS]]]`: the model timed, beside the limits.

First one answer to a long prompt, token by token; then several short answers together; then what
the machine can do at best. The answers run in the main loop as any request does, with the network
and the server being polled, so the times between tokens are those that clients see.
"""

from enum import IntEnum

from bare import Array, Bytes, Struct, array, stack, u32, u64, usize
from merlion.engine.limits import SEQUENCE_COUNT_MAX
from merlion.engine.params import GenerateParams
from merlion.engine.scheduler import SlotState, SubmitError
from merlion.kernel import measure
from merlion.kernel.arch.x86_64.energy import energy
from merlion.kernel.arch.x86_64.features import features
from merlion.kernel.clock import now_ns
from merlion.kernel.config import parse_number
from merlion.kernel.inference import backend, engine, scheduler
from merlion.kernel.limits import (
    BENCH_PROMPT_TOKENS,
    BENCH_STREAM_TOKENS,
    BENCH_TOKENS,
    SAMPLES_MAX,
    SEQUENCES_DEFAULT,
)
from merlion.kernel.model import model
from merlion.kernel.shell import bench_json, bench_text
from merlion.kernel.shell.distribution import samples
from merlion.kernel.shell.figures import Figures
from merlion.kernel.shell.refuse import refuse

TEXT = b"The sea was calm, and the old ship lay at anchor in the bay. "
USAGE = (
    b"usage: ai-bench [--json] [tokens [prompt tokens [streams]]], "
    b"tokens from 2, each number up to %d" % SAMPLES_MAX
)
JSON_WORD = b"--json"
STREAM_PROMPT_TOKENS = 4
NUMBERS = 3  # Arguments that are numbers.


class Stage(IntEnum):
    """What is being timed."""

    NONE = 0
    ONE = 1
    TOGETHER = 2


class Bench(Struct):
    """The benchmark under way."""

    figures: Figures
    stage: Stage = Stage.NONE
    json: bool = False
    runs: usize = 0  # Ever.
    slots: Array[u32] = array(SEQUENCE_COUNT_MAX)
    count: usize = 0  # Slots in use.
    start_ns: u64 = 0
    last_ns: u64 = 0
    seen: u32 = 0  # Tokens that have been timed.
    begun_ns: u64 = 0  # When all streams had a token, 0 before.
    begun_tokens: u64 = 0
    cancelled: bool = False

    @property
    def active(self) -> bool:
        """Whether it runs."""
        return self.stage != Stage.NONE

    def start(self, tokens: u32, prompt_tokens: u32, streams: u32) -> bool:
        """Submit the first request, cut to what the context holds. False if that fails."""
        context = usize(engine.context)
        wanted = min(usize(tokens), context - 2)
        figures = self.figures
        figures.assign(Figures())
        figures.streams = min(streams, engine.sequences)
        energy.find(features.vendor[:])
        samples.clear()
        self.cancelled = False
        self.count = 0
        self.seen = 0
        if not self.submit(min(usize(prompt_tokens), context - wanted - 1), u32(wanted)):
            return False
        self.stage = Stage.ONE
        return True

    def submit(self, prompt_tokens: usize, tokens: u32) -> bool:
        """Hand in one request. False, after saying why, if that is not possible."""
        if not self.fill_prompt(prompt_tokens):
            return refuse(b"the model cannot read the benchmark's prompt")
        params = GenerateParams(max_tokens=tokens, temperature=0.0, ignore_eos=True)
        self.start_ns = now_ns()
        slot = scheduler.submit(backend.prompt_tokens(), params, self.start_ns)
        if isinstance(slot, SubmitError):
            return refuse(b"too many requests are waiting: try again")
        self.slots[self.count] = slot
        self.count += 1
        return True

    def fill_prompt(self, count: usize) -> bool:
        """Put a prompt of exactly `count` tokens together. False if the text gives none."""
        backend.prompt_clear()
        if backend.prompt_begin() is not None or backend.prompt_text(TEXT, False) is not None:
            return False
        length = backend.prompt_token_count()
        if length == 0:
            return False
        while backend.prompt_token_count() < count + length:
            token = backend.prompt_tokens()[backend.prompt_token_count() - length]
            if backend.prompt_token(token) is not None:
                return False
        # Begin at another token each time: a cached prefix would be no prefill.
        self.runs += 1
        skip = self.runs % length
        tokens = backend.prompt_tokens()
        tokens[:count].copy_from(tokens[skip : skip + count])
        backend.prompt_count = count
        return True

    def poll(self) -> bool | None:
        """Time what has been made. At the end, whether all was timed; None before."""
        now = now_ns()
        if self.stage == Stage.ONE:
            self.time_token(now, self.slots[0])
        else:
            self.time_streams(now)
        done: usize = 0
        for slot in self.slots[: self.count]:
            scheduler.consume(slot, len(scheduler.text(slot)))
            if scheduler.state(slot) == SlotState.DONE:
                done += 1
        if done < self.count:
            return None
        if self.stage == Stage.ONE:
            self.figures.end_decoding()
        for slot in self.slots[: self.count]:
            scheduler.release(slot)
        self.count = 0
        if self.stage == Stage.ONE and self.start_streams():
            return None
        self.stage = Stage.NONE
        return self.finish()

    def time_token(self, now: u64, slot: u32) -> None:
        """One answer: note the time since the token before, and what disturbed it."""
        count = scheduler.completion_tokens(slot)
        if count == self.seen:
            return
        figures = self.figures
        if self.seen == 0:
            figures.first_ns = max(now - self.start_ns, 1)
            figures.prompt_tokens = scheduler.prompt_tokens(slot)
            figures.cached_tokens = scheduler.cached_tokens(slot)
            figures.begin_decoding()
        else:
            samples.add((now - self.last_ns) // u64(count - self.seen))
            figures.decode_ns += now - self.last_ns
        figures.tokens = count
        self.seen = count
        self.last_ns = now

    def start_streams(self) -> bool:
        """Go on to several answers together, if that makes sense."""
        figures = self.figures
        if self.cancelled or figures.streams < 2 or samples.count == 0:
            return False
        self.stage = Stage.TOGETHER
        self.begun_ns = 0
        tokens = min(BENCH_STREAM_TOKENS, engine.context // 2)
        for _ in range(figures.streams):
            if not self.submit(STREAM_PROMPT_TOKENS, tokens):
                self.cancel()
                return self.count > 0
        return True

    def time_streams(self, now: u64) -> None:
        """Several answers: the rate while all of them are being decoded."""
        total: u64 = 0
        decoding: usize = 0
        for slot in self.slots[: self.count]:
            total += scheduler.completion_tokens(slot)
            if scheduler.state(slot) == SlotState.DECODE:
                decoding += 1
        if self.begun_ns != 0 and total > self.begun_tokens and not self.cancelled:
            figures = self.figures
            figures.streams_ns = now - self.begun_ns
            figures.streams_tokens = total - self.begun_tokens
        if decoding == self.count and self.begun_ns == 0:
            self.begun_ns = now
            self.begun_tokens = total

    def cancel(self) -> None:
        """Stop; `poll` then ends it."""
        self.cancelled = True
        for slot in self.slots[: self.count]:
            scheduler.cancel(slot)

    def finish(self) -> bool:
        """Measure the limits, unless others compute, and show all figures. False if stopped."""
        if samples.count == 0:
            return refuse(b"stopped before the second token")
        if not scheduler.has_work():
            self.figures.bandwidth = measure.bandwidth()
            self.figures.int8_peak = measure.int8_peak()
        if self.json:
            bench_json.show(self.figures)
        else:
            bench_text.show(self.figures)
        return not self.cancelled


bench = Bench.zeroed()


def run(arguments: Bytes) -> bool:
    """Start."""
    numbers = stack(u32, NUMBERS)
    numbers[0] = BENCH_TOKENS
    numbers[1] = BENCH_PROMPT_TOKENS
    numbers[2] = SEQUENCES_DEFAULT
    given: usize = 0
    bench.json = False
    rest = arguments
    while len(rest) > 0:
        word = first_word(rest)
        rest = rest[min(len(word) + 1, len(rest)) :]
        if word == JSON_WORD:
            bench.json = True
        elif len(word) > 0:
            number = parse_number(word)
            if number is None or number == 0 or number > SAMPLES_MAX or given == NUMBERS:
                return refuse(USAGE)
            numbers[given] = u32(number)
            given += 1
    if numbers[0] < 2:
        return refuse(USAGE)
    return model.ready() and bench.start(numbers[0], numbers[1], numbers[2])


def first_word(text: Bytes) -> Bytes:
    """What stands before the first space."""
    end = text.find(b" ")
    return text if end < 0 else text[: usize(end)]
