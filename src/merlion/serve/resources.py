"""The resources that are answered at once: models, health, metrics, props, (de)tokenize.

Each function writes a body into `out`; the server puts the head before it.
"""

from bare import Bytes, Slice, Struct, u8, u32, u64, usize
from bare.text import Writer
from merlion.serve.backend import Backend
from merlion.serve.errors import ApiError, invalid
from merlion.serve.json_reader import JsonReader, Token, parse_integer
from merlion.serve.json_writer import write_escaped
from merlion.serve.members import read_body
from merlion.serve.prompt import prompt_error
from merlion.serve.replies import write_model

TOKENS_MESSAGE = b"tokens must be a list of token ids."
REPLY_MESSAGE = b"The reply would be larger than this server's buffer; send less at a time."


def write_models(out: Writer, backend: Backend, created: u64) -> None:
    """The list of models: one, or none while it loads."""
    out.text(b'{"object":"list","data":[')
    if backend.ready():
        write_model(out, backend.model_name(), created, backend.context_tokens())
    out.text(b"]}")


def write_health(out: Writer) -> None:
    """Load balancers look at the status; people at this."""
    out.text(b'{"status":"ok"}')


class TokenizeRequest(Struct):
    """The body of /tokenize: llama-server's `content`, or vLLM's `prompt`."""

    content: Bytes
    found: bool
    parse_special: bool

    def member(self, reader: JsonReader, key: Bytes, first: Token) -> ApiError | None:
        """One field."""
        if key == b"content" or key == b"prompt":
            if first != Token.STRING:
                return invalid(b"content", b"content must be a string.")
            self.content = reader.text()
            self.found = True
        elif key == b"parse_special":
            self.parse_special = first != Token.FALSE
        return None


class DetokenizeRequest(Struct):
    """The body of /detokenize. `tokens_at` is where the list starts in the body."""

    tokens_at: usize
    found: bool

    def member(self, reader: JsonReader, key: Bytes, first: Token) -> ApiError | None:
        """The list is only located."""
        if key == b"tokens":
            if first != Token.ARRAY:
                return invalid(b"tokens", TOKENS_MESSAGE)
            self.tokens_at = reader.value_at
            self.found = True
        return None


def tokenize(out: Writer, backend: Backend, body: Slice[u8]) -> ApiError | None:
    """`{"tokens": [...], "count": n}`."""
    request = TokenizeRequest.zeroed(parse_special=True)
    error = read_body(body, request)
    if error is not None:
        return error
    if not request.found:
        return invalid(b"content", b"content is required.")
    backend.prompt_clear()
    refused = backend.prompt_text(request.content, request.parse_special)
    if refused is not None:
        return prompt_error(refused, backend, b"content")
    out.text(b'{"tokens":[')
    first = True
    for token in backend.prompt_tokens():
        if not first:
            out.byte(0x2C)
        out.unsigned(token)
        first = False
    out.text(b'],"count":')
    out.unsigned(backend.prompt_token_count())
    out.byte(0x7D)
    return invalid(b"content", REPLY_MESSAGE) if out.truncated else None


def detokenize(out: Writer, backend: Backend, text: Slice[u8], body: Slice[u8]) -> ApiError | None:
    """`{"content": "..."}`. `text` is scratch: escaping needs whole UTF-8 sequences."""
    request = DetokenizeRequest.zeroed()
    error = read_body(body, request)
    if error is not None:
        return error
    if not request.found:
        return invalid(b"tokens", b"tokens is required.")
    plain = Writer(text)
    error = read_pieces(JsonReader.zeroed(data=body, at=request.tokens_at), backend, plain)
    if error is not None:
        return error
    out.text(b'{"content":"')
    write_escaped(out, plain.written())
    out.text(b'"}')
    return invalid(b"tokens", REPLY_MESSAGE) if out.truncated or plain.truncated else None


def read_pieces(reader: JsonReader, backend: Backend, plain: Writer) -> ApiError | None:
    """The list of ids; their bytes go to `plain`."""
    reader.next()
    while True:
        token = reader.next()
        if token == Token.ARRAY_END:
            return None
        value = parse_integer(reader.raw) if token == Token.NUMBER else None
        if value is None or value < 0 or value > 0xFFFF_FFFF:
            return invalid(b"tokens", TOKENS_MESSAGE)
        plain.text(backend.piece(u32(value)))
