"""The quick part: one emulated machine from QEMU's start to tokens over HTTP."""

import pytest

from tests.boot.machines import TINY_MODEL, Booted, hosted_text

pytestmark = [pytest.mark.qemu, pytest.mark.quick]
PROMPT = "Once upon a time"
TOKENS = 48
AT_REST = "page faults 0, interrupts 0, allocations 0 bytes"


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
    assert tiny.metric("merlion:page_faults_total") == 0
    assert tiny.metric("merlion:interrupts_at_work_total") == 0
    assert tiny.metric("merlion:allocated_bytes_after_load_total") == 0
    assert AT_REST in tiny.execute("ai-bench 32 16")


def test_every_command_answers(tiny: Booted) -> None:
    listed = [line.split()[0] for line in tiny.execute("help").splitlines()]
    assert len(listed) >= 24
    changing = {"ai", "ai-load", "ai-unload", "ai-bench", "ai-serve", "ai-stop", "clear"}
    ending = {"crash", "reboot", "shutdown", "ping"}
    for name in listed:
        if name not in changing | ending:
            assert "unknown command" not in tiny.execute(name)
    assert "unknown command" in tiny.execute("rubbish")
