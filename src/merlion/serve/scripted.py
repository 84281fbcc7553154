"""A stand-in for the engine: says a given text, one word a step, to whoever asks.

It keeps the engine's contract (queue, slots, cancel, stop strings, finish reasons) at none of its
cost, so that tests, the simulator and load tests of the server need no model. A token of a prompt
is one byte. Deterministic: the same calls give the same answers.
"""

from bare import Array, Bytes, Slice, Struct, array, u32, u64, usize
from merlion.engine.params import GenerateParams
from merlion.serve.outcome import Finish, PromptError, Refusal

SLOT_COUNT = 8
VOCABULARY = 256
ALPHABET = bytes(range(VOCABULARY))


class ScriptedSlot(Struct):
    """One sequence: `script[sent:said]` is the text to fetch, `end` where it will stop."""

    used: bool
    active: bool  # In the batch; the others wait.
    finish: Finish
    sent: usize
    said: usize
    end: usize
    prompt_tokens: u32
    tokens: u32
    tokens_max: u32
    order: u64


class ScriptedBackend(Struct):
    """The fake engine. The first fields are its script and its switches."""

    script: Bytes
    model: Bytes
    prompt: Slice[u32]
    last_params: GenerateParams
    slots: Array[ScriptedSlot] = array(SLOT_COUNT)
    context: usize = 4096
    queue_max: u32 = SLOT_COUNT
    active_max: u32 = SLOT_COUNT
    loaded: bool = True
    knows_template: bool = True
    prompt_count: usize = 0
    next_order: u64 = 0
    steps: u64 = 0
    cancel_count: u32 = 0

    def ready(self) -> bool:
        """Say whether the model is loaded."""
        return self.loaded

    def model_name(self) -> Bytes:
        """The id of the one model."""
        return self.model

    def context_tokens(self) -> usize:
        """Prompt and completion together."""
        return self.context

    def slot_count(self) -> u32:
        """Sequences at a time."""
        return SLOT_COUNT

    def prompt_clear(self) -> None:
        """Start a new prompt."""
        self.prompt_count = 0

    def prompt_token_count(self) -> usize:
        """Tokens in the prompt so far."""
        return self.prompt_count

    def prompt_tokens(self) -> Slice[u32]:
        """The prompt so far."""
        return self.prompt[: self.prompt_count]

    def prompt_token(self, token: u32) -> PromptError | None:
        """Append one token."""
        if token >= VOCABULARY:
            return PromptError.BAD_TOKEN
        if self.prompt_count >= len(self.prompt):
            return PromptError.TOO_LONG
        self.prompt[self.prompt_count] = token
        self.prompt_count += 1
        return None

    def prompt_begin(self) -> PromptError | None:
        """What the model wants in front of every text: nothing."""
        return None

    def prompt_text(self, text: Bytes, parse_special: bool) -> PromptError | None:
        """Append text, a token a byte."""
        for byte in text:
            error = self.prompt_token(byte)
            if error is not None:
                return error
        return None

    def prompt_chat(self) -> PromptError | None:
        """What a template puts before the first message."""
        return None if self.knows_template else PromptError.NO_TEMPLATE

    def prompt_message(self, role: Bytes, content: Bytes) -> PromptError | None:
        """One message: `<role>content` and a line feed."""
        error = self.prompt_token(0x3C)
        if error is None:
            error = self.prompt_text(role, False)
        if error is None:
            error = self.prompt_token(0x3E)
        if error is None:
            error = self.prompt_text(content, False)
        if error is None:
            error = self.prompt_token(0x0A)
        return error

    def prompt_reply(self) -> PromptError | None:
        """What a template puts before the reply."""
        return self.prompt_text(b"<assistant>", True)

    def piece(self, token: u32) -> Bytes:
        """The bytes of a token."""
        return ALPHABET[usize(token) : usize(token) + 1] if token < VOCABULARY else b""

    def submit(self, params: GenerateParams, now_ns: u64) -> u32 | Refusal:
        """Queue the prompt. Returns its slot."""
        if self.prompt_count == 0:
            return Refusal.EMPTY
        if self.prompt_count >= self.context:
            return Refusal.TOO_LONG
        if self.count(False) + self.count(True) >= self.queue_max:
            return Refusal.QUEUE_FULL
        self.last_params.assign(params)
        for index in range(SLOT_COUNT):
            slot = self.slots[index]
            if not slot.used:
                slot.assign(ScriptedSlot.zeroed())
                slot.used = True
                slot.prompt_tokens = u32(self.prompt_count)
                slot.tokens_max = min(params.max_tokens, u32(self.context - self.prompt_count))
                slot.end = self.stop_position(params)
                slot.order = self.next_order
                self.next_order += 1
                return u32(index)
        return Refusal.QUEUE_FULL

    def stop_position(self, params: GenerateParams) -> usize:
        """Where the first stop string cuts the script."""
        end = len(self.script)
        for i in range(params.stop_count):
            found = self.script.find(params.stop[i].text())
            if found >= 0 and usize(found) < end:
                end = usize(found)
        return end

    def count(self, active: bool) -> u32:
        """Unfinished sequences in the batch, or waiting for it."""
        total = 0
        for slot in self.slots[:]:
            if slot.used and slot.finish == Finish.NONE and slot.active == active:
                total += 1
        return u32(total)

    def running(self) -> u32:
        """Sequences in the batch."""
        return self.count(True)

    def waiting(self) -> u32:
        """Sequences in the queue."""
        return self.count(False)

    def decode_steps(self) -> u64:
        """Forward passes so far."""
        return self.steps

    def kv_used(self) -> u64:
        """Cache positions in use."""
        total: u64 = 0
        for slot in self.slots[:]:
            if slot.used:
                total += u64(slot.prompt_tokens) + slot.tokens
        return total

    def kv_total(self) -> u64:
        """Cache positions there are."""
        return u64(self.context) * SLOT_COUNT

    def step(self, now_ns: u64) -> bool:
        """One word for each sequence of the batch. Returns False when there was nothing to do."""
        self.admit()
        worked = False
        for slot in self.slots[:]:
            if slot.used and slot.active and slot.finish == Finish.NONE:
                self.speak(slot)
                worked = True
        self.steps += 1 if worked else 0
        return worked

    def admit(self) -> None:
        """Move the longest waiting into the batch while there is room."""
        while self.count(True) < self.active_max and self.count(False) > 0:
            first: ScriptedSlot | None = None
            for slot in self.slots[:]:
                waits = slot.used and not slot.active and slot.finish == Finish.NONE
                if waits and (first is None or slot.order < first.order):
                    first = slot
            if first is None:
                return
            first.active = True

    def speak(self, slot: ScriptedSlot) -> None:
        """The next word, with the space after it."""
        at = slot.said
        while at < slot.end and self.script[at] != 0x20:
            at += 1
        slot.said = min(at + 1, slot.end)
        slot.tokens += 1
        if slot.said == slot.end:
            slot.finish = Finish.STOP
        elif slot.tokens >= slot.tokens_max:
            slot.finish = Finish.LENGTH

    def text(self, slot: u32) -> Bytes:
        """Text that was not consumed yet."""
        entry = self.slots[slot]
        return self.script[entry.sent : entry.said]

    def consume(self, slot: u32, count: usize) -> None:
        """The first `count` bytes of `text` were taken."""
        self.slots[slot].sent += count

    def finish(self, slot: u32) -> Finish:
        """Why the sequence ended, or NONE."""
        return self.slots[slot].finish

    def prompt_length(self, slot: u32) -> u32:
        """Tokens of the prompt."""
        return self.slots[slot].prompt_tokens

    def cached_length(self, slot: u32) -> u32:
        """Tokens of the prompt that were not computed again."""
        return 0

    def completion_length(self, slot: u32) -> u32:
        """Tokens generated so far."""
        return self.slots[slot].tokens

    def cancel(self, slot: u32) -> None:
        """Stop a sequence, wherever it is."""
        entry = self.slots[slot]
        if entry.finish == Finish.NONE:
            entry.finish = Finish.CANCELLED
            self.cancel_count += 1

    def release(self, slot: u32) -> None:
        """The slot may be used again."""
        assert self.slots[slot].finish != Finish.NONE, "cancel comes before release"
        self.slots[slot].used = False
