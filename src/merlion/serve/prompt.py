"""The prompt of a request: from the place in the body where it stands to tokens in the backend.

`messages` is read one message at a time, so no list of them is ever built. The body was checked
as JSON before; what is checked here is its shape. Text is decoded in place, and the text parts of
one message are joined in place too (with a line feed between, as llama-server does).
"""

from bare import Bytes, Slice, Struct, u8, u32, usize
from merlion.serve.backend import Backend
from merlion.serve.errors import ApiError, invalid, too_long, unsupported
from merlion.serve.json_reader import JsonReader, Token, parse_integer
from merlion.serve.limits import MESSAGES_MAX
from merlion.serve.members import read_members
from merlion.serve.outcome import PromptError

MESSAGES_MESSAGE = b"messages must be a list of 1 to 4096 objects."
ROLE_MESSAGE = b"role must be system, developer, user, assistant or tool."
CONTENT_MESSAGE = b"content must be a string, a list of text parts, or null."
PARTS_MESSAGE = b"Only content parts of type text are supported."
PROMPT_MESSAGE = b"prompt must be one string or one list of token ids."


class Part(Struct):
    """One part of a message's content while it is read."""

    text: Bytes
    found: bool

    def member(self, reader: JsonReader, key: Bytes, first: Token) -> ApiError | None:
        """Only text, and nothing that says to be something else."""
        if key == b"type" and (first != Token.STRING or reader.text() != b"text"):
            return unsupported(b"messages", PARTS_MESSAGE)
        if key == b"text" and first == Token.STRING:
            self.text = reader.text()
            self.found = True
        return None


class Message(Struct):
    """One chat message while it is read."""

    role: Bytes
    content: Bytes

    def member(self, reader: JsonReader, key: Bytes, first: Token) -> ApiError | None:
        """Role and content; the rest (names, tool calls) is not for this model."""
        if key == b"content":
            return self.read_content(reader, first)
        if key == b"role":
            if first != Token.STRING:
                return invalid(b"messages", ROLE_MESSAGE)
            self.role = reader.text()
        return None

    def settle_role(self) -> bool:
        """Newer clients say `developer` for `system`, older ones `function` for `tool`."""
        if self.role == b"developer":
            self.role = b"system"
        elif self.role == b"function":
            self.role = b"tool"
        role = self.role
        return role == b"system" or role == b"user" or role == b"assistant" or role == b"tool"

    def read_content(self, reader: JsonReader, first: Token) -> ApiError | None:
        """A string, null, or a list of parts."""
        if first == Token.STRING:
            self.content = reader.text()
            return None
        if first == Token.NULL:
            return None
        if first != Token.ARRAY:
            return invalid(b"messages", CONTENT_MESSAGE)
        start = reader.at
        end = start
        while True:
            token = reader.next()
            if token == Token.ARRAY_END:
                self.content = reader.data[start:end]
                return None
            if token != Token.OBJECT:
                return invalid(b"messages", CONTENT_MESSAGE)
            part = Part.zeroed()
            error = read_members(reader, part)
            if error is not None:
                return error
            if not part.found:
                return invalid(b"messages", CONTENT_MESSAGE)
            text = part.text
            # The part's braces and quotes leave room for the line feed before it.
            if end > start:
                reader.data[end] = 0x0A
                end += 1
            reader.data[end : end + len(text)].copy_from(text)
            end += len(text)


def prompt_error(error: PromptError, backend: Backend, param: Bytes) -> ApiError:
    """What the backend's refusal means to the client."""
    if error == PromptError.TOO_LONG:
        count = max(backend.prompt_token_count(), backend.context_tokens())
        return too_long(param, count, backend.context_tokens())
    if error == PromptError.BAD_TOKEN:
        return invalid(param, b"The prompt holds a token id outside the vocabulary.")
    if error == PromptError.BAD_TEXT:
        return invalid(param, b"The prompt holds text that this model cannot take.")
    return unsupported(param, b"The chat template of this model is not supported.")


def read_messages(backend: Backend, body: Slice[u8], at: usize) -> ApiError | None:
    """Render the `messages` that start at `at` into the backend's prompt."""
    reader = JsonReader.zeroed(data=body, at=at)
    message = Message.zeroed()
    if reader.next() != Token.ARRAY:
        return invalid(b"messages", MESSAGES_MESSAGE)
    count = 0
    backend.prompt_clear()
    refused = backend.prompt_chat()
    while refused is None:
        token = reader.next()
        if token == Token.ARRAY_END:
            break
        count += 1
        if token != Token.OBJECT or count > MESSAGES_MAX:
            return invalid(b"messages", MESSAGES_MESSAGE)
        message.assign(Message.zeroed())
        error = read_members(reader, message)
        if error is not None:
            return error
        if not message.settle_role():
            return invalid(b"messages", ROLE_MESSAGE)
        refused = backend.prompt_message(message.role, message.content)
    if refused is None and count == 0:
        return invalid(b"messages", MESSAGES_MESSAGE)
    if refused is None:
        refused = backend.prompt_reply()
    return None if refused is None else prompt_error(refused, backend, b"messages")


def read_prompt(backend: Backend, body: Slice[u8], at: usize) -> ApiError | None:
    """Read the `prompt` of /v1/completions: text, a list of one text, or a list of token ids."""
    reader = JsonReader.zeroed(data=body, at=at)
    backend.prompt_clear()
    first = reader.next()
    if first == Token.STRING:
        return read_text(backend, reader)
    if first != Token.ARRAY:
        return invalid(b"prompt", PROMPT_MESSAGE)
    token = reader.next()
    if token == Token.STRING:
        error = read_text(backend, reader)
        if error is None and reader.next() != Token.ARRAY_END:
            return invalid(b"prompt", PROMPT_MESSAGE)
        return error
    while token != Token.ARRAY_END:
        error = read_token(backend, reader, token)
        if error is not None:
            return error
        token = reader.next()
    return None


def read_text(backend: Backend, reader: JsonReader) -> ApiError | None:
    """A prompt that is text; special tokens are recognised, as in a raw completion they must be."""
    refused = backend.prompt_begin()
    if refused is None:
        refused = backend.prompt_text(reader.text(), True)
    return None if refused is None else prompt_error(refused, backend, b"prompt")


def read_token(backend: Backend, reader: JsonReader, token: Token) -> ApiError | None:
    """One id of a prompt that is a list of token ids."""
    if token != Token.NUMBER:
        return invalid(b"prompt", PROMPT_MESSAGE)
    value = parse_integer(reader.raw)
    if value is None or value < 0 or value > 0xFFFF_FFFF:
        return invalid(b"prompt", PROMPT_MESSAGE)
    refused = backend.prompt_token(u32(value))
    return None if refused is None else prompt_error(refused, backend, b"prompt")
