"""Requests through the engine with stories260K: order, company, cancel, stop, limits."""

import os
from pathlib import Path

import pytest

from bare import static, u32
from merlion.engine.engine import Engine, EngineConfig
from merlion.engine.scheduler import (
    FinishReason,
    GenerateParams,
    Scheduler,
    SlotState,
    SubmitError,
)
from tests.engine.matrices import arena, to_slice

STORIES = Path(os.environ.get("MERLION_DATA", "../shared/data")) / "stories260K.gguf"
pytestmark = pytest.mark.skipif(not STORIES.exists(), reason="no stories260K.gguf")


@pytest.fixture(scope="module")
def scheduler() -> Scheduler:
    space = arena(64 << 20)
    engine = space.alloc(Engine)
    config = EngineConfig(context=48, sequences=2, batch_rows=8, threads=1)
    assert engine.load(to_slice(STORIES.read_bytes()), space, config) is None
    result = space.alloc(Scheduler)
    assert result.init(engine, space, 3)
    return result


def prompt(*tokens: int) -> object:
    out = static(u32, len(tokens))
    for i, token in enumerate(tokens):
        out[i] = token
    return out


def greedy(tokens: int) -> GenerateParams:
    return GenerateParams(max_tokens=tokens, temperature=0.0)


def ids(scheduler: Scheduler, slot: int) -> list[int]:
    return [int(token) for token in scheduler.token_ids(slot)]


def test_a_request_gets_the_same_tokens_alone_and_in_company(scheduler: Scheduler) -> None:
    alone = scheduler.submit(prompt(1, 403, 407), greedy(4), 0)
    while scheduler.step(1):
        pass
    wanted = ids(scheduler, alone)
    assert scheduler.finish_reason(alone) == FinishReason.LENGTH
    assert len(wanted) == 4
    text = bytes(scheduler.text(alone))
    assert text
    scheduler.release(alone)

    first = scheduler.submit(prompt(1, 400, 261, 378, 298, 300, 301, 302, 303), greedy(5), 0)
    second = scheduler.submit(prompt(1, 403, 407), greedy(4), 0)
    third = scheduler.submit(prompt(1, 403), greedy(1), 0)
    assert scheduler.submit(prompt(1), greedy(1), 0) == SubmitError.QUEUE_FULL
    assert scheduler.state(third) == SlotState.QUEUED
    while scheduler.has_work():
        assert scheduler.step(7)
    assert ids(scheduler, second) == wanted
    assert bytes(scheduler.text(second)) == text
    assert scheduler.first_token_ns(second) == 7
    for slot in (first, second, third):
        assert scheduler.state(slot) == SlotState.DONE
        scheduler.release(slot)


def test_cancel_frees_the_sequence_before_the_next_step(scheduler: Scheduler) -> None:
    slots = [scheduler.submit(prompt(1, 403), greedy(9), 0) for _ in range(3)]
    scheduler.step(0)
    assert scheduler.state(slots[2]) == SlotState.QUEUED
    scheduler.cancel(slots[0])
    assert scheduler.finish_reason(slots[0]) == FinishReason.CANCELLED
    scheduler.step(0)
    assert scheduler.state(slots[2]) == SlotState.DECODE
    for slot in slots:
        scheduler.release(slot)
    assert not scheduler.has_work()


def test_refusals(scheduler: Scheduler) -> None:
    assert scheduler.submit(prompt(), greedy(1), 0) == SubmitError.EMPTY
    assert scheduler.submit(prompt(*[1] * 48), greedy(1), 0) == SubmitError.TOO_LONG
