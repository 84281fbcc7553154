"""The figures of `ai-bench` for people."""

from bare import Bytes, f64, u64, usize
from merlion.engine.limits import HISTOGRAM_BINS
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.arch.x86_64.features import features, level_text
from merlion.kernel.console import console
from merlion.kernel.inference import engine
from merlion.kernel.model import show_memory
from merlion.kernel.shell.distribution import WINDOW, ratios, samples
from merlion.kernel.shell.figures import Figures

BAR_COLUMNS = 40
LABEL_COLUMNS = 26


def show(figures: Figures) -> None:
    """Write all of it to the console."""
    show_speed(figures)
    show_times()
    show_limits(figures)
    out = console.out
    out.text(b"memory      ")
    show_memory()
    out.text(b"energy      ")
    if figures.joules > 0.0:
        out.fixed(figures.joules_per_token(), 4)
        console.line(b" J a token, of the whole package")
    else:
        console.line(b"not measured: no readable counter")
    out.text(b"decoding    page faults ")
    out.unsigned(figures.page_faults)
    out.text(b", interrupts ")
    out.unsigned(figures.interrupts)
    out.text(b", allocations ")
    out.unsigned(figures.allocated)
    console.line(b" bytes")


def show_speed(figures: Figures) -> None:
    """Tokens a second."""
    out = console.out
    show_rate(b"decode      ", figures.tokens, figures.decode_ns, figures.decode_rate())
    out.text(level_text(features.level))
    out.text(b" | ")
    out.unsigned(smp.cores.count)
    console.line(b" core]" if smp.cores.count == 1 else b" cores]")
    computed = figures.prompt_tokens - figures.cached_tokens
    show_rate(b"prefill     ", computed, figures.first_ns, figures.prefill_rate())
    out.text(b"first token ")
    out.fixed(f64(figures.first_ns) / 1e6, 1)
    console.line(b" ms]")
    if figures.streams_ns > 0:
        count, rate = figures.streams_tokens, figures.streams_rate()
        show_rate(b"together    ", count, figures.streams_ns, rate)
        out.unsigned(figures.streams)
        console.line(b" answers]")


def show_rate(name: Bytes, count: u64, duration_ns: u64, rate: f64) -> None:
    """`name [N tokens in S s | R tok/s | `."""
    out = console.out
    out.text(name)
    out.byte(0x5B)
    out.unsigned(count)
    out.text(b" tokens in ")
    out.fixed(f64(duration_ns) / 1e9, 2)
    out.text(b" s | ")
    out.fixed(rate, 1)
    out.text(b" tok/s | ")


def show_times() -> None:
    """The times between tokens, and how even they are with and without their growth."""
    out = console.out
    ratios.local_ratios(samples)
    ratios.sort()
    samples.sort()
    out.text(b"between tokens  p50 ")
    out.fixed(milliseconds(500), 2)
    out.text(b"  p90 ")
    out.fixed(milliseconds(900), 2)
    out.text(b"  p99 ")
    out.fixed(milliseconds(990), 2)
    out.text(b"  p99.9 ")
    out.fixed(milliseconds(999), 2)
    out.text(b"  max ")
    out.fixed(milliseconds(1000), 2)
    console.line(b" ms")
    out.text(b"p99/p50     ")
    out.fixed(samples.tail(), 2)
    out.text(b"; over the median of the ")
    out.unsigned(WINDOW)
    out.text(b" times around: ")
    out.fixed(ratios.local_tail(), 2)
    console.line(b"")
    draw_histogram()


def milliseconds(per_mille: usize) -> f64:
    """A percentile of the times."""
    return f64(samples.rank(per_mille)) / 1e6


def draw_histogram() -> None:
    """A line for each bin."""
    samples.fill_bins()
    most: usize = 1
    for count in samples.bins:
        most = max(most, count)
    for index in range(HISTOGRAM_BINS + 1):
        at = usize(index)
        if index < HISTOGRAM_BINS or samples.bins[at] > 0:
            draw_bar(samples.bin_low(at), samples.bin_high(at), samples.bins[at], most)


def draw_bar(low: u64, high: u64, count: usize, most: usize) -> None:
    """One line: bounds in milliseconds, a bar, the count."""
    out = console.out
    start = out.length
    out.text(b"  ")
    out.fixed(f64(low) / 1e6, 3)
    out.text(b" to ")
    out.fixed(f64(high) / 1e6, 3)
    out.text(b" ms")
    while out.length < start + LABEL_COLUMNS:
        out.byte(0x20)
    columns = (count * BAR_COLUMNS + most - 1) // most
    for _ in range(columns):
        out.byte(0x23)
    out.byte(0x20)
    out.unsigned(count)
    console.line(b"")


def show_limits(figures: Figures) -> None:
    """What a token reads and a prompt multiplies, beside what the machine can do."""
    out = console.out
    out.text(b"reads       ")
    out.fixed(f64(engine.token_bytes()) / 1e6, 1)
    out.text(b" MB of weights a token, ")
    out.fixed(f64(engine.token_bytes()) * figures.decode_rate() / 1e9, 1)
    out.text(b" GB/s")
    if figures.bandwidth == 0:
        console.line(b"; no limits: other requests were answered")
        return
    out.text(b": ")
    out.fixed(figures.bandwidth_share() * 100.0, 0)
    out.text(b" % of ")
    out.fixed(f64(figures.bandwidth) / 1e9, 1)
    console.line(b" GB/s")
    out.text(b"multiplies  ")
    out.fixed(figures.int8_share() * 100.0, 0)
    out.text(b" % of ")
    out.fixed(f64(figures.int8_peak) / 1e9, 0)
    console.line(b" G int8 multiply-adds/s, reading the prompt")
