"""Requests of the OpenAI API: JSON to a `GenerateRequest`, every field checked.

Source: the OpenAI API reference, `chat/completions` and `completions`, with llama-server's extra
fields (top_k, min_p, repeat_penalty, ignore_eos). Unknown fields are ignored and an explicit null
means absent; a field that we know but cannot honour is refused by name, never dropped in silence.

The body is read once for its fields and syntax, whatever their order. The prompt itself
(`messages` or `prompt`) is only located, and read from there by `prompt.py` once the rest is right.
"""

from bare import Bytes, Slice, Struct, f32, f64, i64, u8, u32, u64, usize, wrap
from merlion.engine.limits import PENALTY_WINDOW_MAX
from merlion.engine.params import GenerateParams
from merlion.serve.errors import ApiError, bad_json, invalid, unsupported
from merlion.serve.fields import FIELDS, FieldId, Kind
from merlion.serve.json_reader import JsonReader, Token, parse_integer, parse_number
from merlion.serve.members import read_body, read_members

TEMPERATURE_MAX = 10.0  # Clamped, as are top_k, top_p and min_p.
TOP_K_MAX = 1 << 20
STOP_MESSAGE = b"stop must be a string or a list of up to 4 strings of up to 256 bytes."
TOKENS_UNLIMITED = 0xFFFF_FFFF  # Up to the end of the context.


def clamp(value: f64, low: f64, high: f64) -> f64:
    """The nearest value in the range."""
    return min(max(value, low), high)


class StreamOptions(Struct):
    """`stream_options`: only `include_usage` matters."""

    include_usage: bool

    def member(self, reader: JsonReader, key: Bytes, first: Token) -> ApiError | None:
        """One option."""
        if key == b"include_usage":
            self.include_usage = first == Token.TRUE
        return None


class ResponseFormat(Struct):
    """`response_format`: free text is all we can promise, so a schema is refused."""

    is_text: bool

    def member(self, reader: JsonReader, key: Bytes, first: Token) -> ApiError | None:
        """One field."""
        if key == b"type":
            self.is_text = first == Token.STRING and reader.text() == b"text"
        return None


class GenerateRequest(Struct):
    """One request for a completion. `prompt_at` is where its prompt starts in the body."""

    params: GenerateParams
    chat: bool
    stream: bool
    include_usage: bool
    has_prompt: bool
    has_seed: bool
    has_tools: bool
    tools_off: bool
    prompt_at: usize

    def parse(self, body: Slice[u8], chat: bool) -> ApiError | None:
        """Read every field of `body`."""
        self.clear(chat)
        error = read_body(body, self)
        if error is not None:
            return error
        return self.judge()

    def clear(self, chat: bool) -> None:
        """Every field at its default."""
        self.assign(GenerateRequest.zeroed())
        self.chat = chat
        self.params.assign(GenerateParams())
        self.params.cache_prompt = True  # Results do not depend on it.

    def judge(self) -> ApiError | None:
        """The rules that need the whole request."""
        if not self.has_prompt:
            if self.chat:
                return invalid(b"messages", b"messages is required.")
            return invalid(b"prompt", b"prompt is required.")
        if self.has_tools and not self.tools_off:
            return unsupported(b"tools", b"tools are not supported; send tool_choice none.")
        return None

    def member(self, reader: JsonReader, key: Bytes, first: Token) -> ApiError | None:
        """One field of the body."""
        if first == Token.NULL:
            return None
        if key == (b"messages" if self.chat else b"prompt"):
            self.has_prompt = True
            self.prompt_at = reader.value_at
            return None
        for known in FIELDS:
            if key == known.name:
                return self.apply(reader, first, known.field, known.kind, known.name, known.message)
        return None

    def apply(
        self,
        reader: JsonReader,
        first: Token,
        field: FieldId,
        kind: Kind,
        name: Bytes,
        message: Bytes,
    ) -> ApiError | None:
        """Check the type of a known field, then take it in. `message` says what it must be."""
        right = True
        if kind == Kind.NUMBER:
            right = first == Token.NUMBER and self.set_number(field, parse_number(reader.raw))
        elif kind == Kind.INTEGER:
            value = parse_integer(reader.raw) if first == Token.NUMBER else None
            right = value is not None and self.set_integer(field, value)
        elif kind == Kind.FLAG:
            right = first == Token.TRUE or first == Token.FALSE
            if right:
                self.set_flag(field, first == Token.TRUE)
        elif kind == Kind.EMPTY:
            if not is_empty(reader, first):
                return unsupported(name, message)
        elif kind == Kind.ONE:
            if first != Token.NUMBER or parse_number(reader.raw) != 1.0:
                return unsupported(name, message)
        else:
            return self.apply_other(reader, first, field)
        return None if right else invalid(name, message)

    def apply_other(self, reader: JsonReader, first: Token, field: FieldId) -> ApiError | None:
        """The fields with a shape of their own."""
        if field == FieldId.STOP:
            return self.read_stop(reader, first)
        if field == FieldId.STREAM_OPTIONS:
            return self.read_stream_options(reader, first)
        if field == FieldId.RESPONSE_FORMAT:
            return read_response_format(reader, first)
        if field == FieldId.TOOLS:
            if first != Token.ARRAY:
                return invalid(b"tools", b"tools must be a list.")
            self.has_tools = reader.next() != Token.ARRAY_END
        elif first == Token.STRING:  # tool_choice
            self.tools_off = reader.text() == b"none"
        return None

    def set_number(self, field: FieldId, value: f64) -> bool:
        """A field that is a real number. Returns False when it is out of range."""
        params = self.params
        if field == FieldId.TEMPERATURE:
            params.temperature = f32(clamp(value, 0.0, TEMPERATURE_MAX))
        elif field == FieldId.TOP_P:
            params.top_p = f32(clamp(value, 0.0, 1.0))
        elif field == FieldId.MIN_P:
            params.min_p = f32(clamp(value, 0.0, 1.0))
        elif field == FieldId.TOP_K:
            params.top_k = u32(i64(clamp(value, 0.0, f64(TOP_K_MAX))))
        elif field == FieldId.REPEAT_PENALTY:
            if value < 0.01 or value > 10.0:
                return False
            params.repeat_penalty = f32(value)
        else:
            if value < -2.0 or value > 2.0:
                return False
            if field == FieldId.PRESENCE_PENALTY:
                params.presence_penalty = f32(value)
            else:
                params.frequency_penalty = f32(value)
        return True

    def set_integer(self, field: FieldId, value: i64) -> bool:
        """A field that is an integer. Returns False when it is out of range."""
        if field == FieldId.MAX_TOKENS:
            if value == 0 or value < -1:
                return False
            unlimited = value < 0 or value > TOKENS_UNLIMITED
            self.params.max_tokens = TOKENS_UNLIMITED if unlimited else u32(value)
        elif field == FieldId.SEED:
            self.has_seed = value != -1  # llama-server's way to ask for a random one.
            self.params.seed = wrap(u64, value)
        elif field == FieldId.REPEAT_LAST_N:
            if value < 0 or value > PENALTY_WINDOW_MAX:
                return False
            self.params.penalty_last_n = u32(value)
        return True

    def set_flag(self, field: FieldId, value: bool) -> None:
        """A field that is true or false."""
        if field == FieldId.STREAM:
            self.stream = value
        elif field == FieldId.IGNORE_EOS:
            self.params.ignore_eos = value
        elif field == FieldId.CACHE_PROMPT:
            self.params.cache_prompt = value

    def read_stop(self, reader: JsonReader, first: Token) -> ApiError | None:
        """`stop`: a string, or a list of up to four."""
        self.params.stop_count = 0
        if first == Token.STRING:
            return self.add_stop(reader.text())
        if first != Token.ARRAY:
            return invalid(b"stop", STOP_MESSAGE)
        while True:
            token = reader.next()
            if token == Token.ARRAY_END:
                return None
            if token == Token.ERROR:
                return bad_json()
            if token != Token.STRING:
                return invalid(b"stop", STOP_MESSAGE)
            error = self.add_stop(reader.text())
            if error is not None:
                return error

    def add_stop(self, text: Bytes) -> ApiError | None:
        """One stop string; an empty one stops nothing."""
        if len(text) == 0 or self.params.set_stop(self.params.stop_count, text):
            return None
        return invalid(b"stop", STOP_MESSAGE)

    def read_stream_options(self, reader: JsonReader, first: Token) -> ApiError | None:
        """An object, or nothing."""
        if first != Token.OBJECT:
            return invalid(b"stream_options", b"stream_options must be an object.")
        options = StreamOptions.zeroed()
        error = read_members(reader, options)
        self.include_usage = options.include_usage
        return error


def is_empty(reader: JsonReader, first: Token) -> bool:
    """Say whether a value asks for nothing: false, 0, an empty string, list or object."""
    if first == Token.ARRAY:
        return reader.next() == Token.ARRAY_END
    if first == Token.OBJECT:
        return reader.next() == Token.OBJECT_END
    if first == Token.STRING:
        return len(reader.raw) == 0
    if first == Token.NUMBER:
        return parse_number(reader.raw) == 0.0
    return first == Token.FALSE


def read_response_format(reader: JsonReader, first: Token) -> ApiError | None:
    """Only text will do."""
    if first != Token.OBJECT:
        return invalid(b"response_format", b"response_format must be an object.")
    wanted = ResponseFormat.zeroed()
    error = read_members(reader, wanted)
    if error is not None or wanted.is_text:
        return error
    return unsupported(b"response_format", b"response_format must be of type text.")
