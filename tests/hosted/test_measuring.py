"""The pure parts of `merlion bench`: percentiles, histograms, counters, what is printed."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merlion.cli import bench
from merlion.hosted import observation
from merlion.hosted.benchmark import Plan, Report, random_prompt
from merlion.hosted.distribution import describe, histogram, median, percentile
from merlion.hosted.measure import READ_BYTES, Limits, shortest

VALUES = st.lists(st.floats(0.01, 1e4, allow_nan=False), min_size=1, max_size=300)


def test_percentiles_are_nearest_ranks() -> None:
    ordered = [float(i) for i in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.9, 0.99, 0.999)] == [50, 90, 99, 100]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile(ordered, 0.0) == 1.0


def test_median() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


@given(VALUES)
def test_distribution_is_ordered(values: list[float]) -> None:
    found = describe(values)
    assert min(values) <= found.p50 <= found.p90 <= found.p99 <= found.p99_9 <= found.max
    assert found.max == max(values)
    assert found.count == len(values)


@given(VALUES, st.integers(2, 20))
def test_histogram_counts_every_value_once(values: list[float], bins: int) -> None:
    found = histogram(values, bins)
    assert sum(one.count for one in found) == len(values)
    assert 1 <= len(found) <= bins + 1
    assert found[0].low == min(values)
    assert found[-1].high == pytest.approx(max(values))
    for before, after in pairwise(found):
        assert before.high == pytest.approx(after.low)


def test_a_straggler_does_not_squeeze_the_rest() -> None:
    values = [10 + i / 100 for i in range(200)] + [500.0]
    found = histogram(values)
    assert found[-1].high == 500.0
    assert found[-1].count <= 3
    assert found[0].high < 10.5


def test_bars() -> None:
    assert bench.bar(0, 8) == ""
    assert bench.bar(1, 8) == "█" * 8
    assert bench.bar(0.5, 8) == "█" * 4
    assert bench.bar(1 / 64, 8) == "▏"
    assert bench.bar(1e-9, 8) == "▏"  # Something is never drawn as nothing.


STAT = "cpu  100 0 50 800 10 0 5 20 7 0\ncpu0 1 2 3\n"


def reading(**changes: Any) -> observation.Reading:
    ticks = observation.parse_ticks(STAT, 30)
    usual = {"ticks": ticks, "faults": (10, 1), "switches": (5, 6), "energy": {}}
    return observation.Reading(**{**usual, **changes})


def test_reading_is_timed_pass_by_pass() -> None:
    limits = Limits(2)
    alone, together = limits.reading_times(1, 3), limits.reading_times(2, 4)
    assert len(alone) == 3
    assert len(together) == 4
    assert all(READ_BYTES / (time / 1e3) < 1e12 for time in alone + together), "all of it is read"


def test_a_pass_lasts_from_the_first_start_to_the_last_end() -> None:
    assert shortest([((0, 10), (2, 14)), ((20, 25), (21, 30))]) == pytest.approx(10e-9)


def test_ticks_of_proc_stat() -> None:
    assert observation.parse_ticks(STAT, 30) == observation.Ticks(985, 810, 20, 30)


def test_who_took_the_time() -> None:
    after = observation.Ticks(985 + 1000, 810 + 300, 20 + 50, 30 + 450)
    usage = observation.between(reading(), reading(ticks=after, faults=(12, 1)))
    assert usage.steal == 0.05
    assert usage.others == pytest.approx(0.2)
    assert (usage.minor_faults, usage.major_faults) == (2, 0)
    assert usage.joules is None
    assert "hypervisor took 5%" in usage.disturbed
    assert "other processes took 20%" in usage.disturbed
    assert observation.between(reading(), reading()).disturbed == ""


def test_energy_counters(tmp_path: Path) -> None:
    assert observation.read_energy(tmp_path) == {}
    for name, energy in (("intel-rapl:0", 900), ("intel-rapl:0:1", 5), ("intel-rapl:1", 50)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000\n")
    before = observation.read_energy(tmp_path)
    assert before == {"intel-rapl:0": (900, 1000), "intel-rapl:1": (50, 1000)}
    after = {"intel-rapl:0": (100, 1000), "intel-rapl:1": (150, 1000)}
    used = observation.joules(reading(energy=before), reading(energy=after))
    assert used == pytest.approx(300e-6)


def test_machine_and_process_are_described() -> None:
    machine = observation.machine()
    assert machine["cpus"]
    assert observation.process_memory()["resident"] > 0
    assert observation.chosen("always [madvise] never") == "madvise"


def report() -> Report:
    return Report(
        plan=Plan(),
        prefill_per_s=1000.0,
        first_token_ms=512.0,
        decode_per_s=200.0,
        streams_per_s=800.0,
        intervals_ms=[5.0] * 99 + [6.0],
        bytes_per_token=100_000_000,
        products_per_token=100_000_000,
        bandwidth=40e9,
        int8_peak=400e9,
        usage=observation.between(reading(), reading()),
        memory={
            "file": 1, "weights": 2, "cache": 3, "scratch": 4, "resident": 5, "huge_pages": 6,
        },
    )  # fmt: skip


def test_json_of_a_report() -> None:
    found = json.loads(json.dumps(report().as_json()))
    assert found["bandwidth_share"] == 0.5
    assert found["int8_share"] == 0.25
    assert found["joules_per_token"] is None
    assert found["inter_token_ms"]["p99"] == 5.0
    assert found["inter_token_ms"]["max"] == 6.0
    assert sum(one["count"] for one in found["inter_token_histogram"]) == 100
    page = Path(__file__).parents[2] / "docs" / "performance.md"
    text = page.read_text()
    assert all(f"`{name}`" in text for name in found if name != "schema")


def test_tables_can_be_drawn() -> None:
    assert bench.speed_table(report()).row_count == 3
    assert bench.latency_table(report()).row_count == 2
    assert bench.machine_table(report()).row_count > 8
    assert len(bench.draw(report().bins())) == len(report().bins())


def test_prompts_repeat() -> None:
    assert random_prompt(5, 100) == random_prompt(5, 100)
    assert random_prompt(5, 100) != random_prompt(5, 100, seed=2)
    assert all(token < 7 for token in random_prompt(100, 7))
