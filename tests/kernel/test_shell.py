"""What a command line gives: its text, then the mark that says whether it succeeded.

Under CPython alone, for the shell reaches all of the kernel; tests/boot/test_status.py enters the
same lines at a compiled one's prompt.
"""

from collections.abc import Iterator

import pytest

from bare import cpu
from merlion.kernel.line_editor import CTRL_C
from merlion.kernel.screen import screen
from merlion.kernel.shell.ping import ping
from merlion.kernel.shell.shell import FAILED, PROMPT, SUCCEEDED, shell

# Lines, and why they fail on a machine without disk, network and model.
FAILURES = [
    (b"rubbish", b"unknown command: rubbish (try help)"),
    (b"free 1", b"free takes no arguments"),
    (b"ai", b"usage: ai TEXT"),
    (b"ai Hello", b"no disk: start with -drive, or merlion run MODEL"),
    (b"ai-load", b"no disk: start with -drive, or merlion run MODEL"),
    (b"ai-unload", b"no model is loaded"),
    (b"ai-info", b"no model is loaded"),
    (b"ai-bench", b"no disk: start with -drive, or merlion run MODEL"),
    (b"ai-bench x", b"usage: ai-bench"),
    (b"ai-serve x", b"usage: ai-serve [port]"),
    (b"ai-serve", b"no network device"),
    (b"ai-stop", b"the API is not being served"),
    (b"ip", b"no network device"),
    (b"ping x", b"usage: ping ADDRESS"),
    (b"noise x", b"usage: noise"),
    (b"crash", b"usage: crash"),
    (b"shutdown x", b"usage: shutdown [code], up to 127"),
    (b"shutdown 128", b"usage: shutdown [code], up to 127"),
]


class Silence:
    """No UART is there."""

    def inb(self, port: int) -> int:
        return 0xFF


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing but a shell at its prompt."""
    monkeypatch.setattr(cpu, "bus", Silence())
    shell.prompt()
    yield
    ping.active = False
    shell.busy = False


def printed() -> bytes:
    """What has been said since the last look."""
    size = len(screen.ring)
    text = bytes(screen.ring[at % size] for at in range(screen.sent, screen.written))
    screen.sent = screen.written
    return text.replace(b"\r\n", b"\n")


def entered(keys: bytes) -> bytes:
    """What follows the echo of a line."""
    printed()
    for key in keys:
        shell.take_key(key)
    shell.take_key(0x0D)
    return printed().removeprefix(keys + b"\n")


def test_a_command_that_succeeds() -> None:
    text = entered(b"uptime")
    assert text.startswith(b"up ")
    assert text.endswith(b" s\n" + SUCCEEDED + PROMPT)


def test_an_empty_line_succeeds() -> None:
    assert entered(b"") == SUCCEEDED + PROMPT


@pytest.mark.parametrize(("line", "reason"), FAILURES)
def test_a_command_that_fails(line: bytes, reason: bytes) -> None:
    text = entered(line)
    assert text.startswith(reason), text
    assert text.endswith(b"\n" + FAILED + PROMPT), text


def test_a_list_that_is_empty_is_no_failure() -> None:
    for line in (b"lsblk", b"lspci", b"ss"):
        assert entered(line).endswith(SUCCEEDED + PROMPT)


def test_the_mark_comes_when_what_was_started_ends() -> None:
    for answers, mark in ((0, FAILED), (1, SUCCEEDED)):
        shell.busy = ping.active = True
        ping.answered = True
        ping.sequence = 4
        ping.sent_ns = 0
        ping.answers = answers
        printed()
        shell.poll(0, False)
        assert printed() == mark + PROMPT


def test_ctrl_c_at_the_prompt_ends_no_command() -> None:
    printed()
    shell.take_key(CTRL_C)
    assert printed() == b"^C\n" + PROMPT
