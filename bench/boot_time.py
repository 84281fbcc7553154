"""From the start of the QEMU process to the prompt and to the first token: results/boot_time.json.

    python bench/boot_time.py [--accel auto] [--cores N] [--repeats 5] [--model NAME] [--force]

Each repetition boots twice: without touching the disk, to the prompt; and with `load`, to the first
token of an answer to "Hello". Times are when bytes arrive here, on the console; the stages are
the kernel's own, which its shell shows with `boot`. The page cache is warm after the first boot,
which does not count.
"""

import argparse
import os
import re
import time
from pathlib import Path
from typing import Any

import results

from merlion.cli.accelerator import Choice, choose
from merlion.cli.build import build_image
from merlion.cli.guest import Guest
from merlion.cli.paths import IMAGE, find_model
from merlion.cli.qemu import Machine, memory_for
from merlion.hosted import observation
from merlion.hosted.distribution import median

QUESTION = b"ai Hello"
BOOT_SECONDS = 60.0
TOKEN_SECONDS = 300.0
STAGE = re.compile(r"(\S.*?)\s+([\d.]+) ms\s+\+")
CTRL_C = b"\x03"


class Console:
    """When what was printed."""

    def __init__(self) -> None:
        """The clock starts now: just before QEMU does."""
        self.start = time.monotonic()
        self.first = 0.0

    def show(self, data: bytes) -> None:
        """Note the moment of the first byte."""
        if not self.first:
            self.first = self.now()

    def now(self) -> float:
        """Seconds since QEMU's start."""
        return time.monotonic() - self.start


def arguments() -> argparse.ArgumentParser:
    """The options of every benchmark that boots the machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--accel", default="auto")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct.Q4_0")
    parser.add_argument("--force", action="store_true", help="measure on a busy machine too")
    return parser


def machine(choice: Choice, cores: int, disk: Path, words: list[str]) -> Machine:
    """The machine that is started."""
    return Machine(
        kernel=IMAGE,
        accelerator=choice.accelerator,
        cores=cores,
        memory=memory_for(disk),
        disk=disk,
        words=[*words, "panic=exit"],
    )


def boot_to_prompt(wanted: Machine) -> dict[str, float]:
    """Seconds to the kernel's first line and to the prompt."""
    console = Console()
    with Guest(wanted.command(), console.show) as guest:
        guest.wait_for_prompt(BOOT_SECONDS)
        return {"kernel": console.first, "prompt": console.now()}


def boot_to_token(wanted: Machine) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Seconds to the prompt with the model loaded and to the first token; the kernel's stages."""
    console = Console()
    with Guest(wanted.command(), console.show) as guest:
        guest.wait_for_prompt(BOOT_SECONDS + TOKEN_SECONDS)
        ready = console.now()
        guest.type(QUESTION + b"\r")
        guest.wait_for(re.escape(QUESTION) + rb"\r*\n.", TOKEN_SECONDS)
        times = {"loaded": ready, "first_token": console.now()}
        guest.type(CTRL_C)
        guest.wait_for(rb"tokens in .*\]", TOKEN_SECONDS)
        guest.wait_for_prompt(TOKEN_SECONDS)
        return times, stages(guest.execute("boot", TOKEN_SECONDS))


def stages(text: str) -> list[dict[str, Any]]:
    """The lines of `boot`: what was over, and seconds since the kernel's first instruction."""
    matches = (STAGE.match(line) for line in text.splitlines())
    return [{"what": m[1], "seconds": float(m[2]) / 1000} for m in matches if m is not None]


def main() -> None:
    """Measure, print the table, store."""
    options = arguments().parse_args()
    choice, disk = choose(options.accel), find_model(options.model)
    build_image()
    disturbed = results.require_quiet(options.force)
    runs: list[dict[str, float]] = []
    found: list[dict[str, Any]] = []
    before = observation.read()
    for _ in range(options.repeats + 1):
        times = boot_to_prompt(machine(choice, options.cores, disk, []))
        loaded, found = boot_to_token(machine(choice, options.cores, disk, ["load"]))
        runs.append(times | loaded)
    usage = observation.between(before, observation.read())
    runs = runs[1:]
    print(f"{choice.accelerator.upper()}, {options.cores} cores, {disk.name}")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"{name:12} {median(values):7.3f} s   {min(values):7.3f} to {max(values):7.3f}")
    for stage in found:
        print(f"  {stage['seconds']:8.3f} {stage['what']}")
    # QEMU's own time is neither idle nor ours, so only the hypervisor's part is judged.
    if usage.steal > observation.STEAL_MAX:
        disturbed = disturbed or usage.disturbed
    content = {"accelerator": choice.accelerator.value, "cores": options.cores, "model": disk.name}
    results.write("boot_time", disturbed, {**content, "runs": runs, "stages": found})


if __name__ == "__main__":
    main()
