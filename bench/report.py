"""Writes the tables and the chart of docs/performance.md from the JSON in bench/results.

python bench/report.py
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results
import tables
from matplotlib import rcParams
from matplotlib.figure import Figure

from merlion.hosted.distribution import median

PAGE = results.ROOT / "docs" / "performance.md"
CHART = results.ROOT / "docs" / "images" / "compare.svg"
SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "compare": tables.compare_table,
    "compare_avx2": tables.compare_table,
    "pages": tables.pages_table,
    "engine": tables.engine_table,
    "machine": tables.machine_table,
    "page_sizes": tables.page_sizes_table,
    "boot_time": tables.boot_table,
    "serve_hosted": tables.serve_table,
    "serve_booted": tables.serve_table,
}
NOT_MEASURED = "Not measured yet: `make bench`."
OURS, INSTALLED, REFERENCE, INK = "#0f766e", "#b8c4c2", "#9a3412", "#1f2937"
BAR = 0.38


def draw(result: dict[str, Any], path: Path) -> None:
    """How many times as fast as llama.cpp tuned, a panel for each number of threads."""
    counts = sorted({row["threads"] for row in result["rows"]}, reverse=True)
    height = 1.2 + 0.62 * max(sum(row["threads"] == n for row in result["rows"]) for n in counts)
    figure = Figure(figsize=(5.2 * len(counts) + 1.2, height), layout="constrained")
    axes = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axis, threads in zip(axes, counts, strict=True):
        panel(axis, [row for row in result["rows"] if row["threads"] == threads], threads)
    axes[0].legend(loc="lower right", frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same results give the same bytes.
    rcParams["svg.hashsalt"] = path.name
    figure.savefig(path, metadata={"Date": None})


def panel(axis: Any, rows: list[dict[str, Any]], threads: int) -> None:
    """The bars of one number of threads; whiskers are the least and the most of the rounds."""
    for at, row in enumerate(rows):
        times = tables.ratios(row)
        middle = median(times)
        spread = [[middle - min(times)], [max(times) - middle]]
        label = {"label": "MerlionOS"} if at == 0 else {}
        axis.barh(at, middle, BAR, xerr=spread, color=OURS, ecolor=INK, capsize=2, **label)
        installed = median([a / b for a, b in zip(row["installed"], row["tuned"], strict=True)])
        label = {"label": "llama.cpp as installed"} if at == 0 else {}
        axis.barh(at + BAR, installed, BAR, color=INSTALLED, **label)
        text = f" {middle:.2f}×  {median(row['ours']):.0f} tok/s"
        axis.text(max(times), at, text, va="center", fontsize=8, color=INK)
    axis.axvline(1, color=REFERENCE, linewidth=1.2, label="llama.cpp tuned")
    names = [f"{row['model']}\n{row['task']}" for row in rows]
    axis.set_yticks([at + BAR / 2 for at in range(len(rows))], names, fontsize=8)
    axis.set_ylim(len(rows) - 0.3, -0.5)
    axis.set_xlim(0, 1.35 * max(max(tables.ratios(row)) for row in rows))
    axis.set_title(f"{threads} thread{'s' if threads > 1 else ''}", fontsize=10, color=INK)
    axis.set_xlabel("times as fast as llama.cpp tuned", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Rewrite the generated sections."""
    page = PAGE.read_text()
    for name, write in SECTIONS.items():
        found = results.read(name)
        text = NOT_MEASURED if found is None else write(found)
        if name == "compare" and found is not None:
            draw(found, CHART)
            text = f"![How many times as fast as llama.cpp](images/{CHART.name})\n\n{text}"
        page = tables.replace_section(page, name, text)
    PAGE.write_text(page)
    print(f"wrote {PAGE.relative_to(results.ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
