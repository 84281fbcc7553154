"""`ai TEXT`: one answer of the model, streamed to the console.

The command submits a request and returns; the main loop computes, `poll` prints what is there, so
the network is served meanwhile. It ends with a line of numbers:
`[64 tokens in 0.42 s | 152.4 tok/s | first token 12.0 ms | AVX-512 | 2 cores]`.
"""

from bare import Bytes, Struct, f64, u32, u64
from merlion.engine.params import GenerateParams
from merlion.engine.scheduler import FinishReason, SlotState
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.arch.x86_64.features import features, level_text
from merlion.kernel.clock import now_ns
from merlion.kernel.console import console
from merlion.kernel.inference import backend, scheduler
from merlion.kernel.limits import SHELL_ANSWER_TOKENS
from merlion.kernel.model import model
from merlion.kernel.shell.refuse import refuse
from merlion.kernel.timeline import timeline
from merlion.serve.outcome import PromptError, Refusal

REFUSAL_TEXT = {
    Refusal.QUEUE_FULL: b"too many requests are waiting: try again",
    Refusal.TOO_LONG: b"the text is longer than the context",
    Refusal.EMPTY: b"there is no text",
}

PROMPT_ERROR_TEXT = {
    PromptError.TOO_LONG: b"the text is longer than the context",
    PromptError.BAD_TEXT: b"the model cannot take this text",
    PromptError.BAD_TOKEN: b"the model's template names a token that is not there",
    PromptError.NO_TEMPLATE: b"the model has no chat template",
}


class Generation(Struct):
    """The answer in progress."""

    active: bool = False
    slot: u32 = 0
    start_ns: u64 = 0
    first_ns: u64 = 0  # When the first token was there.

    def ask(self, text: Bytes) -> bool:
        """Begin to answer `text`; load the model first where that is still to do."""
        if not model.ready():
            return False
        error = build_prompt(text)
        if error is not None:
            return refuse(PROMPT_ERROR_TEXT[error])
        params = GenerateParams(max_tokens=SHELL_ANSWER_TOKENS, seed=now_ns())
        return self.submit(params)

    def submit(self, params: GenerateParams) -> bool:
        """Hand the prompt that was built to the scheduler."""
        self.start_ns = now_ns()
        self.first_ns = 0
        slot = backend.submit(params, self.start_ns)
        if isinstance(slot, Refusal):
            return refuse(REFUSAL_TEXT[slot])
        self.slot = slot
        self.active = True
        return True

    def poll(self) -> bool | None:
        """Show new text. At the end, whether the answer is complete; None before."""
        now = now_ns()  # A pass has been computed since the loop looked.
        count = scheduler.completion_tokens(self.slot)
        if self.first_ns == 0 and count > 0:
            self.first_ns = now
            timeline.mark_once(b"first token")
        text = scheduler.text(self.slot)
        if len(text) > 0:
            console.write(text)
            console.flush()
            scheduler.consume(self.slot, len(text))
        if scheduler.state(self.slot) != SlotState.DONE:
            return None
        return self.finish(now, count)

    def finish(self, now: u64, count: u32) -> bool:
        """Show the closing line and forget the request. False if the answer was stopped."""
        complete = scheduler.finish_reason(self.slot) != FinishReason.CANCELLED
        if not complete:
            console.write(b" (stopped)")
        scheduler.release(self.slot)
        self.active = False
        seconds = f64(now - self.start_ns) / 1e9
        decode_seconds = f64(max(now - self.first_ns, 1)) / 1e9
        out = console.out
        out.text(b"\n[")
        out.unsigned(count)
        out.text(b" tokens in ")
        out.fixed(seconds, 2)
        out.text(b" s | ")
        out.fixed(f64(max(count, 1) - 1) / decode_seconds, 1)
        out.text(b" tok/s | first token ")
        out.fixed(f64(max(self.first_ns, self.start_ns) - self.start_ns) / 1e6, 1)
        out.text(b" ms | ")
        out.text(level_text(features.level))
        out.text(b" | ")
        out.unsigned(smp.cores.count)
        console.line(b" core]" if smp.cores.count == 1 else b" cores]")
        return complete

    def cancel(self) -> None:
        """Stop the answer; `poll` then ends it."""
        scheduler.cancel(self.slot)


def build_prompt(text: Bytes) -> PromptError | None:
    """Put the prompt together: a chat of one message, or the bare text if there is no template."""
    backend.prompt_clear()
    if not backend.knows_template:
        error = backend.prompt_begin()
        if error is not None:
            return error
        return backend.prompt_text(text, False)
    error = backend.prompt_chat()
    if error is not None:
        return error
    error = backend.prompt_message(b"user", text)
    if error is not None:
        return error
    return backend.prompt_reply()


generation = Generation.zeroed()
