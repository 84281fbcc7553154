"""Whether a command succeeded: at the machine's prompt, and as the status of `merlion run`."""

import subprocess
import sys

import pytest

from tests.boot.machines import Booted
from tests.kernel.test_shell import FAILURES

pytestmark = pytest.mark.qemu
SECONDS = 120.0


@pytest.mark.parametrize(("line", "reason"), FAILURES)
def test_a_command_that_fails(plain: Booted, line: bytes, reason: bytes) -> None:
    assert plain.execute(line.decode()).startswith(reason.decode())
    assert not plain.guest.succeeded


@pytest.mark.parametrize("line", ["", "free", "lsblk", "ss", "config", "noise 1"])
def test_a_command_that_succeeds(plain: Booted, line: str) -> None:
    plain.execute(line)
    assert plain.guest.succeeded


def run(*commands: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "merlion.cli", "run", "--accel", "tcg", "--cores", "1", "--exit"]
    line += [word for command in commands for word in ("--exec", command)]
    return subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_one_failed_command_is_the_status_of_the_run() -> None:
    done = run("uptime", "ai Hello", "free")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "failed: ai Hello"
    assert "page faults" in done.stdout  # What follows it is done all the same.


def test_without_a_failure_it_is_0() -> None:
    done = run("uptime", "free")
    assert done.returncode == 0
    assert "failed" not in done.stderr
