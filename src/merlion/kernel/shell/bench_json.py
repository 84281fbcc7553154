"""The figures of `ai-bench --json`: one line, with the names of `merlion bench --json`.

docs/performance.md lists them. What is not measured is null.
"""

from bare import Bytes, f64, u64, usize
from bare.simd import level_name
from bare.text import Writer
from merlion.engine.limits import HISTOGRAM_BINS
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.arch.x86_64.features import features
from merlion.kernel.console import console
from merlion.kernel.inference import backend, engine
from merlion.kernel.limits import BENCH_STREAM_TOKENS
from merlion.kernel.memory.paging import page_tables
from merlion.kernel.shell.distribution import WINDOW, ratios, samples
from merlion.kernel.shell.figures import Figures
from merlion.serve.json_writer import write_string

SCHEMA = 1
PAGE_BYTES = (1 << 12, 1 << 21, 1 << 30)


def show(figures: Figures) -> None:
    """Write the line."""
    console.flush()
    out = console.out
    out.byte(0x7B)
    string(out, b"model", backend.model_name())
    integer(out, b"threads", smp.cores.count)
    machine(out)
    integer(out, b"schema", SCHEMA)
    plan(out, figures)
    number(out, b"prefill_tokens_per_s", figures.prefill_rate())
    number(out, b"first_token_ms", f64(figures.first_ns) / 1e6)
    number(out, b"decode_tokens_per_s", figures.decode_rate())
    number_or_null(out, b"streams_tokens_per_s", figures.streams_rate())
    times(out)
    limits(out, figures)
    number_or_null(out, b"joules_per_token", figures.joules_per_token())
    begin(out, b"decode_usage")
    integer(out, b"page_faults", figures.page_faults)
    integer(out, b"interrupts", figures.interrupts)
    integer(out, b"allocated_bytes", figures.allocated)
    out.byte(0x7D)
    memory(out)
    console.line(b"}")


def machine(out: Writer) -> None:
    """What it ran on."""
    begin(out, b"machine")
    string(out, b"cpu", features.name())
    integer(out, b"cpus", smp.cores.count)
    string(out, b"instructions", level_name())
    integer(out, b"page_bytes", PAGE_BYTES[page_tables.level_max])
    out.byte(0x7D)


def plan(out: Writer, figures: Figures) -> None:
    """What was asked, as far as the context held it."""
    begin(out, b"plan")
    integer(out, b"prompt_tokens", figures.prompt_tokens)
    integer(out, b"tokens", figures.tokens)
    integer(out, b"streams", figures.streams)
    integer(out, b"stream_tokens", BENCH_STREAM_TOKENS)
    integer(out, b"repeats", 1)
    out.byte(0x7D)


def times(out: Writer) -> None:
    """The times between tokens and their histogram."""
    ratios.local_ratios(samples)
    ratios.sort()
    samples.sort()
    begin(out, b"inter_token_ms")
    integer(out, b"count", samples.count)
    number(out, b"mean", samples.mean() / 1e6)
    rank(out, b"p50", 500)
    rank(out, b"p90", 900)
    rank(out, b"p99", 990)
    rank(out, b"p99_9", 999)
    rank(out, b"max", 1000)
    out.byte(0x7D)
    number(out, b"p99_over_p50", samples.tail())
    number(out, b"p99_over_local_p50", ratios.local_tail())
    integer(out, b"local_window", WINDOW)
    key(out, b"inter_token_histogram")
    out.byte(0x5B)
    samples.fill_bins()
    for index in range(HISTOGRAM_BINS + 1):
        at = usize(index)
        if index == HISTOGRAM_BINS and samples.bins[at] == 0:
            break
        out.text(b"{" if index == 0 else b", {")
        number(out, b"low", f64(samples.bin_low(at)) / 1e6)
        number(out, b"high", f64(samples.bin_high(at)) / 1e6)
        integer(out, b"count", samples.bins[at])
        out.byte(0x7D)
    out.byte(0x5D)


def limits(out: Writer, figures: Figures) -> None:
    """What a token costs, and what the machine can do."""
    integer(out, b"bytes_per_token", engine.token_bytes())
    integer_or_null(out, b"bandwidth_bytes_per_s", figures.bandwidth)
    share_or_null(out, b"bandwidth_share", figures.bandwidth_share(), figures.bandwidth)
    integer(out, b"products_per_prompt_token", engine.layer_products())
    integer_or_null(out, b"int8_products_per_s", figures.int8_peak)
    share_or_null(out, b"int8_share", figures.int8_share(), figures.int8_peak)


def memory(out: Writer) -> None:
    """Where the model's memory went."""
    begin(out, b"memory_bytes")
    integer(out, b"file", engine.file_bytes)
    integer(out, b"weights", engine.weights_bytes)
    integer(out, b"cache", engine.kv_bytes)
    integer(out, b"scratch", engine.workspace_bytes)
    out.byte(0x7D)


def key(out: Writer, name: Bytes) -> None:
    """A name, and what separates it from the entry before."""
    if out.written()[out.length - 1] != 0x7B:
        out.text(b", ")
    write_string(out, name)
    out.text(b": ")


def begin(out: Writer, name: Bytes) -> None:
    """Open an object."""
    key(out, name)
    out.byte(0x7B)


def string(out: Writer, name: Bytes, value: Bytes) -> None:
    """A text."""
    key(out, name)
    write_string(out, value)


def integer(out: Writer, name: Bytes, value: u64) -> None:
    """A whole number."""
    key(out, name)
    out.unsigned(value)


def number(out: Writer, name: Bytes, value: f64) -> None:
    """A number with six decimals."""
    key(out, name)
    out.fixed(value, 6)


def number_or_null(out: Writer, name: Bytes, value: f64) -> None:
    """A number; 0 says that it was not measured."""
    if value > 0.0:
        number(out, name, value)
    else:
        key(out, name)
        out.text(b"null")


def integer_or_null(out: Writer, name: Bytes, value: u64) -> None:
    """A whole number; 0 says that it was not measured."""
    if value > 0:
        integer(out, name, value)
    else:
        key(out, name)
        out.text(b"null")


def share_or_null(out: Writer, name: Bytes, value: f64, limit: u64) -> None:
    """A share of a limit, if that was measured."""
    number_or_null(out, name, value if limit > 0 else 0.0)


def rank(out: Writer, name: Bytes, per_mille: usize) -> None:
    """A percentile in milliseconds."""
    number(out, name, f64(samples.rank(per_mille)) / 1e6)
