"""`merlion bench`: how fast a model runs here, beside what the machine can do at best."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from merlion.cli.hosted import JsonOption, ModelArgument, PriorityOption, ThreadsOption, load_model
from merlion.cli.terminal import note, notes, out, print_json

if TYPE_CHECKING:
    from merlion.hosted.benchmark import Report
    from merlion.hosted.distribution import Bin

BAR_COLUMNS = 40
EIGHTHS = " ▏▎▍▌▋▊▉"
FULL = "█"
MEBIBYTE = 1 << 20


def bench(
    model: ModelArgument,
    tokens: Annotated[
        int, typer.Option("--tokens", min=8, max=65536, help="Of the timed answer.")
    ] = 256,
    prompt_tokens: Annotated[
        int, typer.Option("--prompt-tokens", min=1, max=65536, help="Of the timed prompt.")
    ] = 512,
    streams: Annotated[
        int, typer.Option("--streams", min=1, max=64, help="Answers at the same time.")
    ] = 8,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=100)] = 3,
    threads: ThreadsOption = 0,
    prio: PriorityOption = 0,
    json: JsonOption = False,
) -> None:
    """Time a model: prompt, answer, several answers; with the machine's limits beside them."""
    from merlion.hosted import benchmark, observation
    from merlion.hosted.code import level
    from merlion.hosted.model import Settings

    plan = benchmark.Plan(prompt_tokens, tokens, streams, repeats=repeats)
    lower = "lower --tokens, --prompt-tokens or --streams"
    settings = Settings(context=plan.context, sequences=streams, threads=threads, lower=lower)
    machine = observation.machine()
    with load_model(model, settings, prio) as loaded, notes.status("measuring"):
        if loaded.context < plan.context:
            note(f"the model's context of {loaded.context} bounds what is measured")
            room = loaded.context - 16
            plan = benchmark.Plan(
                min(prompt_tokens, room), min(tokens, room), streams, repeats=repeats
            )
        report = benchmark.run(loaded, plan)
        name, used = loaded.path.name, loaded.threads
        machine["instructions"] = level()
        machine["priority"] = prio
    if json:
        print_json({"model": name, "threads": used, "machine": machine, **report.as_json()})
        return
    where = f"{machine['cpu']} ({machine['cpus']} CPUs, {machine['instructions']})"
    out.print(f"{name}, {used} threads, {where}\n", markup=False)
    out.print(speed_table(report))
    out.print(latency_table(report))
    for line in draw(report.bins()):
        out.print(line, markup=False)
    out.print()
    out.print(machine_table(report))
    if report.usage.disturbed:
        note(f"disturbed: {report.usage.disturbed}; do not publish these figures")


def plain_table(*headings: str) -> Table:
    """A table whose first column names the rows and whose others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    return table


def speed_table(report: "Report") -> Table:
    """Tokens a second, and what part of the machine's limit that is."""
    plan = report.plan
    table = plain_table("", "tok/s", "of the limit")
    table.add_row(
        f"prompt of {plan.prompt_tokens}",
        f"{report.prefill_per_s:.1f}",
        f"{report.int8_share:.0%} of {report.int8_peak / 1e9:.0f} G int8 multiply-adds/s",
    )
    table.add_row(
        "one answer",
        f"{report.decode_per_s:.1f}",
        f"{report.bandwidth_share:.0%} of {report.bandwidth / 1e9:.1f} GB/s "
        f"({report.bytes_per_token / 1e6:.1f} MB a token)",
    )
    table.add_row(f"{plan.streams} answers together", f"{report.streams_per_s:.1f}", "")
    return table


def latency_table(report: "Report") -> Table:
    """Milliseconds to the first token and between tokens."""
    from merlion.hosted.distribution import describe

    found = describe(report.intervals_ms)
    table = plain_table("\nms", "\np50", "\np90", "\np99", "\np99.9", "\nmax", "\np99/p50")
    prompt = f"first token, prompt of {report.plan.prompt_tokens}"
    table.add_row(prompt, f"{report.first_token_ms:.1f}")
    cells = [found.p50, found.p90, found.p99, found.p99_9, found.max, found.tail]
    table.add_row("between tokens", *(f"{value:.2f}" for value in cells))
    return table


def machine_table(report: "Report") -> Table:
    """Memory, disturbances, energy."""
    memory, usage = report.memory, report.usage
    table = plain_table("memory, MiB", "")
    for name in ("file", "weights", "cache", "scratch", "resident", "huge_pages"):
        label = "in huge pages" if name == "huge_pages" else name
        table.add_row(f"  {label}", f"{memory[name] / MEBIBYTE:.1f}")
    table.add_row("while decoding", "")
    table.add_row("  page faults", f"{usage.minor_faults} minor, {usage.major_faults} major")
    switches = f"{usage.voluntary_switches} voluntary, {usage.involuntary_switches} forced"
    table.add_row("  context switches", switches)
    table.add_row("  time others took", f"{usage.others:.1%} here, {usage.steal:.1%} hypervisor")
    energy = report.joules_per_token
    text = "not measured: no readable energy counter" if energy is None else f"{energy:.3f} J"
    table.add_row("  energy a token", text)
    return table


def bar(share: float, columns: int = BAR_COLUMNS) -> str:
    """A bar of `share` of the columns, in eighths of a column; never empty unless it is nothing."""
    eighths = round(share * columns * 8)
    if share > 0:
        eighths = max(eighths, 1)
    whole, rest = divmod(eighths, 8)
    return FULL * whole + (EIGHTHS[rest] if rest else "")


def draw(bins: "list[Bin]") -> list[str]:
    """A histogram: a line for each bin, its bounds in milliseconds, its bar and its count."""
    most = max(one.count for one in bins)
    lines: list[str] = []
    for one in bins:
        bounds = f"{one.low:8.2f} to {one.high:8.2f} ms"
        lines.append(f"{bounds}  {bar(one.count / most):<{BAR_COLUMNS}} {one.count}")
    return lines
