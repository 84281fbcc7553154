"""Clients that are slow on purpose, or only slow: who is cut off, when, and what it costs."""

import json
import random
from typing import Any

import pytest

from bare.testing import implementations
from merlion.serve.limits import BODY_TIMEOUT_NS, RATE_BYTES_MIN, SECOND_NS, WRITE_TIMEOUT_NS

impl = implementations("merlion.serve.server", "merlion.serve.scripted", "merlion.serve.pace")

BODY_GRACE_S = BODY_TIMEOUT_NS // SECOND_NS
WRITE_GRACE_S = WRITE_TIMEOUT_NS // SECOND_NS


def too_slow(arrivals: list[tuple[int, int]], now: int, grace: int) -> bool:
    """The rules, on the seconds and sizes of everything that moved since second 0."""
    last = max((second for second, _ in arrivals), default=0)
    total = sum(size for _, size in arrivals)
    return now - last > grace or now > grace + total / RATE_BYTES_MIN


def test_the_two_rules(impl: Any) -> None:
    rng = random.Random(9)
    for _ in range(50):
        pace = impl.Pace.zeroed()
        pace.begin(7 * SECOND_NS)
        moved: list[tuple[int, int]] = []
        for second in range(1, 200):
            if rng.random() < 0.1:
                moved.append((second, rng.randrange(1, 40_000)))
                pace.move(moved[-1][1], (7 + second) * SECOND_NS)
            expected = too_slow(moved, second, BODY_GRACE_S)
            assert pace.is_slow(BODY_TIMEOUT_NS, (7 + second) * SECOND_NS) == expected


@pytest.mark.parametrize("seed", range(12))
def test_bodies(impl: Any, kit: Any, seed: int) -> None:
    """A seeded client is answered exactly if it keeps both rules, wherever its body ends up."""
    rng = random.Random(seed)
    stage = kit.stage(impl)
    client = stage.connect()
    body = json.dumps({"content": "a", "pad": "x" * rng.randrange(1000, 60_000)}).encode()
    raw = kit.request("/tokenize", body)
    at = raw.index(b"\r\n\r\n") + 4
    client.send(raw[:at])
    stage.tick(step=False)
    piece = rng.choice((50, 700, 3000, 9000))
    stall = rng.choice((0.0, 0.02, 0.1))
    moved: list[tuple[int, int]] = []
    second, cut = 0, False
    while at < len(raw) and not cut:
        for _ in range(rng.randrange(1, 40) if rng.random() < stall else 1):
            stage.tick(SECOND_NS, step=False)
            second += 1
            cut = cut or too_slow(moved, second, BODY_GRACE_S)
        if not cut:
            size = min(rng.randrange(1, piece + 1), len(raw) - at)
            assert client.send(raw[at : at + size]) == size
            at += size
            moved.append((second, size))
    (reply,) = kit.read_replies(client.run(), ["POST"], closed=client.closed)
    assert reply.status == (408 if cut else 200)
    assert client.closed == cut


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("honest", [True, False])
def test_readers(impl: Any, kit: Any, seed: int, honest: bool) -> None:
    """A stream that is taken at the least rate arrives whole; a slower one gives its slot back."""
    rng = random.Random(seed)
    stage = kit.stage(impl, script=bytes(rng.choice(b"abc ") for _ in range(480)))
    client = stage.connect()
    client.send(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    seconds = 0
    while not client.closed and seconds < 300 and not client.received.endswith(b"0\r\n\r\n"):
        for _ in range(20):
            stage.tick(SECOND_NS // 20)
        seconds += 1
        mean = RATE_BYTES_MIN + 200 if honest else 400
        client.drain(rng.randrange(mean) + mean // 2)
    (reply,) = kit.read_replies(client.received, ["POST"], closed=client.closed)
    assert reply.complete == honest
    assert stage.busy_slots == 0
    if not honest:
        assert client.closed
        assert WRITE_GRACE_S < seconds < WRITE_GRACE_S * 1.5
