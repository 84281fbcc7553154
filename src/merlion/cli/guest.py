"""A running machine and its serial console: reading, waiting for the prompt, typing commands."""

import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from merlion.cli.errors import UserError

PROMPT = b"merlion> "
END_OF_COMMAND = re.compile(rb"\x1b\]133;D;(\d+)\x07")  # kernel/shell/shell.py
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
ESCAPE_BYTES_MAX = 16
READ_BYTES = 65536
KILL_SECONDS = 5
QEMU_FAILED = 1
PR_SET_PDEATHSIG = 1


class GuestError(UserError):
    """The machine stopped, or did not answer in time."""


def die_with_parent() -> None:
    """In the child: end when the parent ends, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Guest:
    """QEMU with its console on pipes. Close it, or use it in `with`."""

    def __init__(self, command: list[str], show: Callable[[bytes], object] | None = None) -> None:
        """Start it. `show` is given everything the console prints, as it comes."""
        self.started = time.monotonic()
        self._show = show
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A Ctrl-C in the terminal is ours to handle.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin.fileno()
        self.output = self._process.stdout.fileno()
        os.set_blocking(self.output, False)
        self.text = b""  # Everything printed, without escape sequences but END_OF_COMMAND.
        self.succeeded = True  # The last command that `execute` typed.
        self._seen = 0  # Of `text`: what `wait_for` has gone past.

    def __enter__(self) -> "Guest":
        """Return the guest."""
        return self

    def __exit__(self, *_: object) -> None:
        """End QEMU."""
        self.close()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    def type(self, data: bytes) -> None:
        """Send keys."""
        try:
            os.write(self._input, data)
        except BrokenPipeError:
            raise self.stopped() from None

    def read(self, timeout: float) -> bytes | None:
        """What the console prints next; empty after `timeout`, None when QEMU has closed it."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.output, selectors.EVENT_READ)
            if not selector.select(timeout):
                return b""
        data = os.read(self.output, READ_BYTES)
        if not data:
            return None
        if self._show is not None:
            self._show(data)
        # The end of what was there may be the start of an escape sequence.
        kept = max(len(self.text) - ESCAPE_BYTES_MAX, self._seen)
        self.text = self.text[:kept] + ESCAPES.sub(b"", self.text[kept:] + data)
        return data

    def wait_for(self, pattern: bytes | re.Pattern[bytes], timeout: float) -> bytes:
        """Wait until `pattern` (a regular expression) is printed; gives the text up to its end."""
        expression = re.compile(pattern)
        end = time.monotonic() + timeout
        while True:
            found = expression.search(self.text, self._seen)
            if found is not None:
                start, self._seen = self._seen, found.end()
                return self.text[start : found.end()]
            left = end - time.monotonic()
            if left <= 0:
                raise GuestError(
                    f"the machine did not print {expression.pattern!r} within "
                    f"{timeout:.0f} s; last lines:\n{self.last_lines()}"
                )
            if self.read(min(left, 1.0)) is None:
                raise self.stopped()

    def wait_for_prompt(self, timeout: float) -> str:
        """Wait for the shell; gives what was printed before it."""
        text = self.wait_for(re.escape(PROMPT), timeout)
        return text[: -len(PROMPT)].decode(errors="replace")

    def execute(self, command: str, timeout: float) -> str:
        """Type a command at the prompt and wait for its end; gives its output."""
        line = command.encode()
        self.type(line + b"\r")
        # A log line may make the shell draw its prompt again: only the whole echo counts.
        self.wait_for(re.escape(line) + rb"\r*\n", timeout)
        printed = self.wait_for(END_OF_COMMAND, timeout)
        end = END_OF_COMMAND.search(printed)
        assert end is not None
        self.succeeded = int(end[1]) == 0
        self.wait_for_prompt(timeout)
        return printed[: end.start()].decode(errors="replace").replace("\r", "")

    def wait(self, timeout: float) -> int:
        """Wait until QEMU ends; gives its exit status."""
        end = time.monotonic() + timeout
        while self.read(min(max(end - time.monotonic(), 0), 1.0)) is not None:
            if time.monotonic() >= end:
                raise GuestError(f"the machine is still on after {timeout:.0f} s")
        return self._process.wait(max(end - time.monotonic(), 1.0))

    def own_status(self, timeout: float) -> int:
        """Wait for the end, which must be the guest's doing; gives the exit status.

        0 is a power-off; isa-debug-exit gives 2 n + 1 for n from 1. QEMU's own failures are 1.
        """
        status = self.wait(timeout)
        if status < 0 or status == QEMU_FAILED or (status != 0 and status % 2 == 0):
            raise self.stopped()
        return status

    def last_lines(self, count: int = 12) -> str:
        """The end of what was printed."""
        return b"\n".join(self.text.splitlines()[-count:]).decode(errors="replace")

    def stopped(self) -> GuestError:
        """QEMU has ended although it should not have."""
        status = self._process.wait(KILL_SECONDS)
        assert self._process.stderr is not None
        words = self._process.stderr.read().decode(errors="replace").strip()
        return GuestError(
            f"the machine stopped (QEMU's exit status {status}){': ' + words if words else ''}"
            f"\n{self.last_lines()}".rstrip()
        )

    def close(self) -> None:
        """End QEMU if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(KILL_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue


def print_raw(data: bytes) -> None:
    """The console's bytes on standard output, at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
