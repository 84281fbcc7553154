"""Memory bandwidth from small and from huge pages: results/pages.json.

    python bench/pages.py [--repeats 7] [--force]

Why a comparison of engines must name their page size: decoding is reading memory, and under
virtualisation a miss of the TLB walks two page tables. The two alternate, by number of threads.
"""

import argparse

import results

from bare.simd import set_level
from merlion.hosted import observation
from merlion.hosted.code import host_level
from merlion.hosted.measure import Limits
from merlion.hosted.threads import default_threads


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--force", action="store_true", help="measure on a busy machine too")
    options = parser.parse_args()
    disturbed = results.require_quiet(options.force)
    set_level(host_level())
    counts = sorted({1, default_threads()})
    small, huge = (Limits(counts[-1], huge_pages=wanted) for wanted in (False, True))
    before = observation.read()
    rows = []
    for threads in counts:
        pairs = [
            (small.bandwidth(threads), huge.bandwidth(threads)) for _ in range(options.repeats)
        ]
        row = {"threads": threads, "small": [a for a, _ in pairs], "huge": [b for _, b in pairs]}
        rows.append(row)
        for a, b in pairs:
            print(f"{threads} threads: {a / 1e9:6.1f} and {b / 1e9:6.1f} GB/s, {b / a:.2f} times")
    usage = observation.between(before, observation.read())
    results.write("pages", disturbed or usage.disturbed, {"rows": rows})


if __name__ == "__main__":
    main()
