"""Counters and histograms, and their Prometheus text (exposition format 0.0.4).

Names are llama-server's (`llamacpp:`) and, for what it lacks, vLLM's (`vllm:`), so that existing
dashboards work. Times are kept in nanoseconds and printed in seconds.
"""

from bare import Array, Bytes, Struct, array, u64, usize
from bare.text import Writer
from merlion.serve.limits import SECOND_NS
from merlion.serve.replies import write_scaled

MS = 1_000_000
# Upper bounds in milliseconds; vLLM's own, those that matter between 1 ms and 5 minutes.
LATENCY_BOUNDS_MS = (1, 5, 10, 20, 40, 60, 80, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
REQUEST_BOUNDS_MS = (
    100, 300, 500, 800, 1000, 1500, 2000, 2500, 5000, 10000, 15000, 20000, 30000, 60000, 120000,
    240000,
)  # fmt: skip
BUCKET_COUNT = 16
assert len(LATENCY_BOUNDS_MS) == BUCKET_COUNT == len(REQUEST_BOUNDS_MS)


class Histogram(Struct):
    """Observations by bucket; `counts` are not cumulative here, in the text they are."""

    count: u64
    sum_ns: u64
    counts: Array[u64] = array(BUCKET_COUNT)

    def observe(self, duration_ns: u64, long: bool) -> None:
        """Add one duration. `long` picks the bounds for whole requests."""
        self.count += 1
        self.sum_ns += duration_ns
        for i in range(BUCKET_COUNT):
            if duration_ns <= bound_ms(i, long) * MS:
                self.counts[i] += 1
                return


def bound_ms(i: usize, long: bool) -> u64:
    """The upper bound of bucket `i`."""
    return REQUEST_BOUNDS_MS[i] if long else LATENCY_BOUNDS_MS[i]


class MachineCounters(Struct):
    """What the machine counts for itself; a Linux process leaves this empty."""

    present: bool
    page_faults: u64
    interrupts: u64
    interrupts_at_work: u64
    allocated_bytes: u64  # Since the model was loaded.


class Metrics(Struct):
    """Everything that only grows."""

    machine: MachineCounters
    prompt_tokens: u64
    prompt_tokens_cached: u64
    prompt_ns: u64
    tokens_predicted: u64
    predicted_ns: u64
    finished_stop: u64
    finished_length: u64
    finished_abort: u64
    http_requests: u64
    http_errors: u64
    first_token: Histogram
    inter_token: Histogram
    request: Histogram


class Gauges(Struct):
    """Where things stand now; filled in by the server before `write_metrics`."""

    running: u64
    waiting: u64
    decode_steps: u64
    kv_used: u64
    kv_total: u64
    connections: u64


def head(out: Writer, name: Bytes, kind: Bytes, help_text: Bytes) -> None:
    """The HELP and TYPE lines of one metric."""
    out.text(b"# HELP ")
    out.text(name)
    out.byte(0x20)
    out.text(help_text)
    out.text(b"\n# TYPE ")
    out.text(name)
    out.byte(0x20)
    out.text(kind)
    out.byte(0x0A)


def integer(out: Writer, name: Bytes, kind: Bytes, help_text: Bytes, value: u64) -> None:
    """A metric with a whole value."""
    head(out, name, kind, help_text)
    out.text(name)
    out.byte(0x20)
    out.unsigned(value)
    out.byte(0x0A)


def seconds(out: Writer, name: Bytes, help_text: Bytes, value_ns: u64) -> None:
    """A counter of seconds."""
    head(out, name, b"counter", help_text)
    out.text(name)
    out.byte(0x20)
    write_scaled(out, value_ns, SECOND_NS, 9)
    out.byte(0x0A)


def ratio(out: Writer, name: Bytes, help_text: Bytes, part: u64, whole: u64, scale: u64) -> None:
    """A gauge that is a quotient, with three digits after the point; 0 when `whole` is 0."""
    head(out, name, b"gauge", help_text)
    out.text(name)
    out.byte(0x20)
    milli = 0 if whole == 0 else part * scale // whole
    write_scaled(out, milli, 1000, 3)
    out.byte(0x0A)


def histogram(out: Writer, name: Bytes, help_text: Bytes, data: Histogram, long: bool) -> None:
    """A histogram: cumulative buckets, sum, count."""
    head(out, name, b"histogram", help_text)
    total: u64 = 0
    for i in range(BUCKET_COUNT):
        total += data.counts[i]
        out.text(name)
        out.text(b'_bucket{le="')
        write_scaled(out, bound_ms(i, long), 1000, 3)
        out.text(b'"} ')
        out.unsigned(total)
        out.byte(0x0A)
    out.text(name)
    out.text(b'_bucket{le="+Inf"} ')
    out.unsigned(data.count)
    out.byte(0x0A)
    out.text(name)
    out.text(b"_sum ")
    write_scaled(out, data.sum_ns, SECOND_NS, 9)
    out.byte(0x0A)
    out.text(name)
    out.text(b"_count ")
    out.unsigned(data.count)
    out.byte(0x0A)


def finished(out: Writer, reason: Bytes, value: u64) -> None:
    """One series of the finished requests."""
    out.text(b'vllm:request_success_total{finished_reason="')
    out.text(reason)
    out.text(b'"} ')
    out.unsigned(value)
    out.byte(0x0A)


def write_counters(out: Writer, metrics: Metrics, gauges: Gauges) -> None:
    """Write llama-server's metrics."""
    counter = b"counter"
    integer(
        out, b"llamacpp:prompt_tokens_total", counter,
        b"Prompt tokens processed.", metrics.prompt_tokens,
    )  # fmt: skip
    integer(
        out, b"llamacpp:prompt_tokens_cached_total", counter,
        b"Prompt tokens taken from the prefix cache.", metrics.prompt_tokens_cached,
    )  # fmt: skip
    seconds(out, b"llamacpp:prompt_seconds_total", b"Prompt process time.", metrics.prompt_ns)
    integer(
        out, b"llamacpp:tokens_predicted_total", counter,
        b"Generation tokens produced.", metrics.tokens_predicted,
    )  # fmt: skip
    seconds(
        out, b"llamacpp:tokens_predicted_seconds_total",
        b"Predict process time.", metrics.predicted_ns,
    )  # fmt: skip
    integer(
        out, b"llamacpp:n_decode_total", counter,
        b"Forward passes of the model.", gauges.decode_steps,
    )  # fmt: skip
    ratio(
        out, b"llamacpp:prompt_tokens_seconds", b"Average prompt throughput in tokens/s.",
        metrics.prompt_tokens, metrics.prompt_ns // MS, 1_000_000,
    )  # fmt: skip
    ratio(
        out, b"llamacpp:predicted_tokens_seconds", b"Average generation throughput in tokens/s.",
        metrics.tokens_predicted, metrics.predicted_ns // MS, 1_000_000,
    )  # fmt: skip
    gauge = b"gauge"
    integer(out, b"llamacpp:requests_processing", gauge, b"Requests processing.", gauges.running)
    integer(out, b"llamacpp:requests_deferred", gauge, b"Requests deferred.", gauges.waiting)


def write_machine(out: Writer, machine: MachineCounters) -> None:
    """What must stay at rest while tokens are made."""
    counter = b"counter"
    integer(
        out, b"merlion:page_faults_total", counter,
        b"Page faults since boot.", machine.page_faults,
    )  # fmt: skip
    integer(
        out, b"merlion:interrupts_total", counter,
        b"Interrupts taken since boot, all of them wake-ups.", machine.interrupts,
    )  # fmt: skip
    integer(
        out, b"merlion:interrupts_at_work_total", counter,
        b"Of them, those that came while a request was computed.", machine.interrupts_at_work,
    )  # fmt: skip
    integer(
        out, b"merlion:allocated_bytes_after_load_total", counter,
        b"Memory allocated since the model was loaded.", machine.allocated_bytes,
    )  # fmt: skip


def write_metrics(out: Writer, metrics: Metrics, gauges: Gauges) -> None:
    """The whole document."""
    write_counters(out, metrics, gauges)
    integer(out, b"vllm:num_requests_running", b"gauge", b"Requests in a batch.", gauges.running)
    integer(out, b"vllm:num_requests_waiting", b"gauge", b"Requests waiting.", gauges.waiting)
    ratio(
        out, b"vllm:kv_cache_usage_perc", b"KV-cache usage. 1 means 100 percent usage.",
        gauges.kv_used, gauges.kv_total, 1000,
    )  # fmt: skip
    integer(
        out, b"vllm:prefix_cache_queries_total", b"counter",
        b"Prompt tokens looked up in the prefix cache.", metrics.prompt_tokens,
    )  # fmt: skip
    integer(
        out, b"vllm:prefix_cache_hits_total", b"counter",
        b"Prompt tokens found in the prefix cache.", metrics.prompt_tokens_cached,
    )  # fmt: skip
    head(out, b"vllm:request_success_total", b"counter", b"Finished requests by reason.")
    finished(out, b"stop", metrics.finished_stop)
    finished(out, b"length", metrics.finished_length)
    finished(out, b"abort", metrics.finished_abort)
    first = b"vllm:time_to_first_token_seconds"
    histogram(out, first, b"Time to first token.", metrics.first_token, False)
    between = b"vllm:inter_token_latency_seconds"
    histogram(out, between, b"Time between tokens.", metrics.inter_token, False)
    whole = b"vllm:e2e_request_latency_seconds"
    histogram(out, whole, b"End-to-end request latency.", metrics.request, True)
    integer(
        out, b"merlion:http_requests_total", b"counter",
        b"HTTP requests answered.", metrics.http_requests,
    )  # fmt: skip
    integer(
        out, b"merlion:http_errors_total", b"counter",
        b"HTTP requests answered with 4xx or 5xx.", metrics.http_errors,
    )  # fmt: skip
    integer(out, b"merlion:connections", b"gauge", b"Open connections.", gauges.connections)
    if metrics.machine.present:
        write_machine(out, metrics.machine)
