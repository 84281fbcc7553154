"""ChatML, recognised from the template that the file carries, and rendered straight to tokens.

A file's `tokenizer.chat_template` is Jinja. This module reads no Jinja: it knows the ways in which
ChatML is written (chat_patterns.py) and refuses every other template by name, since a wrong prompt
gives wrong answers without an error. A file without a template is ChatML when its vocabulary has
the two ChatML tokens.

    <|im_start|>role\\ncontent<|im_end|>\\n ... <|im_start|>assistant\\n

Role and content are encoded as plain text between the two tokens: nothing in a message can become
a control token. The pieces between tokens are encoded whole, as a tokenizer would after rendering.
"""

from enum import Enum, auto

from bare import Arena, Bytes, Slice, Struct, u8, u32, usize
from merlion.engine.chat_patterns import HOLE, PATTERNS, TemplateScanner
from merlion.engine.gguf import Gguf
from merlion.engine.gguf_value import Lookup
from merlion.engine.limits import DEFAULT_SYSTEM_BYTES_MAX
from merlion.engine.tokenizer import TokenizeError, Tokenizer
from merlion.engine.vocab import NO_TOKEN


class ChatTemplateError(Enum):
    """Why there is no chat."""

    WRONG_TYPE = auto()
    UNRECOGNISED_TEMPLATE = auto()
    NO_TEMPLATE = auto()
    MISSING_TOKEN = auto()
    OUT_OF_MEMORY = auto()


CHAT_TEMPLATE_MESSAGES = {
    ChatTemplateError.WRONG_TYPE: b"tokenizer.chat_template is not a string",
    ChatTemplateError.UNRECOGNISED_TEMPLATE: b"chat template is not recognised (only ChatML is)",
    ChatTemplateError.NO_TEMPLATE: b"model has no chat template and no ChatML tokens",
    ChatTemplateError.MISSING_TOKEN: b"chat template is ChatML but the vocabulary lacks its tokens",
    ChatTemplateError.OUT_OF_MEMORY: b"not enough memory for the chat template",
}


class ChatTemplate(Struct):
    """A recognised template, and the prompt being rendered (one at a time)."""

    start_token: u32  # <|im_start|>
    end_token: u32  # <|im_end|>
    has_default_system: bool
    default_system: Slice[u8]  # The system message when a chat begins with none.
    default_length: u32
    text: Slice[u8]  # What lies between two tokens, put together.
    out: Slice[u32]
    count: usize
    message_count: u32

    def load(
        self, gguf: Gguf, tokenizer: Tokenizer, arena: Arena, text_max: usize
    ) -> ChatTemplateError | None:
        """Recognise the file's template. One message holds up to `text_max` bytes."""
        if not arena.fits(u8, text_max + DEFAULT_SYSTEM_BYTES_MAX + 128):
            return ChatTemplateError.OUT_OF_MEMORY
        self.text = arena.slice(u8, text_max)
        self.default_system = arena.slice(u8, DEFAULT_SYSTEM_BYTES_MAX)
        self.has_default_system = False
        self.start_token = tokenizer.vocabulary.find_control(b"<|im_start|>")
        self.end_token = tokenizer.vocabulary.find_control(b"<|im_end|>")
        has_tokens = self.start_token != NO_TOKEN and self.end_token != NO_TOKEN
        source = gguf.string(b"tokenizer.chat_template")
        if isinstance(source, Lookup):
            if source == Lookup.WRONG_TYPE:
                return ChatTemplateError.WRONG_TYPE
            return None if has_tokens else ChatTemplateError.NO_TEMPLATE
        if not self.recognise(source):
            return ChatTemplateError.UNRECOGNISED_TEMPLATE
        return None if has_tokens else ChatTemplateError.MISSING_TOKEN

    def recognise(self, source: Bytes) -> bool:
        """Whether the template is ChatML; notes its default system message."""
        for i in range(len(PATTERNS)):
            if self.matches(source, PATTERNS[i]):
                return True
        return False

    def matches(self, source: Bytes, pattern: Bytes) -> bool:
        """Compare with one pattern, whose HOLE stands for any default system message."""
        scanner = TemplateScanner(source=source)
        self.has_default_system = False
        for expected in pattern:
            if expected == HOLE:
                length = scanner.read_text(self.default_system)
                if length < 0:
                    return False
                self.has_default_system = True
                self.default_length = u32(length)
            elif scanner.next() != expected:
                return False
        return scanner.next() < 0

    def begin(self, tokenizer: Tokenizer, out: Slice[u32]) -> TokenizeError | None:
        """Start a prompt in `out`."""
        self.out = out
        self.count = 0
        self.message_count = 0
        if tokenizer.add_bos:
            return self.put(tokenizer.vocabulary.bos)
        return None

    def add_message(
        self, tokenizer: Tokenizer, role: Bytes, content: Bytes
    ) -> TokenizeError | None:
        """Append a message."""
        if self.message_count == 0 and self.has_default_system and role != b"system":
            system = self.default_system[: self.default_length]
            error = self.put_message(tokenizer, b"system", system)
            if error is not None:
                return error
        self.message_count += 1
        return self.put_message(tokenizer, role, content)

    def finish(self, tokenizer: Tokenizer, add_generation_prompt: bool) -> usize | TokenizeError:
        """End the prompt, by default with the assistant's turn opened. Returns its tokens."""
        if add_generation_prompt:
            error = self.put(self.start_token)
            if error is not None:
                return error
            error = self.put_text(tokenizer, b"assistant\n")
            if error is not None:
                return error
        return self.count

    def put_message(
        self, tokenizer: Tokenizer, role: Bytes, content: Bytes
    ) -> TokenizeError | None:
        """One message in its tokens."""
        length = len(role) + 1 + len(content)
        if length > len(self.text):
            return TokenizeError.PIECE_TOO_LONG
        self.text[: len(role)].copy_from(role)
        self.text[len(role)] = 0x0A
        self.text[len(role) + 1 : length].copy_from(content)
        error = self.put(self.start_token)
        if error is not None:
            return error
        error = self.put_text(tokenizer, self.text[:length])
        if error is not None:
            return error
        error = self.put(self.end_token)
        if error is not None:
            return error
        return self.put_text(tokenizer, b"\n")

    def put(self, token: u32) -> TokenizeError | None:
        """Append one token."""
        if self.count >= len(self.out):
            return TokenizeError.OUTPUT_FULL
        self.out[self.count] = token
        self.count += 1
        return None

    def put_text(self, tokenizer: Tokenizer, text: Bytes) -> TokenizeError | None:
        """Append plain text."""
        added = tokenizer.encode(text, self.out[self.count :], False)
        if isinstance(added, TokenizeError):
            return added
        self.count += added
        return None
