"""Every measurement of docs/performance.md, in about 12 minutes of a quiet machine (20 with AVX2).

    make bench        or: python bench/run_all.py [--force] [--quick]

Makes the peer and the model files when they are missing (that takes longer, once), waits for quiet,
runs each benchmark in a process of its own, and rewrites the page. A benchmark that fails is
named at the end; the results of the others are kept.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import compare
import files
import results
from peer_env import LEVEL_OPTIONS, Peer

from merlion.cli.accelerator import Accelerator, detect

BENCH = Path(__file__).resolve().parent
QUIET_TRIES = 12
QUIET_PAUSE_SECONDS = 10.0


def script(name: str, *options: str) -> list[str]:
    """A command that runs one of the scripts here."""
    return [sys.executable, str(BENCH / f"{name}.py"), *options]


def shown(path: Path) -> str:
    """A path below the checkout as the results may publish it: commands run from the checkout."""
    return str(path.relative_to(results.ROOT))


def steps(quick: bool, force: list[str]) -> list[tuple[str, list[str]]]:
    """Names and commands, in order."""
    repeats = "1" if quick else "5"
    model = shown(files.SMOLLM2_Q4_0.path)
    serve = ["--repeats", "1" if quick else "3", "--model", model, *force]
    found = [("pages", script("pages", *force))]
    for level in LEVEL_OPTIONS:
        if Peer(level).is_ready():
            compared = script("compare", "--repeats", repeats, "--level", level, *force)
            found.append((f"compare {level}", compared))
    found.append(("serve hosted", script("serve_latency", "--where", "hosted", *serve)))
    boot = ["--repeats", repeats, "--model", model, *force]
    if detect().accelerator is not Accelerator.TCG:
        found.append(("machine", script("machine", *boot)))
        found.append(("page sizes", script("page_sizes", *boot)))
        found.append(("serve booted", script("serve_latency", "--where", "booted", *serve)))
    found.append(("boot time", script("boot_time", *boot)))
    return found


def wait_for_quiet() -> str:
    """Wait until nobody else computes; says what still does after two minutes."""
    reason = ""
    for _ in range(QUIET_TRIES):
        reason = results.disturbance()
        if not reason:
            return ""
        print(f"waiting for a quiet machine: {reason}", file=sys.stderr)
        time.sleep(QUIET_PAUSE_SECONDS)
    return reason


def engine(quick: bool, disturbed: str) -> None:
    """`merlion bench` on SmolLM2 Q4_0, as results/engine.json."""
    options = [shown(files.SMOLLM2_Q4_0.path), "--tokens", "200" if quick else "2000", "--json"]
    command = [sys.executable, "-m", "merlion.cli", "bench", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=results.ROOT)
    report = json.loads(done.stdout)
    del report["machine"], report["schema"]
    report["command"] = " ".join(["merlion", "bench", *options])
    results.write("engine", disturbed or report["disturbed"], report)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--force", action="store_true", help="measure on a busy machine too")
    parser.add_argument("--quick", action="store_true", help="few repetitions: to try it out")
    options = parser.parse_args()
    failed = []
    if not Peer().is_ready() and subprocess.run(script("peer_env")).returncode != 0:
        failed.append("peer (llama.cpp could not be built)")
    for file, _ in compare.SUITE:
        file.make()
    disturbed = "" if options.force else wait_for_quiet()
    if disturbed:
        sys.exit(f"not quiet: {disturbed}; load average {os.getloadavg()[0]:.2f} (or --force)")
    start = time.monotonic()
    try:
        engine(options.quick, results.disturbance() if options.force else "")
    except subprocess.CalledProcessError:
        failed.append("merlion bench")
    for name, command in steps(options.quick, ["--force"]):
        print(f"— {name}, {time.monotonic() - start:.0f} s", file=sys.stderr)
        if subprocess.run(command, cwd=results.ROOT).returncode != 0:
            failed.append(name)
    if subprocess.run(script("report")).returncode != 0:
        failed.append("report")
    minutes = (time.monotonic() - start) / 60
    print(f"took {minutes:.1f} minutes; failed: {', '.join(failed) or 'nothing'}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
