"""What a benchmark found out, in base units, and what follows from it."""

from bare import Struct, f64, u32, u64
from merlion.kernel import counters
from merlion.kernel.arch.x86_64.energy import energy
from merlion.kernel.inference import engine


class Figures(Struct):
    """One run of `ai-bench`; the times between tokens are `distribution.samples`."""

    prompt_tokens: u32 = 0
    cached_tokens: u32 = 0  # Of the prompt: not computed.
    tokens: u32 = 0
    streams: u32 = 0
    first_ns: u64 = 1  # To the first token.
    decode_ns: u64 = 0  # From the first to the last.
    streams_ns: u64 = 0
    streams_tokens: u64 = 0
    interrupts: u64 = 0
    page_faults: u64 = 0
    allocated: u64 = 0
    energy: u64 = 0
    joules: f64 = 0.0  # While decoding; 0: no counter.
    bandwidth: u64 = 0  # Bytes a second, 0 when not measured.
    int8_peak: u64 = 0

    def begin_decoding(self) -> None:
        """Note the counters at the first token."""
        self.interrupts = counters.interrupts()
        self.page_faults = counters.page_faults()
        self.allocated = counters.allocated_bytes()
        self.energy = energy.read()

    def end_decoding(self) -> None:
        """Keep what the counters have grown by."""
        self.interrupts = counters.interrupts() - self.interrupts
        self.page_faults = counters.page_faults() - self.page_faults
        self.allocated = counters.allocated_bytes() - self.allocated
        self.joules = energy.joules(self.energy, energy.read())

    def prefill_rate(self) -> f64:
        """Tokens a second of the prompt."""
        return f64(self.prompt_tokens - self.cached_tokens) * 1e9 / f64(self.first_ns)

    def decode_rate(self) -> f64:
        """Tokens a second of one answer."""
        return f64(self.tokens - 1) * 1e9 / f64(max(self.decode_ns, 1))

    def streams_rate(self) -> f64:
        """Tokens a second of several answers together; 0 when not measured."""
        return f64(self.streams_tokens) * 1e9 / f64(max(self.streams_ns, 1))

    def bandwidth_share(self) -> f64:
        """Weights read while one answer is decoded, of the bandwidth there is."""
        return self.decode_rate() * f64(engine.token_bytes()) / f64(max(self.bandwidth, 1))

    def int8_share(self) -> f64:
        """Multiply-adds of the prompt's layers, of the peak."""
        return self.prefill_rate() * f64(engine.layer_products()) / f64(max(self.int8_peak, 1))

    def joules_per_token(self) -> f64:
        """Energy of the package, by token; 0 where it cannot be read."""
        return self.joules / f64(max(self.tokens, 2) - 1)
