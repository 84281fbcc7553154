"""Percentiles and histograms of latencies. Plain arithmetic: no clock, no output."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from merlion.engine.limits import HISTOGRAM_BINS

# The histogram's bins are equal up to this share of the values; the rest shares the last one, so
# that one straggler does not squeeze everything else into a single bar.
SHOWN = 0.99


@dataclass(frozen=True, slots=True)
class Distribution:
    """Latencies in milliseconds."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p99_9: float
    max: float

    @property
    def tail(self) -> float:
        """p99 over p50: how even the stream is. 1 is perfect."""
        return self.p99 / self.p50 if self.p50 > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Bin:
    """Values from low up to high: a bound belongs to the bin above it, if there is one."""

    low: float
    high: float
    count: int


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that at least `share` of all do not exceed."""
    assert ordered, "no values"
    rank = math.ceil(share * len(ordered))
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def describe(values: Sequence[float]) -> Distribution:
    """Summary of at least one value."""
    ordered = sorted(values)
    return Distribution(
        count=len(ordered),
        mean=math.fsum(ordered) / len(ordered),
        p50=percentile(ordered, 0.5),
        p90=percentile(ordered, 0.9),
        p99=percentile(ordered, 0.99),
        p99_9=percentile(ordered, 0.999),
        max=ordered[-1],
    )


def histogram(values: Sequence[float], bins: int = HISTOGRAM_BINS) -> list[Bin]:
    """Equal bins from the smallest value to the 99th percentile, and one for what is above."""
    assert bins >= 1
    ordered = sorted(values)
    low, high, top = ordered[0], percentile(ordered, SHOWN), ordered[-1]
    if high <= low:
        return [Bin(low, top, len(ordered))]
    step = (high - low) / bins
    counts = [0] * bins
    for value in ordered:
        if value <= high:
            counts[min(int((value - low) / step), bins - 1)] += 1
    found = [Bin(low + step * i, low + step * (i + 1), counts[i]) for i in range(bins)]
    if top > high:
        found.append(Bin(high, top, len(ordered) - sum(counts)))
    return found


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the middle two."""
    assert values, "no values"
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
