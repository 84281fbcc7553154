"""Markdown tables from the JSON in results/, and their places in a page. Pure functions."""

from collections.abc import Sequence
from typing import Any

from merlion.hosted.distribution import median


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; columns after the first hold numbers and are aligned right."""
    assert all(len(row) == len(headings) for row in rows), "a row has another number of cells"
    lines = [list(headings), ["---", *["---:"] * (len(headings) - 1)], *map(list, rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def replace_section(page: str, name: str, text: str) -> str:
    """The page with `text` between its marks `<!-- NAME -->` and `<!-- /NAME -->`."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no section {name}: {start} … {end}")
    return f"{before}{start}\n\n{text.strip()}\n\n{end}{after}"


def conditions(result: dict[str, Any]) -> str:
    """The line under a table: where, when, which version, how quiet."""
    machine = result["machine"]
    virtual = "virtual machine, " if machine["hypervisor"] else ""
    gibibytes = machine["memory_bytes"] / (1 << 30)
    text = (
        f"{machine['date']}, version {result['version']}, {machine['cpus']} × {machine['cpu']}, "
        f"{virtual}{gibibytes:.0f} GiB, Linux {machine['linux']}, transparent huge pages "
        f"{machine['huge_pages']}, load average {machine['load_average']} before. "
        f"`{result['command']}`"
    )
    if result["disturbed"]:
        text = f"**Disturbed: {result['disturbed']}.** {text}"
    return text


def ratios(row: dict[str, Any], to: str = "tuned") -> list[float]:
    """Ours over llama.cpp's, round by round."""
    return [ours / peer for ours, peer in zip(row["ours"], row[to], strict=True)]


def faster_peer(row: dict[str, Any]) -> str:
    """Which of the two ways to run llama.cpp was the faster one."""
    return max(("tuned", "installed"), key=lambda side: median(row[side]))


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def limit_shares(row: dict[str, Any], side: str) -> list[float]:
    """What part of the machine's limit a side reaches, round by round; empty for a batch."""
    rates, per_token = row[side], row["per_token"]
    if row["task"].startswith("prefill"):
        limit, work = row["int8_peak"], per_token["products"]
    elif row["task"] == "decode":
        limit, work = row["bandwidth"], per_token["bytes"]
    else:
        return []
    return [rate * work / most for rate, most in zip(rates, limit, strict=True)]


def share(row: dict[str, Any], side: str) -> str:
    """The median share as a cell."""
    found = limit_shares(row, side)
    return f"{median(found):.0%}" if found else ""


def compare_table(result: dict[str, Any]) -> str:
    """Ours against llama.cpp, by threads, model and task."""
    headings = ["", "threads", "MerlionOS", "of the limit", "llama.cpp, tuned", "of the limit"]
    headings += ["ratio", "as installed", "ratio"]
    rows = []
    for row in result["rows"]:
        slower = "installed" if faster_peer(row) == "tuned" else "tuned"
        cells = {faster_peer(row): "**{}**", slower: "{}"}
        mark = " \\*" if row["disturbed"] else ""
        rows.append(
            [
                f"{row['model']}, {row['task']}{mark}",
                str(row["threads"]),
                f"{median(row['ours']):.1f}",
                share(row, "ours"),
                f"{median(row['tuned']):.1f}",
                share(row, "tuned"),
                cells["tuned"].format(spread(ratios(row))),
                f"{median(row['installed']):.1f}",
                cells["installed"].format(spread(ratios(row, "installed"))),
            ]
        )
    table = markdown(headings, rows)
    marked = [row["disturbed"] for row in result["rows"] if row["disturbed"]]
    note = f"\n\n\\* disturbed while measured: {marked[0]}." if marked else ""
    peer = f"llama-cpp-python {result['peer']['version']}: {result['peer']['system']}"
    return f"{table}{note}\n\n{conditions(result)}\n\n{peer}"


def cores_text(count: int) -> str:
    """How many cores, in words."""
    return f"{count} core{'s' if count > 1 else ''}"


def pages_table(result: dict[str, Any]) -> str:
    """Bandwidth by the size of pages."""
    rows = []
    for row in result["rows"]:
        times = [huge / small for huge, small in zip(row["huge"], row["small"], strict=True)]
        cells = [f"{median(row[name]) / 1e9:.1f}" for name in ("small", "huge")]
        spread = f"**{median(times):.2f}** ({min(times):.2f} to {max(times):.2f})"
        rows.append([str(row["threads"]), *cells, spread])
    headings = ["threads", "4 KiB pages, GB/s", "2 MiB pages, GB/s", "ratio"]
    return f"{markdown(headings, rows)}\n\n{conditions(result)}"


def boot_table(result: dict[str, Any]) -> str:
    """Seconds from the start of QEMU, and the kernel's stages."""
    names = {
        "kernel": "first line of the kernel",
        "prompt": "prompt, no model",
        "loaded": "model loaded, prompt",
        "first_token": "first token of the answer to `ai Hello`",
    }
    rows = []
    for name, label in names.items():
        values = [run[name] for run in result["runs"]]
        rows.append([label, f"{median(values):.3f}", f"{min(values):.3f}", f"{max(values):.3f}"])
    table = markdown(["since QEMU started, s", "median", "least", "most"], rows)
    done = [[stage["what"], f"{stage['seconds']:.4f}"] for stage in result["stages"]]
    stages = markdown(["over, by the kernel's clock", "s since its first instruction"], done)
    what = f"{result['accelerator'].upper()}, {cores_text(result['cores'])}, {result['model']}"
    return f"{what}\n\n{table}\n\n{stages}\n\n{conditions(result)}"


def machine_table(result: dict[str, Any]) -> str:
    """The booted machine against the hosted engine."""
    times = [a / b for a, b in zip(result["booted"], result["hosted"], strict=True)]
    where = f"{cores_text(result['cores'])}, {result['accelerator'].upper()}"
    row = [
        f"{result['model']}, decode, {where}",
        f"{median(result['booted']):.1f}",
        f"{median(result['hosted']):.1f}",
        f"**{median(times):.2f}** ({min(times):.2f} to {max(times):.2f})",
    ]
    parts = [markdown(["tok/s", "booted", "hosted", "ratio"], [row])]
    if "evenness" in result:
        parts.append(evenness_table(result["evenness"]))
    return "\n\n".join([*parts, conditions(result)])


EVENNESS_SIDES = {"booted": "booted", "hosted": "hosted", "reading": "reading memory alone"}


def evenness_table(result: dict[str, Any]) -> str:
    """The times between the tokens of one long answer, and what the host took of the cores."""
    rows = []
    for side in EVENNESS_SIDES:
        found, times = result[side], result[side]["inter_token_ms"]
        cells = [f"{times[name]:.2f}" for name in ("p50", "p90", "p99", "p99_9", "max")]
        ratios = [f"{found[name]:.2f}" for name in ("p99_over_p50", "p99_over_local_p50")]
        rows.append([EVENNESS_SIDES[side], *cells, *ratios])
    count = result["booted"]["inter_token_ms"]["count"]
    headings = [f"between {count} tokens, ms", "p50", "p90", "p99", "p99.9", "most"]
    table = markdown([*headings, "p99/p50", "local p99/p50"], rows)
    usage = result["booted"]["decode_usage"]
    cores = [core for heard in result["noise"] for core in heard]
    return (
        f"{table}\n\nBooted, meanwhile: {usage['page_faults']} page faults, {usage['interrupts']} "
        f"interrupts, {usage['allocated_bytes']} bytes allocated. Before and after, the host took "
        f"up to {max(core['lost'] for core in cores):.1%} of a core, "
        f"{max(core['longest_ms'] for core in cores):.1f} ms at once (`noise`)."
    )


def page_sizes_table(result: dict[str, Any]) -> str:
    """The booted machine by the size of its pages; ratios to the smallest."""
    names = {"4k": "4 KiB", "2m": "2 MiB", "1g": "1 GiB"}
    fields = ("decode_tokens_per_s", "prefill_tokens_per_s", "bandwidth_bytes_per_s")
    rows = []
    small = result["rows"][0][fields[0]]
    for row in result["rows"]:
        decode, prefill, bandwidth = (median(row[field]) for field in fields)
        times = [a / b for a, b in zip(row[fields[0]], small, strict=True)]
        spread = f"**{median(times):.2f}** ({min(times):.2f} to {max(times):.2f})"
        cells = [f"{decode:.1f}", spread, f"{prefill:.1f}", f"{bandwidth / 1e9:.1f}"]
        rows.append([names[row["pages"]], *cells])
    headings = ["largest pages", "decode, tok/s", "times 4 KiB", "prompt, tok/s", "reads, GB/s"]
    what = f"{result['accelerator'].upper()}, {cores_text(result['cores'])}, {result['model']}"
    return f"{what}\n\n{markdown(headings, rows)}\n\n{conditions(result)}"


def serve_table(result: dict[str, Any]) -> str:
    """What clients see, by number of streams."""
    headings = ["streams", "tok/s together", "first token p50, ms", "most"]
    headings += ["between tokens p50, ms", "p90", "p99", "most"]
    rows = []
    for row in result["rows"]:
        first, between = row["first_token_ms"], row["inter_token_ms"]
        cells = [str(row["streams"]), f"{row['tokens_per_s']:.1f}"]
        cells += [f"{first[name]:.1f}" for name in ("p50", "max")]
        cells += [f"{between[name]:.2f}" for name in ("p50", "p90", "p99", "max")]
        rows.append(cells)
    what = f"{result['model']}, {result['threads']} threads, {result['tokens']} tokens an answer"
    return f"{what}\n\n{markdown(headings, rows)}\n\n{conditions(result)}"


def engine_table(result: dict[str, Any]) -> str:
    """One run of `merlion bench`."""
    times, memory, usage = result["inter_token_ms"], result["memory_bytes"], result["decode_usage"]
    plan, joules = result["plan"], result["joules_per_token"]
    rows = [
        [
            f"prompt of {plan['prompt_tokens']}, tok/s",
            f"{result['prefill_tokens_per_s']:.1f} ({result['int8_share']:.0%} of the int8 peak)",
        ],
        [
            "one answer, tok/s",
            f"{result['decode_tokens_per_s']:.1f} ({result['bandwidth_share']:.0%} of bandwidth)",
        ],
        [f"{plan['streams']} answers together, tok/s", f"{result['streams_tokens_per_s']:.1f}"],
        [
            f"between {times['count']} tokens, ms: p50, p90, p99, p99.9, max",
            ", ".join(f"{times[name]:.2f}" for name in ("p50", "p90", "p99", "p99_9", "max")),
        ],
        ["p99 / p50", f"{times['p99'] / times['p50']:.2f}"],
        [
            "page faults, forced context switches while decoding",
            f"{usage['minor_faults'] + usage['major_faults']}, {usage['involuntary_switches']}",
        ],
        [
            "weights, cache, scratch, MiB",
            ", ".join(
                f"{memory[name] / (1 << 20):.1f}" for name in ("weights", "cache", "scratch")
            ),
        ],
        ["energy a token", "not measured: no counter" if joules is None else f"{joules:.3f} J"],
    ]
    what = f"{result['model']}, {result['threads']} threads"
    return f"{what}\n\n{markdown(['', 'measured'], rows)}\n\n{conditions(result)}"
