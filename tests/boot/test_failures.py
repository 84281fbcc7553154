"""Traps and exceptions say what and where, and end the machine as `panic=` says."""

import re

import pytest

from tests.boot.machines import boot

pytestmark = pytest.mark.qemu

EXIT_PANIC = 33
SITE = r"src/merlion/kernel/\S+\.py:\d+:\d+"
WAIT = 20.0

KINDS = {
    "assert": (r"trap: " + SITE.replace(r"\S+", "shell/crash") + ".*the user asked for it"),
    "bounds": r"trap: \S+crash\.py:\d+:\d+",
    "null": r"exception 14 \(page fault\) error \w+ address 0000000000000008",
    "unmapped": r"exception 14 \(page fault\) error \w+ address 00007fff00000000",
    "code": r"exception 14 \(page fault\) error 0003 ",
    "sealed": r"trap: src/bare/arena\.py:\d+:\d+: arena: allocation after seal",
    "guard": r"exception 14 \(page fault\) error 000[26] ",
    "stack": r"exception (8 \(double fault\)|14 \(page fault\)) ",
}


@pytest.mark.parametrize("kind", KINDS)
def test_report(kind: str) -> None:
    with boot(words=["panic=exit"]) as machine:
        machine.guest.type(f"crash {kind}\r".encode())
        assert machine.guest.wait(WAIT) == EXIT_PANIC
        text = machine.guest.text.decode(errors="replace")
        report = text[text.index(f"crash {kind}") :]
        assert re.search(KINDS[kind], report), report
        assert "backtrace:" in report
        if kind != "stack":  # Nothing is left of its frames.
            assert "shell.Shell.take_key+0x" in report, report
            assert "kernel_main+0x" in report, report


def test_panic_halts_by_default() -> None:
    with boot() as machine:
        machine.guest.type(b"crash assert\r")
        machine.guest.wait_for(rb"halted \(panic=halt\)", WAIT)


def test_panic_reboots() -> None:
    with boot(words=["panic=reboot"]) as machine:
        machine.guest.type(b"crash assert\r")
        # QEMU is told -no-reboot: a reset ends it.
        assert machine.guest.wait(WAIT) == 0


@pytest.mark.parametrize("machine", ["microvm", "q35"])
def test_power_off_ends_qemu(machine: str) -> None:
    with boot(machine=machine) as booted:
        booted.guest.type(b"shutdown\r")
        assert booted.guest.wait(WAIT) == 0


def test_exit_code() -> None:
    with boot() as machine:
        machine.guest.type(b"shutdown 5\r")
        assert machine.guest.wait(WAIT) == 11


@pytest.mark.parametrize("machine", ["microvm", "q35"])
def test_reboot(machine: str) -> None:
    with boot(machine=machine) as booted:
        booted.guest.type(b"reboot\r")
        assert booted.guest.wait(WAIT) == 0
