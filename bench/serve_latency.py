"""What clients of the server see: time to first token and between tokens, by number of streams.

    python bench/serve_latency.py [--where hosted|booted] [--streams 1,4,8] [--repeats 3] [--force]

Starts the server (`merlion serve`, or the machine in QEMU), sends that many requests at the same
moment, and notes when each event of the stream arrives. The client is one thread on the same cores,
so a little of what it measures is itself. Stores results/serve_WHERE.json.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import results

from merlion.cli.build import build_image
from merlion.cli.paths import find_model
from merlion.hosted import observation
from merlion.hosted.distribution import describe

HOST = "127.0.0.1"
START_SECONDS = 300.0
ANSWER_SECONDS = 300.0
TOKENS = 128
PROMPT = (
    "The harbour of the old town was quiet in the early morning. Fishing boats came back one after "
    "another, and the men who had been out all night carried their boxes to the market. A boy "
    "who had nothing to sell asked the oldest of them what the sea was like when nobody looked, "
    "and the old man"
)


@dataclass(slots=True)
class Stream:
    """When the pieces of one answer came, in seconds since the request was sent."""

    arrivals: list[float]

    @property
    def first_ms(self) -> float:
        """Time to the first token."""
        return self.arrivals[0] * 1000

    @property
    def intervals_ms(self) -> list[float]:
        """Times between tokens."""
        times = self.arrivals
        return [(b - a) * 1000 for a, b in pairwise(times)]


def request(port: int) -> bytes:
    """One streamed completion, as it goes over the wire."""
    body = {
        "model": "any",
        "prompt": PROMPT,
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "cache_prompt": False,  # Every stream computes its prompt.
    }
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def stream(port: int) -> Stream:
    """Send a request and note its events; raises RuntimeError when it is refused."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    start = time.perf_counter()
    writer.write(request(port))
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"the server answered {status!r}: {(await reader.read())[-500:]!r}")
    arrivals = []
    while line := await reader.readline():
        if line.startswith(b"data: {") and has_text(line):
            arrivals.append(time.perf_counter() - start)
    writer.close()
    if not arrivals:
        raise RuntimeError("the server sent no text")
    return Stream(arrivals)


def has_text(line: bytes) -> bool:
    """Whether an event carries text: the last one carries only the reason of the end."""
    choices = json.loads(line[len(b"data: ") :]).get("choices", [])
    return bool(choices and choices[0].get("text"))


async def together(port: int, count: int) -> tuple[list[Stream], float]:
    """`count` streams at once, and the seconds until the last has ended."""
    start = time.perf_counter()
    wait = asyncio.gather(*(stream(port) for _ in range(count)))
    found = await asyncio.wait_for(wait, ANSWER_SECONDS)
    return list(found), time.perf_counter() - start


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(where: str, model: str, threads: int) -> Iterator[tuple[int, int]]:
    """The server, ready: its port and process id."""
    port = free_port()
    command = [sys.executable, "-m", "merlion.cli"]
    if where == "hosted":
        command += ["serve", model, "--port", str(port)]
        command += ["--threads", str(threads)] if threads else []
    else:
        build_image()
        command += ["run", model, "--serve", str(port)]
        command += ["--cores", str(threads)] if threads else []
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_ready(port, process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Ask /health until it says yes."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"the server ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.exit("the server is not ready: is the model too large for this machine?")


def measure(port: int, count: int, repeats: int) -> dict[str, Any]:
    """One row: all repetitions of `count` streams together."""
    first, between, rates = [], [], []
    for _ in range(repeats):
        streams, seconds = asyncio.run(together(port, count))
        first += [one.first_ms for one in streams]
        between += [ms for one in streams for ms in one.intervals_ms]
        rates.append(sum(len(one.arrivals) for one in streams) / seconds)
    row = {
        "streams": count,
        "tokens_per_s": sum(rates) / len(rates),
        "first_token_ms": asdict(describe(first)),
        "inter_token_ms": asdict(describe(between)),
    }
    print(line(row))
    return row


def line(row: dict[str, Any]) -> str:
    """A line of the table."""
    first, between = row["first_token_ms"], row["inter_token_ms"]
    return (
        f"{row['streams']:7} {row['tokens_per_s']:9.1f} {first['p50']:9.1f} {first['max']:9.1f} "
        f"{between['p50']:9.2f} {between['p90']:9.2f} {between['p99']:9.2f} {between['max']:9.2f}"
    )


def main() -> None:
    """Measure, print the table, store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--where", choices=("hosted", "booted"), default="hosted")
    parser.add_argument("--model", default="SmolLM2-135M-Instruct.Q4_0")
    parser.add_argument("--streams", default="1,4,8")
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--force", action="store_true", help="measure on a busy machine too")
    options = parser.parse_args()
    model = find_model(options.model)
    disturbed = results.require_quiet(options.force)
    with server(options.where, str(model), options.threads) as (port, process):
        asyncio.run(together(port, 1))
        print("streams     tok/s first p50       max inter p50       p90       p99       max  (ms)")
        before = observation.read([process])
        counts = [int(text) for text in options.streams.split(",")]
        rows = [measure(port, count, options.repeats) for count in counts]
        usage = observation.between(before, observation.read([process]))
    content = {
        "where": options.where,
        "model": model.name,
        "threads": options.threads or os.cpu_count(),
        "tokens": TOKENS,
        "rows": rows,
    }
    if options.where == "hosted":  # QEMU's time is not counted as ours.
        disturbed = disturbed or usage.disturbed
    results.write(f"serve_{options.where}", disturbed, content)


if __name__ == "__main__":
    main()
