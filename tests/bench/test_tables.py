"""Tables of docs/performance.md: cells, sections, ratios."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


def module(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


tables = module("tables")

HEAD = {
    "schema": 1,
    "command": "python bench/compare.py",
    "version": "abc1234",
    "disturbed": "",
    "machine": {
        "date": "2026-01-01 00:00 UTC",
        "cpu": "CPU",
        "cpus": 2,
        "hypervisor": True,
        "memory_bytes": 8 << 30,
        "linux": "6.1",
        "huge_pages": "madvise",
        "load_average": 0.5,
    },
}


def row(task: str, **changes: Any) -> dict[str, Any]:
    usual = {
        "model": "M Q4_0",
        "task": task,
        "threads": 2,
        "ours": [200.0, 300.0, 220.0],
        "tuned": [100.0, 100.0, 100.0],
        "installed": [80.0, 100.0, 110.0],
        "bandwidth": [40e9, 40e9, 40e9],
        "int8_peak": [400e9, 400e9, 400e9],
        "per_token": {"bytes": 100_000_000, "products": 1_000_000_000},
        "disturbed": "",
    }
    return {**usual, **changes}


def test_markdown() -> None:
    assert tables.markdown(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |"
    with pytest.raises(AssertionError):
        tables.markdown(["", "a"], [["x"]])


def test_sections_are_replaced_and_the_rest_is_kept() -> None:
    page = "one\n<!-- a -->\nold\n<!-- /a -->\ntwo <!-- b -->\n<!-- /b -->"
    once = tables.replace_section(page, "a", "new\n")
    assert once == "one\n<!-- a -->\n\nnew\n\n<!-- /a -->\ntwo <!-- b -->\n<!-- /b -->"
    assert tables.replace_section(once, "a", "new") == once
    with pytest.raises(ValueError, match="no section c"):
        tables.replace_section(page, "c", "")


def test_ratios_are_of_rounds_not_of_medians() -> None:
    assert tables.ratios(row("decode")) == [2.0, 3.0, 2.2]
    assert tables.ratios(row("decode"), "installed") == [2.5, 3.0, 2.0]


def test_limits_by_task() -> None:
    assert tables.share(row("decode"), "ours") == "55%"
    assert tables.share(row("prefill 512"), "tuned") == "25%"
    assert tables.share(row("decode, 8 streams"), "ours") == ""


def test_compare_table_marks_what_was_disturbed() -> None:
    peer = {"version": "1", "system": "AVX2 = 1"}
    quiet = {**HEAD, "peer": peer, "rows": [row("decode")]}
    text = tables.compare_table(quiet)
    assert "| M Q4_0, decode | 2 | 220.0 | 55% | 100.0 | 25% |" in text
    assert "isturbed" not in text
    busy = {**HEAD, "disturbed": "noise", "peer": peer}
    text = tables.compare_table({**busy, "rows": [row("decode", disturbed="noise")]})
    assert "decode \\* |" in text
    assert "**Disturbed: noise.**" in text


@pytest.mark.parametrize("faster", ["tuned", "installed"])
def test_the_ratio_that_counts_is_the_one_against_the_faster_peer(faster: str) -> None:
    slower = {"tuned": "installed", "installed": "tuned"}[faster]
    found = row("decode", ours=[240.0], bandwidth=[40e9], **{faster: [120.0], slower: [80.0]})
    text = tables.compare_table({**HEAD, "peer": {"version": "1", "system": ""}, "rows": [found]})
    assert "**2.00 (2.00 to 2.00)**" in text
    assert "| 3.00 (3.00 to 3.00)" in text


def test_boot_table() -> None:
    times = {"kernel": 0.1, "prompt": 0.2, "loaded": 0.3, "first_token": 0.4}
    stages = [{"what": "memory", "seconds": 0.015}]
    machine = {"accelerator": "kvm", "cores": 1, "model": "m.gguf", "stages": stages}
    text = tables.boot_table({**HEAD, **machine, "runs": [times, times]})
    assert "KVM, 1 core, m.gguf" in text
    assert "| prompt, no model | 0.200 | 0.200 | 0.200 |" in text
    assert "| memory | 0.0150 |" in text


def test_machine_table() -> None:
    times = {"count": 1999, "p50": 4.0, "p90": 4.2, "p99": 5.0, "p99_9": 6.0, "max": 7.0}
    side = {"inter_token_ms": times, "p99_over_p50": 1.25, "p99_over_local_p50": 1.08}
    usage = {"page_faults": 0, "interrupts": 0, "allocated_bytes": 0}
    quiet, loud = {"longest_ms": 0.1, "lost": 0.001}, {"longest_ms": 3.0, "lost": 0.04}
    even = {"booted": {**side, "decode_usage": usage}, "hosted": side, "reading": side}
    even["noise"] = [[quiet, quiet], [quiet, loud]]
    machine = {"accelerator": "kvm", "cores": 2, "model": "m", "booted": [200.0], "hosted": [100.0]}
    text = tables.machine_table({**HEAD, **machine, "evenness": even})
    assert "| m, decode, 2 cores, KVM | 200.0 | 100.0 | **2.00** (2.00 to 2.00) |" in text
    assert "| booted | 4.00 | 4.20 | 5.00 | 6.00 | 7.00 | 1.25 | 1.08 |" in text
    assert "| reading memory alone | 4.00 |" in text
    assert "0 page faults, 0 interrupts, 0 bytes allocated" in text
    assert "up to 4.0% of a core, 3.0 ms at once" in text


def test_page_sizes_table() -> None:
    def sized(pages: str, rate: float) -> dict[str, Any]:
        rates = {"decode_tokens_per_s": [rate, rate], "prefill_tokens_per_s": [5.0, 5.0]}
        return {"pages": pages, **rates, "bandwidth_bytes_per_s": [20e9, 20e9]}

    machine = {"accelerator": "pvm", "cores": 1, "model": "m"}
    rows = [sized("4k", 100.0), sized("2m", 150.0)]
    text = tables.page_sizes_table({**HEAD, **machine, "rows": rows})
    assert "| 4 KiB | 100.0 | **1.00** (1.00 to 1.00) | 5.0 | 20.0 |" in text
    assert "| 2 MiB | 150.0 | **1.50** (1.50 to 1.50) | 5.0 | 20.0 |" in text


def test_stages_are_read_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    boot_time = module("boot_time")
    sys.modules.pop("results", None)
    text = "console     11.40 ms  +11.40\nmodel read  539.76 ms  +426.35\nnothing\n"
    assert boot_time.stages(text) == [
        {"what": "console", "seconds": pytest.approx(0.0114)},
        {"what": "model read", "seconds": pytest.approx(0.53976)},
    ]


def test_published_results_make_tables_and_name_no_path() -> None:
    # `report` itself needs matplotlib only for the chart.
    writers = {
        "compare": tables.compare_table,
        "compare_avx2": tables.compare_table,
        "pages": tables.pages_table,
        "engine": tables.engine_table,
        "machine": tables.machine_table,
        "page_sizes": tables.page_sizes_table,
        "boot_time": tables.boot_table,
        "serve_hosted": tables.serve_table,
        "serve_booted": tables.serve_table,
    }
    for path in sorted((BENCH / "results").glob("*.json")):
        text = path.read_text()
        for place in (Path.home(), BENCH.parent):
            assert f"{place}/" not in text, "results name no place of the machine they come from"
        result = json.loads(text)
        assert result["schema"] == 1
        assert "|" in writers[path.stem](result)


def test_page_has_every_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    report = module("report")
    page = report.PAGE.read_text()
    for name in report.SECTIONS:
        assert tables.replace_section(page, name, "x") != page
    for name in ("results", "tables"):
        sys.modules.pop(name, None)
