"""A team gives the same bits whoever computes what: more threads, late ones, none at all."""

import random
import threading
import time

import pytest

import bare.simd
from bare import Arena, static, u8
from bare.testing import COMPILED, variants
from merlion.engine.shares import NO_CHUNK, Shares
from merlion.engine.team import Team
from tests.engine.compiled_engine import CompiledEngine
from tests.engine.files import DATA
from tests.engine.levels import host_level

STORIES = DATA / "stories260K.gguf"
PROMPTS = [[1, 403, 407, 261, 378], [1, 400, 261] * 30, [1, 300]]
TOKENS = 24

needs_compiler = pytest.mark.skipif(
    not STORIES.exists() or COMPILED not in variants(), reason="no model or no compiler"
)


def shares(members: int) -> Shares:
    space = Arena(static(u8, 4096))
    result = space.alloc(Shares)
    result.init(space, members)
    result.members = members
    return result


def test_every_chunk_is_taken_once_and_the_last_report_deals_on() -> None:
    queues = shares(3)
    for chunks in (1, 2, 7, 100):
        queues.deal(chunks)
        taken = []
        while (chunk := queues.take(1)) != NO_CHUNK:
            taken.append(chunk)
        assert taken == sorted(taken)
        while (chunk := queues.steal(1)) != NO_CHUNK:
            taken.append(chunk)
        assert sorted(taken) == list(range(chunks))
        assert queues.take(0) == queues.take(2) == NO_CHUNK
        reports = [queues.report(1) for _ in range(chunks)]
        assert reports == [False] * (chunks - 1) + [True]


def test_a_phase_ends_without_a_member_that_never_comes() -> None:
    queues = shares(2)
    queues.deal(8)
    while queues.take(0) != NO_CHUNK or queues.steal(0) != NO_CHUNK:
        last = queues.report(1)
    assert last


@pytest.fixture(scope="module")
def alone() -> list[list[int]]:
    bare.simd.set_level(host_level())
    return CompiledEngine(STORIES, context=128).generate(*PROMPTS, tokens=TOKENS)


@needs_compiler
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_tokens(alone: list[list[int]], threads: int) -> None:
    engine = CompiledEngine(STORIES, threads=threads, context=128)
    try:
        assert engine.generate(*PROMPTS, tokens=TOKENS) == alone
    finally:
        engine.close()


@needs_compiler
def test_a_helper_may_come_late_or_not_at_all(alone: list[list[int]]) -> None:
    engine = CompiledEngine(STORIES, threads=3, context=128, helpers=False)
    assert engine.generate(*PROMPTS, tokens=TOKENS) == alone
    stopping = False

    def come_and_go(index: int) -> None:
        """Look in at random times, for a few polls."""
        delays = random.Random(index)
        while not stopping:
            engine.call[Team.help](engine.engine.team, index, delays.randrange(1, 200))
            time.sleep(delays.random() * 1e-3)

    helpers = [threading.Thread(target=come_and_go, args=(index,)) for index in (1, 2)]
    for helper in helpers:
        helper.start()
    try:
        for _ in range(5):
            assert engine.generate(*PROMPTS, tokens=TOKENS) == alone
    finally:
        stopping = True
        for helper in helpers:
            helper.join()
    members = engine.engine.team.members
    assert members[1].chunks + members[2].chunks > 0
