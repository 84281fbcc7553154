"""Time since the first instruction, in nanoseconds, from the time-stamp counter.

`arch/x86_64/tsc.py` finds the frequency. Before that the counter runs at a guess, so that log
lines have some order. Invariant: now_ns never goes back on a core (the TSC is invariant).
"""

from bare import Struct, u64
from bare.cpu import pause, rdtsc

GUESS_KHZ = 2_000_000


class Clock(Struct):
    """The counter's zero point and frequency."""

    start: u64 = 0
    khz: u64 = GUESS_KHZ

    def ticks(self) -> u64:
        """Return the counter since the zero point."""
        now = rdtsc()
        return now - self.start if now > self.start else 0

    def nanoseconds(self, ticks: u64) -> u64:
        """Convert counter ticks to nanoseconds, without leaving 64 bits for 500 years."""
        return ticks // self.khz * 1_000_000 + ticks % self.khz * 1_000_000 // self.khz


clock = Clock()


def now_ns() -> u64:
    """Return the time since the first instruction."""
    return clock.nanoseconds(clock.ticks())


def deadline_ns(milliseconds: u64) -> u64:
    """Return the time that many milliseconds from now."""
    return now_ns() + milliseconds * 1_000_000


def wait_us(microseconds: u64) -> None:
    """Spin for a while."""
    end = now_ns() + microseconds * 1000
    while now_ns() < end:
        pause()
