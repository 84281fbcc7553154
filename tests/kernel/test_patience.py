"""How long a core polls for another before it naps."""

from typing import Any

from bare.testing import implementations
from merlion.kernel.limits import CREDIT_NS, FREE_WAIT_NS, IDLE_NS, REFILL_SHARE

impl = implementations("merlion.kernel.patience")

START = 10 * CREDIT_NS * REFILL_SHARE
STEP = 100_000


def polled(patience: Any, start: int, seconds: float, in_pass: bool = True) -> int:
    """Nanoseconds until patience ends, in steps; all of `seconds` if it does not."""
    patience.lasts(start - STEP, 2, in_pass)  # It has computed something just before.
    end = start + int(seconds * 1e9)
    now = start
    while now < end and patience.lasts(now, 1, in_pass):
        now += STEP
    return now - start


def test_short_waits_are_free(impl: Any) -> None:
    patience = impl.Patience()
    now = START
    for done in range(1, 1000):  # 0.9 ms each, one after the other: more than the credit.
        for _ in range(9):
            assert patience.lasts(now, done, True)
            now += STEP
    assert patience.credit_ns == CREDIT_NS


def test_a_long_wait_ends_with_the_credit(impl: Any) -> None:
    time = polled(impl.Patience(), START, 1)
    assert CREDIT_NS <= time - FREE_WAIT_NS <= CREDIT_NS * 1.2


def test_without_credit_a_tenth_of_the_time_is_polled(impl: Any) -> None:
    patience = impl.Patience()
    now = START + polled(patience, START, 1)
    spent = 0
    for _ in range(10_000):
        spent += patience.lasts(now, 1, True)
        now += STEP
    assert spent <= 10_000 // REFILL_SHARE


def test_time_refills_the_credit(impl: Any) -> None:
    patience = impl.Patience()
    end = START + polled(patience, START, 1)
    assert not patience.lasts(end, 1, True)
    patience.lasts(end + CREDIT_NS * REFILL_SHARE, 2, True)
    assert patience.credit_ns == CREDIT_NS


def test_between_passes_waiting_costs_nothing(impl: Any) -> None:
    patience = impl.Patience()
    assert IDLE_NS <= polled(patience, START, 1, in_pass=False) <= IDLE_NS + STEP
    assert patience.credit_ns == CREDIT_NS
