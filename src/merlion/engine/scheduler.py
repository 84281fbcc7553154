"""Requests to tokens: a queue, slots, and one batch a step.

A request waits (QUEUED) until one of the cache's sequences is free, runs its prompt through the
model in chunks (PREFILL), then one token a step (DECODE), and keeps its answer until released
(DONE). Every step is one forward pass: a row for each decoding request, and with the room that is
left the prompts being read, equal shares each. So a long prompt neither stops those who decode nor
makes a short prompt wait for its end.

What a request gets does not depend on the company it is in: kernels are batch-invariant, and each
request has its own random numbers. A request whose text is not read pauses when its room is full.
"""

from enum import IntEnum

from bare import Arena, Bytes, Slice, Struct, u8, u32, u64, usize
from merlion.engine.detokenizer import Detokenizer
from merlion.engine.engine import Engine
from merlion.engine.limits import (
    ANSWER_BYTES_A_TOKEN,
    ANSWER_BYTES_EXTRA,
    PREFILL_ROWS_SHARED,
    REQUEST_COUNT_MAX,
)
from merlion.engine.params import GenerateParams
from merlion.engine.sampler import SamplerScratch, SamplerState, sample, suppress
from merlion.engine.sequences import Sequences

NO_SEQUENCE = 0xFFFF_FFFF


class SubmitError(IntEnum):
    """Why a request is not taken."""

    QUEUE_FULL = 0
    TOO_LONG = 1  # The prompt leaves no room for an answer in the context.
    EMPTY = 2
    UNKNOWN_TOKEN = 3  # An id outside the vocabulary.


class SlotState(IntEnum):
    """Where a request is."""

    FREE = 0
    QUEUED = 1
    PREFILL = 2
    DECODE = 3
    DONE = 4


class FinishReason(IntEnum):
    """Why an answer ended."""

    NONE = 0
    STOP = 1  # End-of-turn token or stop string.
    LENGTH = 2  # max_tokens, or the context is full.
    CANCELLED = 3


class Request(Struct):
    """One request, in a slot."""

    state: SlotState
    finish: FinishReason
    sequence: u32  # Of the cache, while PREFILL or DECODE.
    order: u64  # Requests are admitted in the order of submission.
    prompt_count: u32
    token_count: u32  # Prompt and answer.
    computed: u32  # Tokens whose keys and values are in the cache.
    cached: u32  # Of them, those an earlier request left there.
    rows: u32  # Of this step's batch.
    wanted: u32  # Which logits of this step are its own.
    submitted_ns: u64
    first_token_ns: u64
    is_stamped: bool  # Whether `first_token_ns` is final.
    params: GenerateParams
    sampler: SamplerState
    detokenizer: Detokenizer
    tokens: Slice[u32]  # [context]
    storage: Slice[u8]  # Text not yet read.


class Scheduler(Struct):
    """The requests of one engine."""

    engine: Engine | None
    requests: Slice[Request]
    sequences: Sequences
    scratch: SamplerScratch
    submitted: u64  # Requests ever taken.
    decode_steps: u64  # Forward passes with a decoding row.
    prompt_tokens_total: u64
    completion_tokens_total: u64

    def init(self, engine: Engine, arena: Arena, request_count: u32) -> bool:
        """Make room for `request_count` requests, waiting ones included. False: arena too small."""
        count = usize(min(max(request_count, 1), REQUEST_COUNT_MAX))
        context = usize(engine.context)
        text = context * ANSWER_BYTES_A_TOKEN + ANSWER_BYTES_EXTRA
        vocabulary = engine.team.llama.model.vocabulary
        needed = count * (context * 4 + text + 16_384) + vocabulary * 16 + 65_536
        needed += usize(engine.sequences) * (context * 4 + 256)
        if needed > arena.remaining():
            return False
        self.engine = engine
        self.requests = arena.slice(Request, count)
        for request in self.requests:
            request.tokens = arena.slice(u32, context)
            request.storage = arena.slice(u8, text)
        self.sequences.init(arena, engine.sequences, context)
        self.scratch.allocate(arena, vocabulary)
        return True

    def submit(self, prompt: Slice[u32], params: GenerateParams, now_ns: u64) -> u32 | SubmitError:
        """Take a request; prompt and parameters are copied. Returns its slot."""
        if len(prompt) == 0:
            return SubmitError.EMPTY
        slot = self.find_free()
        if slot >= len(self.requests):
            return SubmitError.QUEUE_FULL
        request = self.requests[slot]
        if len(prompt) >= len(request.tokens):
            return SubmitError.TOO_LONG
        for token in prompt:
            if token >= len(self.scratch.ids):
                return SubmitError.UNKNOWN_TOKEN
        request.tokens[: len(prompt)].copy_from(prompt)
        request.prompt_count = u32(len(prompt))
        request.token_count = u32(len(prompt))
        request.computed = 0
        request.cached = 0
        request.rows = 0
        request.sequence = NO_SEQUENCE
        request.finish = FinishReason.NONE
        request.submitted_ns = now_ns
        request.first_token_ns = 0
        request.is_stamped = False
        request.params.assign(params)
        request.sampler.start(params.seed)
        for token in prompt:
            request.sampler.accept(token)
        request.detokenizer.begin(request.storage, request.params)
        request.order = self.submitted
        self.submitted += 1
        request.state = SlotState.QUEUED
        return u32(slot)

    def find_free(self) -> usize:
        """A free slot, or the number of slots."""
        for slot in range(len(self.requests)):
            if self.requests[slot].state == SlotState.FREE:
                return slot
        return len(self.requests)

    def cancel(self, slot: u32) -> None:
        """Stop a request; its sequence is free before the next step."""
        request = self.requests[slot]
        if request.state != SlotState.FREE and request.state != SlotState.DONE:
            self.end(request, FinishReason.CANCELLED)

    def release(self, slot: u32) -> None:
        """Forget a request."""
        self.cancel(slot)
        self.requests[slot].state = SlotState.FREE

    def has_work(self) -> bool:
        """Whether any request waits or runs (paused ones too)."""
        return self.waiting() + self.running() > 0

    def running(self) -> u32:
        """Requests that hold a sequence."""
        count: u32 = 0
        for request in self.requests:
            if request.state == SlotState.PREFILL or request.state == SlotState.DECODE:
                count += 1
        return count

    def waiting(self) -> u32:
        """Requests that wait for a sequence."""
        count: u32 = 0
        for request in self.requests:
            if request.state == SlotState.QUEUED:
                count += 1
        return count

    def step(self, now_ns: u64) -> bool:
        """One forward pass. Returns False when there was nothing to compute."""
        engine = self.engine
        assert engine is not None, "init comes first"
        self.stamp(now_ns)
        self.admit()
        batch = engine.team.llama.batch
        batch.clear()
        self.add_decoding(engine)
        self.add_prompts(engine)
        if batch.count == 0:
            return False
        engine.team.run()
        for request in self.requests:
            if request.rows > 0:
                self.collect(engine, request, now_ns)
        return True

    def stamp(self, now_ns: u64) -> None:
        """Say what time it is now that a step is over: when its tokens were ready.

        Without this call the next step does so.
        """
        for request in self.requests:
            if request.first_token_ns > 0 and not request.is_stamped:
                request.first_token_ns = now_ns
                request.is_stamped = True

    def admit(self) -> None:
        """Give free sequences to the requests that have waited longest."""
        while self.sequences.any_free():
            request = self.longest_waiting()
            if request is None:
                return
            prompt = request.tokens[: request.prompt_count]
            sequence, shared = self.sequences.acquire(prompt, request.params.cache_prompt)
            request.sequence = sequence
            request.computed = shared
            request.cached = shared
            request.state = SlotState.PREFILL

    def longest_waiting(self) -> Request | None:
        """The QUEUED request that was submitted first."""
        found: Request | None = None
        for request in self.requests:
            if request.state != SlotState.QUEUED:
                continue
            if found is None or request.order < found.order:
                found = request
        return found

    def add_decoding(self, engine: Engine) -> None:
        """A row for every decoding request with room for its text."""
        batch = engine.team.llama.batch
        for request in self.requests:
            request.rows = 0
            if request.state == SlotState.DECODE and has_text_room(request):
                request.rows = 1
                request.wanted = u32(batch.wanted_count)
                last = request.token_count - 1
                batch.add(request.tokens[last], request.sequence, last, True)
        if batch.count > 0:
            self.decode_steps += 1

    def add_prompts(self, engine: Engine) -> None:
        """Equal shares of the rows that are left for the prompts being read."""
        batch = engine.team.llama.batch
        room = usize(engine.batch_rows) - batch.count
        if batch.count > 0:
            room = min(room, PREFILL_ROWS_SHARED)
        readers: usize = 0
        for request in self.requests:
            if request.state == SlotState.PREFILL:
                readers += 1
        for request in self.requests:
            if request.state == SlotState.PREFILL and room > 0:
                # Rounded up; what a short prompt leaves goes to those after it.
                part = (room + readers - 1) // readers
                rows = min(part, usize(request.prompt_count - request.computed))
                self.add_rows(engine, request, u32(rows))
                room -= rows
                readers -= 1

    def add_rows(self, engine: Engine, request: Request, rows: u32) -> None:
        """The next `rows` tokens of a prompt; the last token of all asks for logits."""
        batch = engine.team.llama.batch
        request.rows = rows
        request.wanted = u32(batch.wanted_count)
        for i in range(rows):
            position = u32(request.computed + i)
            is_last = position + 1 == request.prompt_count
            batch.add(request.tokens[position], request.sequence, position, is_last)

    def collect(self, engine: Engine, request: Request, now_ns: u64) -> None:
        """Note what was computed; sample when the step gave logits."""
        request.computed += request.rows
        if request.state == SlotState.PREFILL:
            self.prompt_tokens_total += request.rows
            if request.computed < request.prompt_count:
                return
            request.state = SlotState.DECODE
        logits = engine.team.llama.logits(request.wanted)
        vocabulary = engine.tokenizer.vocabulary
        if request.params.ignore_eos:
            suppress(logits, vocabulary.end_tokens[: vocabulary.end_count])
        token = sample(logits, request.params, request.sampler, self.scratch)
        if request.token_count == request.prompt_count:
            request.first_token_ns = now_ns
        self.accept(engine, request, token)

    def accept(self, engine: Engine, request: Request, token: u32) -> None:
        """Append a token to the answer, and end it where it ends."""
        request.tokens[request.token_count] = token
        request.token_count += 1
        self.completion_tokens_total += 1
        if engine.tokenizer.vocabulary.is_end(token) and not request.params.ignore_eos:
            self.end(request, FinishReason.STOP)
            return
        request.detokenizer.push(engine.tokenizer.piece(token))
        answer = request.token_count - request.prompt_count
        if request.detokenizer.stopped:
            self.end(request, FinishReason.STOP)
        elif answer >= request.params.max_tokens or request.token_count == len(request.tokens):
            self.end(request, FinishReason.LENGTH)

    def end(self, request: Request, reason: FinishReason) -> None:
        """The answer is complete; the sequence is free."""
        request.detokenizer.finish()
        if request.sequence != NO_SEQUENCE:
            self.sequences.release(request.sequence, request.tokens[: request.computed])
            request.sequence = NO_SEQUENCE
        request.finish = reason
        request.rows = 0
        request.state = SlotState.DONE

    def state(self, slot: u32) -> SlotState:
        """Where a request is."""
        return self.requests[slot].state

    def finish_reason(self, slot: u32) -> FinishReason:
        """Why a DONE request ended."""
        return self.requests[slot].finish

    def text(self, slot: u32) -> Bytes:
        """Text not yet consumed: whole characters, no part of a stop string."""
        return self.requests[slot].detokenizer.text()

    def consume(self, slot: u32, count: usize) -> None:
        """Forget the first `count` bytes of `text`."""
        self.requests[slot].detokenizer.consume(count)

    def prompt_tokens(self, slot: u32) -> u32:
        """Tokens of the prompt."""
        return self.requests[slot].prompt_count

    def completion_tokens(self, slot: u32) -> u32:
        """Tokens of the answer so far, an end token included."""
        return self.requests[slot].token_count - self.requests[slot].prompt_count

    def cached_tokens(self, slot: u32) -> u32:
        """Prompt tokens that were not computed again: an earlier request left them in the cache."""
        return self.requests[slot].cached

    def first_token_ns(self, slot: u32) -> u64:
        """When the first token was ready, as far as `stamp` was told; 0 before."""
        return self.requests[slot].first_token_ns

    def token_ids(self, slot: u32) -> Slice[u32]:
        """Tokens of the answer so far."""
        request = self.requests[slot]
        return request.tokens[request.prompt_count : request.token_count]


def has_text_room(request: Request) -> bool:
    """Whether any next piece fits the text room (Detokenizer.room)."""
    return request.detokenizer.room() >= ANSWER_BYTES_EXTRA // 2
