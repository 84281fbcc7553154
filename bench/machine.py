"""The machine in QEMU against the hosted engine on the same cores: results/machine.json.

    python bench/machine.py [--accel auto] [--cores N] [--repeats 5] [--tokens 128] [--force]

The same file and threads, alternating: `ai-bench` at the shell of the booted machine, then the same
number of tokens hosted. While one computes the other waits: the machine's idle loop naps. Native
only: emulated, the question makes no sense.
"""

import argparse
import os
import re
import sys
from pathlib import Path

import compare
import results
from boot_time import BOOT_SECONDS, TOKEN_SECONDS, machine

from merlion.cli.accelerator import Accelerator, choose
from merlion.cli.build import build_image
from merlion.cli.guest import Guest
from merlion.cli.paths import find_model
from merlion.hosted import observation
from merlion.hosted.distribution import median

RATE = re.compile(r"([\d.]+) tok/s")


def shell_rate(guest: Guest, tokens: int) -> float:
    """Tokens a second that `ai-bench` reports."""
    text = guest.execute(f"ai-bench {tokens}", TOKEN_SECONDS)
    found = RATE.search(text)
    if found is None:
        sys.exit(f"ai-bench printed no rate: {text!r}")
    return float(found[1])


def hosted(model: Path, threads: int, tokens: int) -> compare.Worker:
    """Our worker on the same file."""
    command = [sys.executable, str(compare.BENCH / "our_worker.py"), str(model)]
    options = {"threads": threads, "context": tokens + 64, "streams": 1}
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return compare.Worker(command)


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--accel", default="auto")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct.Q4_0")
    parser.add_argument("--force", action="store_true", help="measure on a busy machine too")
    options = parser.parse_args()
    choice, disk, tokens = choose(options.accel), find_model(options.model), options.tokens
    if choice.accelerator is Accelerator.TCG:
        sys.exit(f"{choice.reason}; this comparison needs native speed")
    build_image()
    disturbed = results.require_quiet(options.force)
    task = compare.Task("decode", "streams", 1, tokens)
    booted, ours = [], []
    worker = hosted(disk, options.cores, tokens)
    wanted = machine(choice, options.cores, disk, ["load"])
    with Guest(wanted.command()) as guest:
        guest.wait_for_prompt(BOOT_SECONDS + TOKEN_SECONDS)
        shell_rate(guest, tokens)
        worker.ask(task.request)
        processes = [guest.pid, worker.process]
        before = observation.read(processes)
        for _ in range(options.repeats):
            booted.append(shell_rate(guest, tokens))
            ours.append(task.rate(worker.ask(task.request)))
        usage = observation.between(before, observation.read(processes))
    worker.close()
    times = [a / b for a, b in zip(booted, ours, strict=True)]
    print(
        f"{choice.accelerator.upper()}, {options.cores} cores, {disk.name}: booted "
        f"{median(booted):.1f}, hosted {median(ours):.1f} tok/s, {median(times):.2f} times "
        f"({min(times):.2f} to {max(times):.2f})"
    )
    content = {
        "accelerator": choice.accelerator.value,
        "cores": options.cores,
        "model": disk.name,
        "booted": booted,
        "hosted": ours,
    }
    results.write("machine", disturbed or usage.disturbed, content)


if __name__ == "__main__":
    main()
