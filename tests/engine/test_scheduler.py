"""Requests through the compiled engine: order, company, threads, cancel, stop, limits."""

from collections.abc import Iterator

import numpy as np
import pytest

import bare.simd
from bare import Slice, static, u32
from bare.simd import Level
from bare.testing import COMPILED, variants
from merlion.engine.scheduler import (
    FinishReason,
    GenerateParams,
    Scheduler,
    SlotState,
    SubmitError,
)
from merlion.engine.team import Team
from tests.engine.compiled_engine import CompiledEngine
from tests.engine.files import DATA
from tests.engine.levels import HOST_LEVELS
from tests.engine.matrices import array_of
from tests.engine.reference import Reference

STORIES = DATA / "stories260K.gguf"
ONCE = [1, 403, 407, 261, 378]  # "Once upon a time"

pytestmark = [
    pytest.mark.skipif(not STORIES.exists(), reason="no stories260K.gguf"),
    pytest.mark.skipif(COMPILED not in variants(), reason="no compiler"),
]


@pytest.fixture(scope="module", params=HOST_LEVELS)
def engine(request: pytest.FixtureRequest) -> Iterator[CompiledEngine]:
    before = bare.simd.level()
    bare.simd.set_level(bare.simd.LEVELS.index(request.param))
    yield CompiledEngine(STORIES, context=128, sequences=2, requests=3)
    bare.simd.set_level(before)


def prompt(tokens: list[int]) -> Slice[u32]:
    out = static(u32, len(tokens))
    for i, token in enumerate(tokens):
        out[i] = token
    return out


def greedy(tokens: int) -> GenerateParams:
    return GenerateParams(max_tokens=tokens, temperature=0.0)


def submit(engine: CompiledEngine, tokens: list[int], params: GenerateParams) -> int | SubmitError:
    return engine.call[Scheduler.submit](engine.scheduler, prompt(tokens), params, 5)


def step(engine: CompiledEngine, now_ns: int = 7) -> bool:
    return bool(engine.call[Scheduler.step](engine.scheduler, now_ns))


def test_greedy_ids_equal_numpy(engine: CompiledEngine) -> None:
    reference = Reference(STORIES)
    wanted: list[int] = []
    tokens = list(ONCE)
    while len(wanted) < 48:
        wanted.append(int(reference.forward(tokens)[-1].argmax()))
        tokens = wanted[-1:]
    assert engine.generate(ONCE, tokens=48) == [wanted]


def test_a_request_gets_the_same_tokens_alone_and_in_company(engine: CompiledEngine) -> None:
    prompts = [ONCE, [1, 400, 261] * 9, [1, 300]]
    alone = [engine.generate(tokens, tokens=24)[0] for tokens in prompts]
    assert engine.generate(*prompts, tokens=24) == alone


def test_two_threads_give_what_one_gives(engine: CompiledEngine) -> None:
    together = CompiledEngine(STORIES, threads=2, context=128)
    try:
        prompts = [ONCE, [1, 400, 261] * 9]
        assert together.generate(*prompts, tokens=12) == engine.generate(*prompts, tokens=12)
    finally:
        together.close()


def test_a_request_from_queue_to_done(engine: CompiledEngine) -> None:
    scheduler = engine.scheduler
    slots = [submit(engine, ONCE, greedy(3)) for _ in range(3)]
    assert submit(engine, ONCE, greedy(3)) == SubmitError.QUEUE_FULL
    assert step(engine)
    assert [scheduler.state(slot) for slot in slots] == [
        *(SlotState.DECODE, SlotState.DECODE, SlotState.QUEUED)
    ]
    assert (scheduler.running(), scheduler.waiting()) == (2, 1)
    while step(engine):
        pass
    for slot in slots:
        assert scheduler.state(slot) == SlotState.DONE
        assert scheduler.finish_reason(slot) == FinishReason.LENGTH
        assert scheduler.first_token_ns(slot) == 7
        assert scheduler.prompt_tokens(slot) == len(ONCE)
        assert scheduler.completion_tokens(slot) == 3
        text = bytes(scheduler.text(slot))
        assert text
        scheduler.consume(slot, len(text))
        assert bytes(scheduler.text(slot)) == b""
        scheduler.release(slot)


def test_cancel_frees_the_sequence_before_the_next_step(engine: CompiledEngine) -> None:
    scheduler = engine.scheduler
    slots = [submit(engine, ONCE, greedy(9)) for _ in range(3)]
    step(engine)
    assert scheduler.state(slots[2]) == SlotState.QUEUED
    scheduler.cancel(slots[0])
    assert scheduler.finish_reason(slots[0]) == FinishReason.CANCELLED
    step(engine)
    assert scheduler.state(slots[2]) == SlotState.DECODE
    for slot in slots:
        scheduler.release(slot)
    assert not scheduler.has_work()
    assert not step(engine)


def test_a_stop_string_ends_the_answer_before_it(engine: CompiledEngine) -> None:
    scheduler = engine.scheduler
    slot = submit(engine, ONCE, greedy(20))
    while step(engine):
        pass
    whole = bytes(scheduler.text(slot))
    scheduler.release(slot)
    word = whole[8:14]
    params = greedy(20)
    assert params.set_stop(0, word)
    slot = submit(engine, ONCE, params)
    while step(engine):
        pass
    assert bytes(scheduler.text(slot)) == whole[: whole.index(word)]
    assert scheduler.finish_reason(slot) == FinishReason.STOP
    scheduler.release(slot)


def test_the_context_bounds_the_answer(engine: CompiledEngine) -> None:
    scheduler = engine.scheduler
    params = GenerateParams(temperature=0.0, ignore_eos=True)
    slot = submit(engine, ONCE * 24, params)
    while step(engine):
        pass
    assert scheduler.finish_reason(slot) == FinishReason.LENGTH
    assert scheduler.completion_tokens(slot) == 128 - 24 * len(ONCE)
    scheduler.release(slot)
    assert submit(engine, [1] * 128, params) == SubmitError.TOO_LONG
    assert submit(engine, [], params) == SubmitError.EMPTY
    assert submit(engine, [1, 512], params) == SubmitError.UNKNOWN_TOKEN


def test_the_same_seed_gives_the_same_tokens(engine: CompiledEngine) -> None:
    answers = []
    for seed in (3, 3, 4):
        params = GenerateParams(max_tokens=24, temperature=1.5, seed=seed)
        slot = submit(engine, ONCE, params)
        while step(engine):
            pass
        answers.append([int(token) for token in engine.scheduler.token_ids(slot)])
        engine.scheduler.release(slot)
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]


def answer(engine: CompiledEngine, tokens: list[int], params: GenerateParams) -> tuple[list, int]:
    """The tokens of an answer, and how much of its prompt was found in the cache."""
    slot = submit(engine, tokens, params)
    while step(engine):
        pass
    found = [int(token) for token in engine.scheduler.token_ids(slot)]
    cached = engine.scheduler.cached_tokens(slot)
    engine.scheduler.release(slot)
    return found, cached


def test_a_prompt_found_in_the_cache_gives_the_same_tokens(engine: CompiledEngine) -> None:
    first = ONCE * 6
    fresh, _ = answer(engine, first, greedy(20))
    longer = first + fresh + ONCE
    wanted, cached = answer(engine, longer, greedy(20))
    assert cached == 0, "asked for by cache_prompt alone"
    other = [1, 300] * 20
    wanted_other, _ = answer(engine, other, greedy(20))
    reusing = GenerateParams(max_tokens=20, temperature=0.0, cache_prompt=True)
    answer(engine, first, greedy(20))
    assert answer(engine, longer, reusing) == (wanted, len(first) + 19)
    assert answer(engine, longer, reusing) == (wanted, len(longer) - 1)
    assert answer(engine, [*first, 300], reusing)[1] == len(first)
    assert answer(engine, other, reusing) == (wanted_other, len(other) - 1)


def test_a_first_token_gets_the_time_it_was_ready(engine: CompiledEngine) -> None:
    scheduler = engine.scheduler
    slot = submit(engine, ONCE, greedy(1))
    step(engine, 100)
    assert scheduler.first_token_ns(slot) == 100
    scheduler.stamp(130)
    scheduler.stamp(190)
    assert scheduler.first_token_ns(slot) == 130
    scheduler.release(slot)


@pytest.mark.skipif("avx512" not in HOST_LEVELS, reason="compares AVX2 with AVX-512")
def test_logits_do_not_depend_on_the_width_of_the_vectors() -> None:
    before = bare.simd.level()
    found = []
    for level in (Level.AVX2, Level.AVX512):
        bare.simd.set_level(level)
        one = CompiledEngine(STORIES, context=64, sequences=1, requests=1)
        batch = one.engine.team.llama.batch
        batch.clear()
        for position, token in enumerate(ONCE):
            batch.add(token, 0, position, position + 1 == len(ONCE))
        one.call[Team.run](one.engine.team)
        found.append(array_of(one.engine.team.llama.logits(0)))
    bare.simd.set_level(before)
    np.testing.assert_array_equal(found[0], found[1])
