"""The machine in QEMU against the hosted engine on the same cores: results/machine.json.

    python bench/machine.py [--accel auto] [--cores N] [--repeats 5] [--tokens 128] [--force]

The same file and threads, alternating: `ai-bench` at the shell of the booted machine, then the same
number of tokens hosted. While one computes the other waits: the machine's idle loop naps. Then one
long answer on each, for the times between its tokens, and what the machine's cores lose to others
(`noise`), and as many times of a loop that only reads memory. Native only: emulated, the question
makes no sense.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median_high
from typing import Any

import compare
import results
from boot_time import BOOT_SECONDS, TOKEN_SECONDS, arguments, machine
from shell import ai_bench, noise

from merlion.cli.accelerator import Accelerator, choose
from merlion.cli.build import build_image
from merlion.cli.guest import Guest
from merlion.cli.paths import find_model
from merlion.hosted import observation
from merlion.hosted.distribution import describe, median
from merlion.hosted.measure import Limits

LONG_TOKENS = 2000
NOISE_SECONDS = 5
SPARE_TOKENS = 64  # Of the context, beyond the longest answer.


def hosted(model: Path, threads: int, tokens: int) -> compare.Worker:
    """Our worker on the same file."""
    command = [sys.executable, str(compare.BENCH / "our_worker.py"), str(model)]
    options = {"threads": threads, "context": tokens + SPARE_TOKENS, "streams": 1}
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return compare.Worker(command)


def evenness(
    guest: Guest, worker: compare.Worker, limits: Limits, threads: int, tokens: int
) -> dict[str, Any]:
    """One long answer on each side, one after the other, with the noise before and after.

    Then what nobody's engine can even out: as many times of a loop that only reads memory.
    """
    heard = [noise(guest, NOISE_SECONDS)]
    booted = ai_bench(guest, tokens, 1)
    task = compare.Task("decode", "streams", 1, tokens)
    times = worker.ask(task.request)["times_ms"]
    heard.append(noise(guest, NOISE_SECONDS))
    reading = limits.reading_times(threads, tokens)
    names = ("inter_token_ms", "p99_over_p50", "p99_over_local_p50", "decode_usage")
    return {
        "booted": {name: booted[name] for name in names},
        "hosted": spread(times, booted["local_window"]),
        "reading": spread(reading, booted["local_window"]),
        "noise": heard,
    }


def spread(times: list[float], window: int) -> dict[str, Any]:
    """How even milliseconds are, by the names that `ai-bench --json` has for those of tokens."""
    return {
        "inter_token_ms": asdict(describe(times)),
        "p99_over_p50": describe(times).tail,
        "p99_over_local_p50": local_tail(times, window),
    }


def local_tail(times: list[float], window: int) -> float:
    """p99 of each time over the median of those around it: p99/p50 without growth."""
    half = window // 2
    around = (times[max(i - half, 0) : i + half + 1] for i in range(len(times)))
    ratios = [one / median_high(near) for one, near in zip(times, around, strict=True)]
    return describe(ratios).p99


def main() -> None:
    """Measure, print, store."""
    parser = arguments()
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--long", type=int, default=LONG_TOKENS, help="tokens of the long answer")
    options = parser.parse_args()
    choice, disk, tokens = choose(options.accel), find_model(options.model), options.tokens
    if choice.accelerator is Accelerator.TCG:
        sys.exit(f"{choice.reason}; this comparison needs native speed")
    build_image()
    disturbed = results.require_quiet(options.force)
    task = compare.Task("decode", "streams", 1, tokens)
    booted, ours = [], []
    most = max(tokens, options.long)
    limits = Limits(options.cores)
    worker = hosted(disk, options.cores, most)
    context = f"ctx={most + SPARE_TOKENS}"
    wanted = machine(choice, options.cores, disk, ["load", context])
    with Guest(wanted.command()) as guest:
        guest.wait_for_prompt(BOOT_SECONDS + TOKEN_SECONDS)
        ai_bench(guest, tokens, 1)
        worker.ask(task.request)
        processes = [guest.pid, worker.process]
        before = observation.read(processes)
        for _ in range(options.repeats):
            booted.append(ai_bench(guest, tokens, 1)["decode_tokens_per_s"])
            ours.append(task.rate(worker.ask(task.request)))
        even = evenness(guest, worker, limits, options.cores, options.long)
        usage = observation.between(before, observation.read(processes))
    worker.close()
    times = [a / b for a, b in zip(booted, ours, strict=True)]
    print(
        f"{choice.accelerator.upper()}, {options.cores} cores, {disk.name}: booted "
        f"{median(booted):.1f}, hosted {median(ours):.1f} tok/s, {median(times):.2f} times "
        f"({min(times):.2f} to {max(times):.2f})"
    )
    for side in ("booted", "hosted", "reading"):
        ratio, local = even[side]["p99_over_p50"], even[side]["p99_over_local_p50"]
        print(f"{side}: p99/p50 {ratio:.2f}, local {local:.2f}")
    content = {
        "accelerator": choice.accelerator.value,
        "cores": options.cores,
        "model": disk.name,
        "booted": booted,
        "hosted": ours,
        "evenness": even,
    }
    results.write("machine", disturbed or usage.disturbed, content)


if __name__ == "__main__":
    main()
