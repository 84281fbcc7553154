"""Booting the image for tests: one call a machine, and its API through the forwarded port.

Every wait has a limit; ports are on the loopback; QEMU ends with the `with` block, and with the
process should that die.
"""

import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from merlion.cli.accelerator import Accelerator, detect
from merlion.cli.guest import Guest
from merlion.cli.paths import IMAGE
from merlion.cli.qemu import GUEST_PORT, MEBIBYTE, Machine, memory_for
from tests.models import reference_directory

BOOT_SECONDS = 60.0
COMMAND_SECONDS = 60.0
LOAD_SECONDS = 60.0
HTTP_SECONDS = 30.0
PROBE_SECONDS = 1.0
TINY_MODEL = reference_directory() / "data" / "stories260K.gguf"


def free_port() -> int:
    """A port of the loopback that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def native() -> Accelerator | None:
    """KVM or PVM where this machine has it."""
    found = detect().accelerator
    return None if found is Accelerator.TCG else found


@dataclass
class Reply:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Booted:
    """A machine at its prompt."""

    guest: Guest
    port: int
    boot_text: str = ""
    prompt_seconds: float = 0.0

    def execute(self, command: str, timeout: float = COMMAND_SECONDS) -> str:
        """Type a command; gives its output without blank lines around it."""
        return self.guest.execute(command, timeout).strip()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def request(
        self, path: str, body: Any = None, timeout: float = HTTP_SECONDS, **fields: str
    ) -> Reply:
        """One request on a connection of its own, with `fields` in its head."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            raw = None if body is None else json.dumps(body)
            connection.request("GET" if raw is None else "POST", path, raw, fields)
            reply = connection.getresponse()
            return Reply(reply.status, dict(reply.getheaders()), reply.read())
        finally:
            connection.close()

    def complete(self, prompt: str | list[int], tokens: int, **fields: Any) -> str:
        """Greedy text of the model."""
        settings = {"prompt": prompt, "max_tokens": tokens, "temperature": 0} | fields
        reply = self.request("/v1/completions", settings)
        assert reply.status == 200, reply.body
        return str(reply.json["choices"][0]["text"])

    def chat(self, text: str, tokens: int) -> str:
        """The greedy answer to one message."""
        messages = [{"role": "user", "content": text}]
        settings = {"messages": messages, "max_tokens": tokens, "temperature": 0}
        reply = self.request("/v1/chat/completions", settings)
        assert reply.status == 200, reply.body
        return str(reply.json["choices"][0]["message"]["content"])

    def detokenize(self, tokens: list[int]) -> str:
        """The text of token ids."""
        return str(self.request("/detokenize", {"tokens": tokens}).json["content"])

    def metric(self, name: str) -> float:
        """One value of /metrics."""
        found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", self.request("/metrics").body.decode())
        assert found is not None, f"no metric {name}"
        return float(found[1])

    def wait_for(self, what: Callable[[], bool], seconds: float) -> None:
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, f"not within {seconds} s; {self.guest.last_lines()}"
            time.sleep(0.02)


@contextmanager
def boot(
    accelerator: Accelerator = Accelerator.TCG, *, wait: bool = True, **fields: Any
) -> Iterator[Booted]:
    """Boot a machine; one core, no disk and no network unless `fields` of Machine say so."""
    disk: Path | None = fields.get("disk")
    network = bool(fields.get("network", False))
    port = free_port() if network else 0
    small = 256 * MEBIBYTE if disk is None or disk.stat().st_size < MEBIBYTE << 3 else None
    settings = {
        "kernel": IMAGE,
        "accelerator": accelerator,
        "memory": small or memory_for(disk),
        "network": False,
        "host_port": port or None,
    }
    with Guest(Machine(**(settings | fields)).command()) as guest:
        booted = Booted(guest, port)
        if wait:
            booted.boot_text = guest.wait_for_prompt(BOOT_SECONDS)
            booted.prompt_seconds = time.monotonic() - guest.started
        yield booted


@contextmanager
def serving(accelerator: Accelerator, model: Path, **fields: Any) -> Iterator[Booted]:
    """Boot a machine with a disk and a network that serves its model."""
    words = [f"serve={GUEST_PORT}", "panic=exit", *fields.pop("words", [])]
    with boot(accelerator, disk=model, network=True, words=words, **fields) as booted:
        booted.wait_for(lambda: is_up(booted), LOAD_SECONDS)
        yield booted


def is_up(booted: Booted) -> bool:
    """Whether /health says ok."""
    try:
        return booted.request("/health", timeout=PROBE_SECONDS).status == 200
    except OSError:
        return False


@cache
def hosted_text(model: Path, prompt: str, tokens: int) -> str:
    """What the hosted engine says at temperature 0."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "merlion.cli", "generate", str(model), "--prompt", prompt]
    command += ["--tokens", str(tokens), "--temperature", "0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return str(json.loads(done.stdout)["text"])
