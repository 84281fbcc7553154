"""Timing a loaded model: prompts read, tokens one at a time, several answers at once.

Everything goes through the scheduler, as it does when serving: a time includes sampling and turning
tokens into text. Prompts are random tokens, which cost what any others do.
"""

import random
import time
from dataclasses import asdict, dataclass
from typing import Any

from bare import Slice, u32
from merlion.engine.params import GenerateParams
from merlion.engine.scheduler import Scheduler, SlotState, SubmitError
from merlion.hosted import observation
from merlion.hosted.distribution import Bin, describe, histogram, median
from merlion.hosted.errors import HostedError
from merlion.hosted.measure import Limits
from merlion.hosted.model import Model
from merlion.hosted.passes import compute

SEED = 1
SCHEMA = 1
WARM_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    prompt_tokens: int = 512
    tokens: int = 256
    streams: int = 8
    stream_tokens: int = 32
    repeats: int = 3

    @property
    def context(self) -> int:
        """Positions that the longest measurement needs."""
        return max(self.prompt_tokens, self.tokens, self.stream_tokens) + 16


@dataclass(frozen=True, slots=True)
class Report:
    """The results, in base units: seconds, bytes, tokens a second; latencies in milliseconds."""

    plan: Plan
    prefill_per_s: float
    first_token_ms: float  # After a prompt of plan.prompt_tokens.
    decode_per_s: float
    streams_per_s: float
    intervals_ms: list[float]
    bytes_per_token: int
    products_per_token: int  # Multiply-adds of a prompt's token.
    bandwidth: float
    int8_peak: float
    usage: observation.Usage
    memory: dict[str, int]

    @property
    def bandwidth_share(self) -> float:
        """Weights read while decoding one stream, of the bandwidth there is."""
        return self.decode_per_s * self.bytes_per_token / self.bandwidth

    @property
    def int8_share(self) -> float:
        """Multiply-adds of a prompt's layers, of the peak."""
        return self.prefill_per_s * self.products_per_token / self.int8_peak

    @property
    def joules_per_token(self) -> float | None:
        """Energy of the whole machine's packages while decoding one stream."""
        return None if self.usage.joules is None else self.usage.joules / len(self.intervals_ms)

    def bins(self) -> list[Bin]:
        """The histogram of the inter-token times."""
        return histogram(self.intervals_ms)

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints; docs/performance.md names the fields."""
        return {
            "schema": SCHEMA,
            "plan": asdict(self.plan),
            "prefill_tokens_per_s": self.prefill_per_s,
            "first_token_ms": self.first_token_ms,
            "decode_tokens_per_s": self.decode_per_s,
            "streams_tokens_per_s": self.streams_per_s,
            "inter_token_ms": asdict(describe(self.intervals_ms)),
            "inter_token_histogram": [asdict(one) for one in self.bins()],
            "bytes_per_token": self.bytes_per_token,
            "bandwidth_bytes_per_s": self.bandwidth,
            "bandwidth_share": self.bandwidth_share,
            "products_per_prompt_token": self.products_per_token,
            "int8_products_per_s": self.int8_peak,
            "int8_share": self.int8_share,
            "joules_per_token": self.joules_per_token,
            "decode_usage": asdict(self.usage),
            "disturbed": self.usage.disturbed,
            "memory_bytes": self.memory,
        }


def random_prompt(count: int, vocabulary: int, seed: int = SEED) -> list[int]:
    """Token ids, the same for the same arguments."""
    source = random.Random(seed)
    return [source.randrange(vocabulary) for _ in range(count)]


class Stopwatch:
    """Times requests on one model. Nothing else may use it."""

    def __init__(self, model: Model) -> None:
        """Take the model over; the calling thread becomes the leader of its team."""
        self._model = model
        self._scheduler: Scheduler = model.scheduler
        self._compute = model.code(compute)
        self.vocabulary = int(model.engine.team.llama.model.vocabulary)

    def _start(self, prompt_tokens: int, tokens: int, seed: int) -> int:
        ids = Slice.of(u32, random_prompt(prompt_tokens, self.vocabulary, seed))
        params = GenerateParams(max_tokens=tokens, temperature=0.0, ignore_eos=True)
        submit = self._model.code(Scheduler.submit)
        slot = submit(self._scheduler, ids, params, time.monotonic_ns())
        if isinstance(slot, SubmitError):
            raise HostedError(f"the scheduler refused the request: {slot.name.lower()}")
        return int(slot)

    def _pass(self, slots: "Slice[int]") -> None:
        """One forward pass, and the text it gave."""
        self._compute(self._scheduler, slots, time.monotonic_ns())

    def _finish(self, slots: list[int]) -> None:
        for slot in slots:
            self._model.code(Scheduler.release)(self._scheduler, slot)
        self._model.helpers.end()

    def prefill(self, count: int) -> float:
        """Seconds from a prompt of `count` tokens to its first token."""
        slot = self._start(count, 1, SEED)
        slots = Slice.of(u32, [slot])
        self._model.helpers.begin()
        start = time.perf_counter_ns()
        while self._scheduler.state(slot) != SlotState.DONE:
            self._pass(slots)
        seconds = (time.perf_counter_ns() - start) / 1e9
        self._finish([slot])
        return seconds

    def decode(self, count: int) -> list[float]:
        """Milliseconds between the tokens of one answer: `count` of them, from position 1 on."""
        return self.streams(1, count)

    def streams(self, streams: int, count: int) -> list[float]:
        """Milliseconds of each of `count` passes that give one token to every one of `streams`."""
        started = [self._start(1, count + 1, SEED + i) for i in range(streams)]
        slots = Slice.of(u32, started)
        self._model.helpers.begin()
        while any(self._scheduler.state(slot) != SlotState.DECODE for slot in started):
            self._pass(slots)
        times = []
        before = time.perf_counter_ns()
        for _ in range(count):
            self._pass(slots)
            after = time.perf_counter_ns()
            times.append((after - before) / 1e6)
            before = after
        self._finish(started)
        return times


def run(model: Model, plan: Plan) -> Report:
    """Measure everything of the plan. Takes seconds for a small model."""
    limits, watch = Limits(model.threads), Stopwatch(model)
    watch.prefill(plan.prompt_tokens)
    watch.decode(WARM_TOKENS)
    bandwidth, peak, prefill, streams = [], [], [], []
    for _ in range(plan.repeats):
        bandwidth.append(limits.bandwidth(model.threads))
        peak.append(limits.int8_peak(model.threads))
        prefill.append(watch.prefill(plan.prompt_tokens))
        times = watch.streams(plan.streams, plan.stream_tokens)
        streams.append(plan.streams * len(times) * 1000 / sum(times))
    before = observation.read()
    intervals = watch.decode(plan.tokens)
    usage = observation.between(before, observation.read())
    bandwidth.append(limits.bandwidth(model.threads))
    engine = model.engine
    memory = {
        "file": int(engine.file_bytes),
        "weights": int(engine.weights_bytes),
        "cache": int(engine.kv_bytes),
        "scratch": int(engine.workspace_bytes),
        **observation.process_memory(),
    }
    return Report(
        plan=plan,
        prefill_per_s=plan.prompt_tokens / median(prefill),
        first_token_ms=median(prefill) * 1000,
        decode_per_s=1000 * len(intervals) / sum(intervals),
        streams_per_s=median(streams),
        intervals_ms=intervals,
        bytes_per_token=int(engine.token_bytes()),
        products_per_token=int(engine.layer_products()),
        bandwidth=median(bandwidth),
        int8_peak=max(peak),
        usage=usage,
        memory=memory,
    )
