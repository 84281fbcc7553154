"""The engine as the server sees it: prompts become tokens here, requests go to the scheduler.

`start` gives it a name while the model is still being read; `attach` the loaded engine, and the
name that the file gives itself, unless the user has chosen one. A model whose chat template is not
recognised still serves /v1/completions; chat is refused by name.
"""

from bare import Arena, Bytes, Slice, Struct, u8, u32, u64, usize
from merlion.engine.chat_template import ChatTemplate, ChatTemplateError
from merlion.engine.engine import Engine
from merlion.engine.gguf_value import Lookup
from merlion.engine.params import GenerateParams
from merlion.engine.scheduler import FinishReason, Scheduler, SlotState, SubmitError
from merlion.engine.tokenizer import TokenizeError
from merlion.serve.limits import MODEL_NAME_BYTES_MAX
from merlion.serve.outcome import Finish, PromptError, Refusal
from merlion.serve.utf8 import prefix_length

# A prompt that is too long is still counted, up to this many contexts.
PROMPT_CONTEXTS = 4
# Text of one message: no vocabulary in use has an average token this long.
MESSAGE_BYTES_A_TOKEN = 64


class EngineBackend(Struct):
    """One engine, its scheduler, and the prompt being put together."""

    model: Bytes
    is_alias: bool  # The user has named the model: what the file calls itself does not count.
    engine: Engine | None
    scheduler: Scheduler | None
    template: ChatTemplate
    knows_template: bool
    prompt: Slice[u32]
    prompt_count: usize

    def start(self, model: Bytes, arena: Arena) -> None:
        """Name the model that will be loaded. The name is copied, and cut to a sensible length."""
        count = min(len(model), MODEL_NAME_BYTES_MAX)
        name = arena.slice(u8, count)
        name.copy_from(model[:count])
        self.model = name

    def attach(
        self, engine: Engine, scheduler: Scheduler, arena: Arena
    ) -> ChatTemplateError | None:
        """The model is loaded: serve it. An error is about chat only."""
        context = usize(engine.context)
        self.prompt = arena.slice(u32, context * PROMPT_CONTEXTS)
        text_max = context * MESSAGE_BYTES_A_TOKEN
        error = self.template.load(engine.gguf, engine.tokenizer, arena, text_max)
        self.knows_template = error is None
        name = engine.gguf.string(b"general.name")
        if not self.is_alias and not isinstance(name, Lookup) and len(name) > 0:
            self.model = name
        self.engine = engine
        self.scheduler = scheduler
        return error

    def loaded(self) -> Engine:
        """The engine; `ready` has said that it is there."""
        engine = self.engine
        assert engine is not None, "attach comes first"
        return engine

    def queue(self) -> Scheduler:
        """The scheduler; `ready` has said that it is there."""
        scheduler = self.scheduler
        assert scheduler is not None, "attach comes first"
        return scheduler

    def ready(self) -> bool:
        """Say whether the model is loaded."""
        return self.scheduler is not None

    def model_name(self) -> Bytes:
        """The id of the one model. A file may call itself anything: only this much is repeated."""
        return self.model[: prefix_length(self.model, MODEL_NAME_BYTES_MAX)]

    def context_tokens(self) -> usize:
        """Prompt and completion together; 0 while loading."""
        engine = self.engine
        return 0 if engine is None else usize(engine.context)

    def slot_count(self) -> u32:
        """Sequences at a time."""
        return self.loaded().sequences

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
        if token >= self.loaded().tokenizer.vocabulary.count:
            return PromptError.BAD_TOKEN
        if self.prompt_count >= len(self.prompt):
            return PromptError.TOO_LONG
        self.prompt[self.prompt_count] = token
        self.prompt_count += 1
        return None

    def prompt_begin(self) -> PromptError | None:
        """What the model wants in front of every text."""
        tokenizer = self.loaded().tokenizer
        return self.prompt_token(tokenizer.vocabulary.bos) if tokenizer.add_bos else None

    def prompt_text(self, text: Bytes, parse_special: bool) -> PromptError | None:
        """Append text."""
        out = self.prompt[self.prompt_count :]
        added = self.loaded().tokenizer.encode(text, out, parse_special)
        if isinstance(added, TokenizeError):
            return self.refused(added)
        self.prompt_count += added
        return None

    def prompt_chat(self) -> PromptError | None:
        """What the template puts before the first message."""
        if not self.knows_template:
            return PromptError.NO_TEMPLATE
        error = self.template.begin(self.loaded().tokenizer, self.prompt)
        return None if error is None else self.refused(error)

    def prompt_message(self, role: Bytes, content: Bytes) -> PromptError | None:
        """One message."""
        if len(role) + 1 + len(content) > len(self.template.text):
            return self.refused(TokenizeError.OUTPUT_FULL)
        error = self.template.add_message(self.loaded().tokenizer, role, content)
        self.prompt_count = self.template.count
        return None if error is None else self.refused(error)

    def prompt_reply(self) -> PromptError | None:
        """What the template puts before the reply."""
        count = self.template.finish(self.loaded().tokenizer, True)
        if isinstance(count, TokenizeError):
            return self.refused(count)
        self.prompt_count = count
        return None

    def refused(self, error: TokenizeError) -> PromptError:
        """What the tokenizer's refusal means. A prompt that did not fit counts as a full one."""
        if error == TokenizeError.OUTPUT_FULL:
            self.prompt_count = len(self.prompt)
            return PromptError.TOO_LONG
        return PromptError.BAD_TEXT

    def piece(self, token: u32) -> Bytes:
        """The bytes of a token."""
        return self.loaded().tokenizer.piece(token)

    def submit(self, params: GenerateParams, now_ns: u64) -> u32 | Refusal:
        """Queue the prompt. Returns its slot."""
        slot = self.queue().submit(self.prompt_tokens(), params, now_ns)
        if isinstance(slot, SubmitError):
            if slot == SubmitError.QUEUE_FULL:
                return Refusal.QUEUE_FULL
            return Refusal.EMPTY if slot == SubmitError.EMPTY else Refusal.TOO_LONG
        return slot

    def running(self) -> u32:
        """Sequences in the batch."""
        return self.queue().running()

    def waiting(self) -> u32:
        """Sequences in the queue."""
        return self.queue().waiting()

    def decode_steps(self) -> u64:
        """Forward passes so far."""
        return self.queue().decode_steps

    def kv_used(self) -> u64:
        """Cache positions in use."""
        total: u64 = 0
        for request in self.queue().requests:
            if request.state == SlotState.PREFILL or request.state == SlotState.DECODE:
                total += request.computed
        return total

    def kv_total(self) -> u64:
        """Cache positions there are."""
        engine = self.loaded()
        return u64(engine.context) * engine.sequences

    def step(self, now_ns: u64) -> bool:
        """One forward pass, if there is work for one."""
        scheduler = self.scheduler
        return scheduler is not None and scheduler.step(now_ns)

    def text(self, slot: u32) -> Bytes:
        """Text that was not consumed yet."""
        return self.queue().text(slot)

    def consume(self, slot: u32, count: usize) -> None:
        """The first `count` bytes of `text` were taken."""
        self.queue().consume(slot, count)

    def finish(self, slot: u32) -> Finish:
        """Why the sequence ended, or NONE."""
        scheduler = self.queue()
        if scheduler.state(slot) != SlotState.DONE:
            return Finish.NONE
        reason = scheduler.finish_reason(slot)
        if reason == FinishReason.LENGTH:
            return Finish.LENGTH
        return Finish.CANCELLED if reason == FinishReason.CANCELLED else Finish.STOP

    def prompt_length(self, slot: u32) -> u32:
        """Tokens of the prompt."""
        return self.queue().prompt_tokens(slot)

    def cached_length(self, slot: u32) -> u32:
        """Tokens of the prompt that were not computed again."""
        return self.queue().cached_tokens(slot)

    def completion_length(self, slot: u32) -> u32:
        """Tokens generated so far."""
        return self.queue().completion_tokens(slot)

    def cancel(self, slot: u32) -> None:
        """Stop a sequence, wherever it is."""
        self.queue().cancel(slot)

    def release(self, slot: u32) -> None:
        """The slot may be used again."""
        self.queue().release(slot)
