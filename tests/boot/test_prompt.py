"""The quick part: one emulated machine from QEMU's start to tokens over HTTP."""

import json
import re

import pytest

from bare.simd import LEVELS
from merlion.cli.paths import ROOT
from tests.boot.machines import TINY_MODEL, Booted, hosted_text

pytestmark = [pytest.mark.qemu, pytest.mark.quick]
PROMPT = "Once upon a time"
TOKENS = 48
SECTOR = 512  # A disk is whole sectors.
AT_REST = "interrupts 0, "


def test_prompt_is_reached(tiny: Booted) -> None:
    assert "MerlionOS Inference" in tiny.boot_text
    assert "disk 1 MiB" in tiny.boot_text
    assert "network 52:54:00:12:34:56" in tiny.boot_text


def test_model_is_loaded(tiny: Booted) -> None:
    text = tiny.execute("ai-info")
    assert "vocabulary 512" in text
    assert "weights" in text


def test_text_is_the_hosted_engines(tiny: Booted) -> None:
    assert tiny.complete(PROMPT, TOKENS) == hosted_text(TINY_MODEL, PROMPT, TOKENS)


def test_nothing_disturbs_a_request(tiny: Booted) -> None:
    tiny.complete(PROMPT, 8)
    assert tiny.metric("merlion:interrupts_at_work_total") == 0
    assert AT_REST in tiny.execute("ai-bench 32 16")
    assert tiny.guest.succeeded


def test_bench_as_json(tiny: Booted) -> None:
    report = json.loads(tiny.execute("ai-bench --json 32 16 3"))
    assert report["schema"] == 1
    plan = {"prompt_tokens": 16, "tokens": 32, "streams": 3, "stream_tokens": 32, "repeats": 1}
    assert report["plan"] == plan
    assert report["machine"]["instructions"] in LEVELS
    assert report["decode_usage"]["interrupts"] == 0
    times = report["inter_token_ms"]
    assert times["count"] == 31
    assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["p99_9"] <= times["max"]
    assert sum(one["count"] for one in report["inter_token_histogram"]) == 31
    for name in ("prefill", "decode", "streams"):
        assert report[f"{name}_tokens_per_s"] > 0
    assert report["first_token_ms"] > 0
    assert report["joules_per_token"] is None
    assert report["bandwidth_share"] == pytest.approx(
        report["decode_tokens_per_s"] * report["bytes_per_token"] / report["bandwidth_bytes_per_s"],
        rel=1e-3,
    )
    assert report["int8_share"] > 0
    assert 0 <= report["memory_bytes"]["file"] - TINY_MODEL.stat().st_size < SECTOR


def test_bench_names_are_those_of_the_hosted_one(tiny: Booted) -> None:
    report = json.loads(tiny.execute("ai-bench --json 8 8"))
    text = (ROOT / "docs" / "performance.md").read_text()
    assert {name for name in report if f"`{name}`" not in text} == {"schema", "model", "threads"}


def test_the_api_has_one_port(tiny: Booted) -> None:
    """A second `ai-serve` left the first port open, and `ai-stop` closed the second one only."""
    assert tiny.execute("ai-serve 9000") == "already served on port 8080: ai-stop first"
    assert re.findall(r"listen +\*:(\d+)", tiny.execute("ss")) == ["8080"]
    assert "closed" in tiny.execute("ai-stop")
    assert tiny.execute("info").count("not served") == 1
    assert ":8080" in tiny.execute("ai-serve 8080")
    assert tiny.request("/health").status == 200


def test_a_number_out_of_range_is_told_the_range(tiny: Booted) -> None:
    assert "up to 4096" in tiny.execute("ai-bench 5000")
    assert "1 to 60" in tiny.execute("noise 61")


def test_config_shows_every_setting(tiny: Booted) -> None:
    shown = dict(line.split(maxsplit=1) for line in tiny.execute("config").splitlines())
    assert shown.keys() >= {"pvm", "pages", "simd", "cores", "ctx", "parallel", "ip", "load"}
    assert (shown["serve"], shown["panic"], shown["quiet"]) == ("8080", "exit", "no")
    assert shown["api"] == "key     none"


def test_noise_of_every_core(tiny: Booted) -> None:
    text = tiny.execute("noise 1")
    assert "gaps from 1 us" in text
    assert "core 0: longest" in text


def test_every_command_answers(tiny: Booted) -> None:
    listed = [line.split()[0] for line in tiny.execute("help").splitlines()]
    assert len(listed) >= 24
    changing = {"ai", "ai-load", "ai-unload", "ai-bench", "ai-serve", "ai-stop", "clear"}
    ending = {"crash", "reboot", "shutdown", "ping"}
    for name in listed:
        if name not in changing | ending:
            text = tiny.execute(name)
            assert text, name
            assert "unknown command" not in text
            assert tiny.guest.succeeded, name
    assert "unknown command" in tiny.execute("rubbish")
