"""`ai-bench [TOKENS [PROMPT-TOKENS]]`: one answer to a long prompt, timed token by token.

It runs in the main loop as any request does, with the network and the server being polled, so the
times between tokens are those that clients see.
"""

from bare import Bytes, Struct, f64, u32, u64, usize
from merlion.engine.params import GenerateParams
from merlion.engine.scheduler import SlotState, SubmitError
from merlion.kernel import counters
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.arch.x86_64.features import features, level_text
from merlion.kernel.clock import now_ns
from merlion.kernel.config import parse_number
from merlion.kernel.console import console
from merlion.kernel.inference import backend, engine, room, scheduler
from merlion.kernel.limits import BENCH_PROMPT_TOKENS, BENCH_TOKENS, SAMPLES_MAX
from merlion.kernel.model import model
from merlion.kernel.shell.distribution import samples

TEXT = b"The sea was calm, and the old ship lay at anchor in the bay. "
MEBIBYTE = 1 << 20


class Bench(Struct):
    """The benchmark under way."""

    active: bool = False
    slot: u32 = 0
    runs: usize = 0  # Ever.
    start_ns: u64 = 0
    first_ns: u64 = 0
    last_ns: u64 = 0
    prompt_count: u32 = 0
    cached: u32 = 0  # Of the prompt: not computed.
    seen: u32 = 0  # Tokens that have been timed.
    interrupts: u64 = 0  # Before the first token.
    page_faults: u64 = 0

    def start(self, token_count: u32, prompt_tokens: u32) -> None:
        """Submit the request, cut to what the context holds."""
        context = usize(engine.context)
        wanted = min(usize(token_count), context // 2)
        room_left = context - wanted
        if not self.fill_prompt(min(usize(prompt_tokens), room_left - 1)):
            console.line(b"the model cannot read the benchmark's prompt")
            return
        params = GenerateParams(max_tokens=u32(wanted), temperature=0.0, ignore_eos=True)
        samples.clear()
        self.first_ns = 0
        self.seen = 0
        self.start_ns = now_ns()
        slot = scheduler.submit(backend.prompt_tokens(), params, self.start_ns)
        if isinstance(slot, SubmitError):
            console.line(b"too many requests are waiting: try again")
            return
        self.slot = slot
        self.active = True

    def fill_prompt(self, count: usize) -> bool:
        """Put a prompt of exactly `count` tokens together. False if the text gives none."""
        backend.prompt_clear()
        if backend.prompt_begin() is not None or backend.prompt_text(TEXT, False) is not None:
            return False
        length = backend.prompt_token_count()
        if length == 0:
            return False
        while backend.prompt_token_count() < count + length:
            token = backend.prompt_tokens()[backend.prompt_token_count() - length]
            if backend.prompt_token(token) is not None:
                return False
        # Begin at another token each time: a cached prefix would be no prefill.
        self.runs += 1
        skip = self.runs % length
        tokens = backend.prompt_tokens()
        tokens[:count].copy_from(tokens[skip : skip + count])
        backend.prompt_count = count
        return True

    def poll(self) -> bool:
        """Time what has been made. Returns True at the end."""
        now = now_ns()
        count = scheduler.completion_tokens(self.slot)
        if count > self.seen:
            if self.seen == 0:
                self.first_ns = now
                self.prompt_count = scheduler.prompt_tokens(self.slot)
                self.cached = scheduler.cached_tokens(self.slot)
                self.interrupts = counters.interrupts()
                self.page_faults = counters.page_faults()
            else:
                samples.add((now - self.last_ns) // u64(count - self.seen))
            self.seen = count
            self.last_ns = now
        scheduler.consume(self.slot, len(scheduler.text(self.slot)))
        if scheduler.state(self.slot) != SlotState.DONE:
            return False
        self.active = False
        scheduler.release(self.slot)
        if samples.count == 0:
            console.line(b"stopped before the second token")
        else:
            self.report()
        return True

    def cancel(self) -> None:
        """Stop; `poll` then ends it."""
        scheduler.cancel(self.slot)

    def report(self) -> None:
        """Show all figures."""
        interrupts = counters.interrupts() - self.interrupts
        out = console.out
        decode_ns = max(self.last_ns - self.first_ns, 1)
        prefill_ns = max(self.first_ns - self.start_ns, 1)
        rate = f64(self.seen - 1) * 1e9 / f64(decode_ns)
        show_rate(b"decode      ", u64(self.seen), decode_ns, rate)
        out.text(level_text(features.level))
        out.text(b" | ")
        out.unsigned(smp.cores.count)
        console.line(b" core]" if smp.cores.count == 1 else b" cores]")
        computed = self.prompt_count - self.cached
        prefill = f64(computed) * 1e9 / f64(prefill_ns)
        show_rate(b"prefill     ", computed, prefill_ns, prefill)
        out.text(b"first token ")
        out.fixed(f64(prefill_ns) / 1e6, 1)
        console.line(b" ms]")
        samples.sort()
        out.text(b"between tokens  ")
        samples.show()
        samples.draw()
        out.text(b"reads       ")
        out.fixed(f64(engine.token_bytes()) / 1e6, 1)
        out.text(b" MB of weights a token, ")
        out.fixed(f64(engine.token_bytes()) * rate / 1e9, 1)
        console.line(b" GB/s")
        out.text(b"memory      weights ")
        out.unsigned(engine.weights_bytes // MEBIBYTE)
        out.text(b" MiB, KV cache ")
        out.unsigned(engine.kv_bytes // MEBIBYTE)
        out.text(b" MiB, scratch ")
        rest = room.arena.used - engine.weights_bytes - engine.kv_bytes
        out.unsigned(rest // MEBIBYTE)
        console.line(b" MiB")
        out.text(b"decoding    page faults ")
        out.unsigned(counters.page_faults() - self.page_faults)
        out.text(b", interrupts ")
        out.unsigned(interrupts)
        out.text(b", allocations ")
        out.unsigned(counters.allocated_bytes())
        console.line(b" bytes")


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


bench = Bench.zeroed()


def run(arguments: Bytes) -> None:
    """Start."""
    end = arguments.find(b" ")
    first = arguments if end < 0 else arguments[: usize(end)]
    count = number_in(first, BENCH_TOKENS)
    prompt = number_in(arguments[len(first) :], BENCH_PROMPT_TOKENS)
    if count < 2 or prompt == 0:
        console.line(b"usage: ai-bench [tokens [prompt tokens]]")
        return
    if model.ready():
        bench.start(count, prompt)


def number_in(text: Bytes, default: u32) -> u32:
    """A number of tokens, `default` when there is none, 0 when it is not one we take."""
    start: usize = 0
    while start < len(text) and text[start] == 0x20:
        start += 1
    if start == len(text):
        return default
    number = parse_number(text[start:])
    return u32(number) if number is not None and number <= SAMPLES_MAX else 0
