"""MerlionOS against llama.cpp on the same file, threads and minutes: results/compare.json.

    python bench/compare.py [--repeats 5] [--threads 2,1] [--only TEXT] [--level avx2] [--force]

Each row alternates, so that the machine's moods strike everybody: limits, ours, llama.cpp tuned,
llama.cpp as installed, and again. The ratio is taken within a round; the median over the rounds is
reported, with the smallest and largest. Nothing computes while another does.

Tuned means what a careful operator of Linux would do: weights copied to huge pages, threads
bound to CPUs, flash attention and the micro-batch chosen for this row by measuring. As
installed means llama.cpp's defaults.

`--level avx2` compares both sides without the instructions that came after it, for what a lesser
processor would see: results/compare_avx2.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import files
import results
from peer_env import LEVEL_OPTIONS, NATIVE, Peer

from merlion.hosted import observation
from merlion.hosted.distribution import median
from merlion.hosted.threads import usable_cpus

BENCH = Path(__file__).resolve().parent
STREAMS = 8
CONTEXT = 560
SETTLE_SECONDS = 0.05  # OpenMP's threads spin for some milliseconds after their work.
DEFAULT_FLAGS = {"flash": -1, "ubatch": 512}


@dataclass(frozen=True, slots=True)
class Task:
    """What is timed."""

    name: str
    what: str
    streams: int
    count: int

    @property
    def request(self) -> dict[str, Any]:
        """For a worker."""
        return {"what": self.what, "streams": self.streams, "count": self.count}

    def rate(self, answer: dict[str, Any]) -> float:
        """Tokens a second, all streams together."""
        if self.what == "prefill":
            return float(self.count / answer["seconds"])
        times = answer["times_ms"]
        return 1000 * self.streams * len(times) / float(sum(times))

    def candidates(self) -> list[dict[str, int]]:
        """Flags of llama.cpp worth trying."""
        sizes = (128, 512) if self.what == "prefill" else (512,)
        return [{"flash": flash, "ubatch": size} for flash in (0, 1) for size in sizes]


DECODE = Task("decode", "streams", 1, 128)
DECODE_LARGE = Task("decode", "streams", 1, 24)
PREFILL = Task("prefill 512", "prefill", 1, 512)
BATCH = Task("decode, 8 streams", "streams", STREAMS, 32)
SUITE = (
    (files.SMOLLM2_Q4_0, (DECODE, PREFILL, BATCH)),
    (files.SMOLLM2_Q8_0, (DECODE, PREFILL, BATCH)),
    (files.LLAMA_1B_Q4_0, (DECODE_LARGE,)),
    (files.LLAMA_1B_Q8_0, (DECODE_LARGE,)),
)


class Worker:
    """A process that answers JSON lines."""

    def __init__(self, command: list[str], extra: dict[str, str] | None = None) -> None:
        """Start it. `extra` is added to its environment."""
        self._name = " ".join(command[:2])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(extra or {})},
        )

    @property
    def process(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        time.sleep(SETTLE_SECONDS)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._name} ended with status {self._process.wait()}")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass(slots=True)
class Sides:
    """The processes that are compared."""

    ours: Worker
    tuned: Worker
    installed: Worker

    @classmethod
    def start(cls, model: Path, threads: int, peer_side: Peer) -> "Sides":
        """Start all three on one file."""
        ours = [sys.executable, str(BENCH / "our_worker.py"), str(model)]
        ours += ["--threads", str(threads), "--context", str(CONTEXT), "--streams", str(STREAMS)]
        peer = [str(peer_side.python), str(BENCH / "peer_worker.py"), str(model)]
        peer += ["--threads", str(threads)]
        tuning = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        if threads == len(usable_cpus()):
            tuning |= {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}
        limited = {} if peer_side.level == NATIVE else {"MERLION_SIMD": peer_side.level}
        return cls(Worker(ours, limited), Worker([*peer, "--copy"], tuning), Worker(peer))

    @property
    def workers(self) -> list[Worker]:
        """All of them."""
        return [self.ours, self.tuned, self.installed]


@dataclass(slots=True)
class Row:
    """One line of the table; lists have an element a round, rates are tokens a second."""

    model: str
    task: str
    threads: int
    ours: list[float]
    tuned: list[float]
    installed: list[float]
    flags: dict[str, int]  # Of the tuned peer.
    bandwidth: list[float]
    int8_peak: list[float]
    per_token: dict[str, int]  # Bytes, and multiply-adds of a prompt's token.
    usage: dict[str, Any]
    disturbed: str


def best_flags(task: Task, tuned: Worker) -> dict[str, int]:
    """The flags with which the tuned peer is fastest; also its warm-up."""
    rates = []
    for flags in task.candidates():
        tuned.ask({**task.request, "flags": flags, "count": min(task.count, 16)})
        rates.append((task.rate(tuned.ask({**task.request, "flags": flags})), flags))
    return max(rates, key=lambda pair: pair[0])[1]


def measure(task: Task, model: str, threads: int, sides: Sides, repeats: int) -> Row:
    """One row."""
    request = task.request
    flags = best_flags(task, sides.tuned)
    tuned_request = {**request, "flags": flags}
    sides.installed.ask({**request, "flags": DEFAULT_FLAGS})
    sides.ours.ask(request)
    about = sides.ours.ask({"what": "about"})
    processes = [worker.process for worker in sides.workers]
    rates: dict[str, list[float]] = {"ours": [], "tuned": [], "installed": []}
    limits: dict[str, list[float]] = {"bandwidth": [], "int8_peak": []}
    before = observation.read(processes)
    for _ in range(repeats):
        found = sides.ours.ask({"what": "limits"})
        for name, values in limits.items():
            values.append(found[name])
        rates["ours"].append(task.rate(sides.ours.ask(request)))
        rates["tuned"].append(task.rate(sides.tuned.ask(tuned_request)))
        rates["installed"].append(
            task.rate(sides.installed.ask({**request, "flags": DEFAULT_FLAGS}))
        )
    usage = observation.between(before, observation.read(processes))
    per_token = {name: about[f"{name}_per_token"] for name in ("bytes", "products")}
    row = Row(
        model=model,
        task=task.name,
        threads=threads,
        **rates,
        **limits,
        flags=flags,
        per_token=per_token,
        usage=asdict(usage),
        disturbed=usage.disturbed,
    )
    show(row)
    return row


def show(row: Row) -> None:
    """A line of progress."""
    ratio = median([a / b for a, b in zip(row.ours, row.tuned, strict=True)])
    print(
        f"{row.model:20} {row.task:18} {row.threads} threads: {median(row.ours):8.1f} against "
        f"{median(row.tuned):8.1f} tuned, {median(row.installed):8.1f} as installed: "
        f"{ratio:.2f} times{'  DISTURBED' if row.disturbed else ''}",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    """Measure every row and store the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", default="2,1", help="numbers of threads, with commas")
    parser.add_argument(
        "--only", default="", help="models whose name contains this; the results of others stay"
    )
    parser.add_argument("--force", action="store_true", help="measure on a busy machine too")
    parser.add_argument("--level", choices=LEVEL_OPTIONS, default=NATIVE)
    options = parser.parse_args()
    peer_side = Peer(options.level)
    if not peer_side.is_ready():
        sys.exit(f"there is no peer: python bench/peer_env.py --level {options.level}")
    stored = "compare" if options.level == NATIVE else f"compare_{options.level}"
    suite = [(file, tasks) for file, tasks in SUITE if options.only.lower() in file.name.lower()]
    for file, _ in suite:
        file.make()
    disturbed = results.require_quiet(options.force)
    rows: list[Row] = []
    peer: dict[str, Any] = {}
    memory: list[dict[str, Any]] = []
    for file, tasks in suite:
        for threads in [int(text) for text in options.threads.split(",")]:
            sides = Sides.start(file.path, threads, peer_side)
            rows += [measure(task, file.name, threads, sides, options.repeats) for task in tasks]
            abouts = [worker.ask({"what": "about"}) for worker in sides.workers]
            names = ("ours", "tuned", "installed")
            memory.append(
                {"model": file.name, "threads": threads}
                | {name: about["memory"] for name, about in zip(names, abouts, strict=True)}
            )
            peer = {name: abouts[1][name] for name in ("version", "system")}
            level = abouts[0]["level"]
            for worker in sides.workers:
                worker.close()
    found = [asdict(row) for row in rows]
    if options.only:  # The other models keep what was measured of them.
        measured = {file.name for file, _ in suite}
        before = results.read(stored) or {"rows": [], "memory": []}
        found = [row for row in before["rows"] if row["model"] not in measured] + found
        memory = [row for row in before["memory"] if row["model"] not in measured] + memory
    content = {"peer": peer, "level": level, "rows": found}
    results.write(stored, disturbed, {**content, "memory": memory})


if __name__ == "__main__":
    main()
