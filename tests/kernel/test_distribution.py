"""Percentiles, histogram, and what is left of p99/p50 without growth."""

import statistics
from typing import Any

import pytest

from bare import Slice, u64
from bare.testing import implementations

impl = implementations("merlion.kernel.shell.distribution")


def made(impl: Any, values: list[int]) -> Any:
    """A distribution of these values."""
    found = impl.Distribution.zeroed(Slice.of(u64, [0] * 512))
    for value in values:
        found.add(value)
    return found


def test_percentiles_are_nearest_ranks(impl: Any) -> None:
    found = made(impl, list(range(200, 0, -1)))
    found.sort()
    assert [found.rank(r) for r in (500, 900, 990, 999, 1000)] == [100, 180, 198, 200, 200]
    assert found.mean() == pytest.approx(100.5)


def test_bins_hold_all(impl: Any) -> None:
    found = made(impl, [*range(1000, 1300), 9000])
    found.sort()
    found.fill_bins()
    assert sum(found.bins) == 301
    assert found.bin_low(0) == 1000
    assert found.bin_high(impl.HISTOGRAM_BINS) == 9000


@pytest.mark.parametrize("count", [1, 2, 31, 32, 63, 64, 200])
def test_local_ratios(impl: Any, count: int) -> None:
    values = [1000 + i * 7919 % 500 for i in range(count)]
    found = made(impl, [])
    found.local_ratios(made(impl, values))
    half = impl.WINDOW // 2
    for i, value in enumerate(values):
        around = values[max(i - half, 0) : i + half + 1]
        wanted = value * impl.RATIO_ONE // statistics.median_high(around)
        assert found.values[i] == wanted, i
    assert found.count == count


def test_growth_does_not_count(impl: Any) -> None:
    """Times that double evenly: p99/p50 says 1.3, the local one nearly 1."""
    values = [10_000 + 25 * i for i in range(400)]
    found = made(impl, [])
    found.local_ratios(made(impl, values))
    found.sort()
    steady = made(impl, values)
    steady.sort()
    assert steady.tail() > 1.3
    assert found.local_tail() < 1.05
