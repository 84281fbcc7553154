"""The booted machine by the size of its pages: results/page_sizes.json.

    python bench/page_sizes.py [--accel auto] [--cores N] [--repeats 5] [--model NAME] [--force]

The same image and model, booted with `pages=4k`, `2m` and `1g` in turn, round after round:
decoding, reading a prompt, and the bandwidth that all cores read the weights with. A size that the
processor or its hypervisor does not have is left out (a PVM guest has no 1 GiB pages). Native only:
emulated, nothing of this costs what it costs.
"""

import sys
from pathlib import Path
from typing import Any

import results
from boot_time import BOOT_SECONDS, TOKEN_SECONDS, arguments, machine
from shell import ai_bench

from merlion.cli.accelerator import Accelerator, Choice, choose
from merlion.cli.build import build_image
from merlion.cli.guest import Guest
from merlion.cli.paths import find_model
from merlion.hosted import observation
from merlion.hosted.distribution import median

SIZES = {"4k": 1 << 12, "2m": 1 << 21, "1g": 1 << 30}
PROMPT_TOKENS = 256
WARM_TOKENS = 8
FIELDS = ("decode_tokens_per_s", "prefill_tokens_per_s", "bandwidth_bytes_per_s")


def measure(
    choice: Choice, cores: int, disk: Path, size: str, tokens: int
) -> tuple[dict[str, Any], str]:
    """One boot with pages of at most `size`: what was measured, and what disturbed it."""
    wanted = machine(choice, cores, disk, ["load", f"pages={size}"])
    with Guest(wanted.command()) as guest:
        guest.wait_for_prompt(BOOT_SECONDS + TOKEN_SECONDS)
        ai_bench(guest, WARM_TOKENS, WARM_TOKENS)
        before = observation.read([guest.pid])
        report = ai_bench(guest, tokens, PROMPT_TOKENS)
        return report, observation.between(before, observation.read([guest.pid])).disturbed


def main() -> None:
    """Measure, print, store."""
    parser = arguments()
    parser.add_argument("--tokens", type=int, default=128)
    options = parser.parse_args()
    choice, disk, tokens = choose(options.accel), find_model(options.model), options.tokens
    if choice.accelerator is Accelerator.TCG:
        sys.exit(f"{choice.reason}; the cost of pages needs native speed")
    build_image()
    disturbed = results.require_quiet(options.force)
    rows: dict[str, dict[str, list[float]]] = {name: {f: [] for f in FIELDS} for name in SIZES}
    for _ in range(options.repeats):
        for size in list(rows):
            report, noise = measure(choice, options.cores, disk, size, tokens)
            if report["machine"]["page_bytes"] != SIZES[size]:
                print(f"no pages of {size} here")
                del rows[size]
                continue
            disturbed = disturbed or noise
            for field in FIELDS:
                rows[size][field].append(report[field])
    for size, row in rows.items():
        decode, prefill, bandwidth = (median(row[field]) for field in FIELDS)
        print(f"{size}: {decode:.1f} and {prefill:.1f} tok/s, {bandwidth / 1e9:.1f} GB/s")
    content = {
        "accelerator": choice.accelerator.value,
        "cores": options.cores,
        "model": disk.name,
        "rows": [{"pages": size, **row} for size, row in rows.items()],
    }
    results.write("page_sizes", disturbed, content)


if __name__ == "__main__":
    main()
