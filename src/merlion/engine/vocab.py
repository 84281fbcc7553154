"""The vocabulary: every token's bytes, type and score, found by text.

Keys: ggml/docs/gguf.md, "Tokenizer". Token texts are kept decoded, as the bytes they stand for:

- BYTE_PAIR (`gpt2`): the file spells each byte as one printable character (GPT-2's
  bytes_to_unicode); special and user-defined tokens are plain text.
- SENTENCE_PIECE (`llama`): U+2581 stands for a space; byte tokens are spelt <0x0A>.

Invariants: spans lie in `text`; `index` holds the tokens that plain text may become, i.e. not the
control, unknown and byte tokens; of equal texts the first one counts. An id that the file gives and
the vocabulary does not have is absent (NO_TOKEN), which is not an error.
"""

from enum import Enum, IntEnum, auto

from bare import Arena, Array, Bytes, Slice, Struct, array, f32, i32, u8, u32, usize
from merlion.engine.gguf import Gguf
from merlion.engine.gguf_value import Lookup, Reader, Value, ValueType, read_f32, read_u32
from merlion.engine.limits import END_TOKENS_MAX, TOKEN_BYTES_MAX, VOCABULARY_MAX
from merlion.engine.string_index import NOT_FOUND, Refusal, Span, StringIndex, slots_for
from merlion.engine.unicode import decode_at

NO_TOKEN = 0xFFFF_FFFF
BLANK = 0x20
NO_BYTE = 0xFFFF  # Code points that spell no byte.


class VocabularyModel(Enum):
    """How texts become tokens (`tokenizer.ggml.model`)."""

    BYTE_PAIR = auto()
    SENTENCE_PIECE = auto()


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class VocabularyError(Enum):
    """Why a vocabulary is refused. `error_name` names the key, model or merge."""

    MISSING_KEY = auto()
    WRONG_TYPE = auto()
    UNSUPPORTED_MODEL = auto()
    UNSUPPORTED_PRE_TOKENIZER = auto()
    TOKEN_COUNT = auto()
    TOKEN_TOO_LONG = auto()
    BAD_TOKEN_TYPE = auto()
    BAD_SCORE = auto()
    BAD_MERGE = auto()
    CROWDED = auto()
    TOO_MANY_SPECIAL_TOKENS = auto()
    OUT_OF_MEMORY = auto()


VOCABULARY_MESSAGES = {
    VocabularyError.MISSING_KEY: b"tokenizer key is missing",
    VocabularyError.WRONG_TYPE: b"tokenizer value has the wrong type or length",
    VocabularyError.UNSUPPORTED_MODEL: b"tokenizer model is not supported",
    VocabularyError.UNSUPPORTED_PRE_TOKENIZER: b"pre-tokenizer is not supported",
    VocabularyError.TOKEN_COUNT: b"no tokens, too many, or another number than the embedding has",
    VocabularyError.TOKEN_TOO_LONG: b"token text over 4096 bytes",
    VocabularyError.BAD_TOKEN_TYPE: b"unknown token type",
    VocabularyError.BAD_SCORE: b"token score is not a number",
    VocabularyError.BAD_MERGE: b"merge does not join two tokens into a third",
    VocabularyError.CROWDED: b"too many tokens or merges with the same hash",
    VocabularyError.TOO_MANY_SPECIAL_TOKENS: b"too many special tokens",
    VocabularyError.OUT_OF_MEMORY: b"not enough memory for the vocabulary",
}

# Control tokens that end a turn, whatever the file says (llama.cpp's special_eog_ids).
END_TEXTS = (
    b"<|im_end|>",
    b"<|endoftext|>",
    b"<|eot_id|>",
    b"<|eom_id|>",
    b"<|end|>",
    b"<|end_of_text|>",
    b"<|return|>",
    b"<end_of_turn>",
    b"<EOT>",
)


def _byte_of_code_point() -> tuple[int, ...]:
    """Invert GPT-2's bytes_to_unicode: printable bytes are themselves, the others U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = [NO_BYTE] * (0x100 + len(others))
    for byte in printable:
        table[byte] = byte
    for i, byte in enumerate(others):
        table[0x100 + i] = byte
    return tuple(table)


BYTE_OF_CODE_POINT = _byte_of_code_point()


class Vocabulary(Struct):
    """All tokens. Token ids are positions."""

    model: VocabularyModel
    count: u32
    text: Slice[u8]
    text_used: usize
    spans: Slice[Span]
    types: Slice[u8]  # TokenType.
    scores: Slice[f32]  # SENTENCE_PIECE only; the highest is merged first.
    index: StringIndex
    byte_tokens: Array[u32] = array(256)
    longest: u32  # Bytes of the longest token.
    bos: u32
    eos: u32
    unknown: u32
    end_count: u32
    end_tokens: Array[u32] = array(END_TOKENS_MAX)
    error_name: Bytes

    def load(self, gguf: Gguf, arena: Arena) -> VocabularyError | None:
        """Read the tokens. Their number is the embedding's; the caller compares."""
        model = gguf.string(b"tokenizer.ggml.model")
        if isinstance(model, Lookup):
            return self.fail_lookup(model, b"tokenizer.ggml.model")
        if model == b"gpt2":
            self.model = VocabularyModel.BYTE_PAIR
        elif model == b"llama":
            self.model = VocabularyModel.SENTENCE_PIECE
        else:
            return self.fail(VocabularyError.UNSUPPORTED_MODEL, model)
        tokens = gguf.array(b"tokenizer.ggml.tokens", ValueType.STRING)
        if isinstance(tokens, Lookup):
            return self.fail_lookup(tokens, b"tokenizer.ggml.tokens")
        if tokens.count < 1 or tokens.count > VOCABULARY_MAX:
            return self.fail(VocabularyError.TOKEN_COUNT, b"tokenizer.ggml.tokens")
        self.count = u32(tokens.count)
        if not self.allocate(arena, tokens):
            return self.fail(VocabularyError.OUT_OF_MEMORY, b"tokenizer.ggml.tokens")
        error = self.read_types(gguf)
        if error is not None:
            return error
        error = self.read_scores(gguf)
        if error is not None:
            return error
        error = self.read_tokens(gguf.value_data(tokens))
        if error is not None:
            return error
        self.bos = self.token_of_key(gguf, b"tokenizer.ggml.bos_token_id")
        self.eos = self.token_of_key(gguf, b"tokenizer.ggml.eos_token_id")
        self.unknown = self.token_of_key(gguf, b"tokenizer.ggml.unknown_token_id")
        self.find_end_tokens(gguf)
        return None

    def fail(self, error: VocabularyError, name: Bytes) -> VocabularyError:
        """Note what the error is about."""
        self.error_name = name
        return error

    def fail_lookup(self, reason: Lookup, key: Bytes) -> VocabularyError:
        """The error for a key without a usable value."""
        if reason == Lookup.ABSENT:
            return self.fail(VocabularyError.MISSING_KEY, key)
        return self.fail(VocabularyError.WRONG_TYPE, key)

    def allocate(self, arena: Arena, tokens: Value) -> bool:
        """Reserve the tables. Decoding never makes a text longer, so the file bounds `text`."""
        count = usize(self.count)
        text_bytes = tokens.length - count * 8
        slots = slots_for(count)
        if not arena.fits(u8, text_bytes + count * (16 + 1 + 4) + slots * 4 + 5 * 64):
            return False
        self.text = arena.slice(u8, text_bytes)
        self.text_used = 0
        self.spans = arena.slice(Span, count)
        self.types = arena.slice(u8, count)
        self.index.start(arena.slice(u32, slots))
        if self.model == VocabularyModel.SENTENCE_PIECE:
            self.scores = arena.slice(f32, count)
        return True

    def read_types(self, gguf: Gguf) -> VocabularyError | None:
        """Token types; all NORMAL when the file has none."""
        types = gguf.array(b"tokenizer.ggml.token_type", ValueType.I32)
        if isinstance(types, Lookup):
            if types == Lookup.WRONG_TYPE:
                return self.fail_lookup(types, b"tokenizer.ggml.token_type")
            self.types.fill(TokenType.NORMAL)
            return None
        if types.count != self.count:
            return self.fail(VocabularyError.WRONG_TYPE, b"tokenizer.ggml.token_type")
        data = gguf.value_data(types)
        for i in range(self.count):
            kind = read_u32(data, i * 4)
            if kind > TokenType.BYTE:
                return self.fail(VocabularyError.BAD_TOKEN_TYPE, b"tokenizer.ggml.token_type")
            self.types[i] = u8(kind)
        return None

    def read_scores(self, gguf: Gguf) -> VocabularyError | None:
        """Scores, which SENTENCE_PIECE must have."""
        if self.model != VocabularyModel.SENTENCE_PIECE:
            return None
        scores = gguf.array(b"tokenizer.ggml.scores", ValueType.F32)
        if isinstance(scores, Lookup):
            return self.fail_lookup(scores, b"tokenizer.ggml.scores")
        if scores.count != self.count:
            return self.fail(VocabularyError.WRONG_TYPE, b"tokenizer.ggml.scores")
        data = gguf.value_data(scores)
        for i in range(self.count):
            score = read_f32(data, i * 4)
            if score != score:
                return self.fail(VocabularyError.BAD_SCORE, b"tokenizer.ggml.scores")
            self.scores[i] = score
        return None

    def read_tokens(self, data: Bytes) -> VocabularyError | None:
        """Decode every text and index it."""
        self.byte_tokens[:].fill(NO_TOKEN)
        self.longest = 0
        reader = Reader(data=data)
        for i in range(self.count):
            spelt = reader.read_string()
            assert not reader.failed, "the array was checked by the reader of the file"
            if len(spelt) > TOKEN_BYTES_MAX:
                return self.fail(VocabularyError.TOKEN_TOO_LONG, b"tokenizer.ggml.tokens")
            span = self.spans[i]
            span.offset = self.text_used
            self.decode(spelt, self.types[i])
            span.length = u32(self.text_used - span.offset)
            self.longest = max(self.longest, span.length)
            if not self.index_token(u32(i)):
                return self.fail(VocabularyError.CROWDED, b"tokenizer.ggml.tokens")
        return None

    def decode(self, spelt: Bytes, kind: u8) -> None:
        """Append the bytes that a token's spelling stands for to `text`."""
        out = self.text[self.text_used :]
        value = byte_spelling(spelt) if kind == TokenType.BYTE else -1
        if value >= 0:
            out[0] = u8(value)
            self.text_used += 1
        elif self.model == VocabularyModel.SENTENCE_PIECE:
            self.text_used += unescape_spaces(spelt, out)
        elif kind == TokenType.NORMAL or kind == TokenType.UNUSED:
            self.text_used += decode_spelling(spelt, out)
        else:
            out[: len(spelt)].copy_from(spelt)
            self.text_used += len(spelt)

    def index_token(self, token: u32) -> bool:
        """Make a token findable: by text, or as the token of one byte. False: no room for it."""
        kind = self.types[token]
        text = self.bytes_of(token)
        if kind == TokenType.BYTE and len(text) == 1:
            self.byte_tokens[text[0]] = token
            return True
        if kind == TokenType.CONTROL or kind == TokenType.UNKNOWN or kind == TokenType.BYTE:
            return True
        if len(text) == 0:
            return True
        refusal = self.index.insert(self.spans, self.text, token)
        if refusal is not None:
            return refusal == Refusal.DUPLICATE
        if self.model == VocabularyModel.BYTE_PAIR and len(text) == 1:
            self.byte_tokens[text[0]] = token
        return True

    def token_of_key(self, gguf: Gguf, key: Bytes) -> u32:
        """The token id under a metadata key; NO_TOKEN when absent or outside the vocabulary."""
        value = gguf.unsigned(key)
        if isinstance(value, Lookup):
            return NO_TOKEN
        if value >= self.count:
            return NO_TOKEN
        return u32(value)

    def find_end_tokens(self, gguf: Gguf) -> None:
        """Collect the tokens that end a generation: by key, then by well-known text."""
        self.end_count = 0
        self.add_end_token(self.eos)
        self.add_end_token(self.token_of_key(gguf, b"tokenizer.ggml.eot_token_id"))
        self.add_end_token(self.token_of_key(gguf, b"tokenizer.ggml.eom_token_id"))
        for i in range(self.count):
            if self.types[i] == TokenType.CONTROL:
                text = self.bytes_of(u32(i))
                for known in END_TEXTS:
                    if text == known:
                        self.add_end_token(u32(i))

    def add_end_token(self, token: u32) -> None:
        """Note an end token once; beyond END_TOKENS_MAX none."""
        if token == NO_TOKEN or self.is_end(token) or self.end_count == END_TOKENS_MAX:
            return
        self.end_tokens[self.end_count] = token
        self.end_count += 1

    def is_end(self, token: u32) -> bool:
        """Whether a generation ends with this token."""
        for i in range(self.end_count):
            if self.end_tokens[i] == token:
                return True
        return False

    def is_control(self, token: u32) -> bool:
        """Whether the token steers the model and has no text in an answer."""
        kind = self.types[token]
        return kind == TokenType.CONTROL or kind == TokenType.UNKNOWN

    def bytes_of(self, token: u32) -> Bytes:
        """The bytes that a token stands for, of control tokens their name."""
        span = self.spans[token]
        return self.text[span.offset : span.offset + span.length]

    def find(self, text: Bytes) -> u32:
        """The token that plain text reads exactly, or NO_TOKEN."""
        return self.index.find(self.spans, self.text, text)

    def find_control(self, text: Bytes) -> u32:
        """The control (or user-defined) token of this name, or NO_TOKEN. Not for hot paths."""
        for i in range(self.count):
            kind = self.types[i]
            named = kind == TokenType.CONTROL or kind == TokenType.USER_DEFINED
            if named and self.bytes_of(u32(i)) == text:
                return u32(i)
        return NO_TOKEN


assert NOT_FOUND == NO_TOKEN  # Vocabulary.find passes one on as the other.


def decode_spelling(spelt: Bytes, out: Slice[u8]) -> usize:
    """Write the bytes that a BYTE_PAIR spelling stands for. Returns their number.

    Characters that spell no byte stand for themselves. The result is never longer than `spelt`.
    """
    written: usize = 0
    at: usize = 0
    while at < len(spelt):
        first = spelt[at]
        if first > 0x20 and first < 0x7F:
            out[written] = first
            written += 1
            at += 1
            continue
        code_point, length = decode_at(spelt, at)
        byte: u32 = NO_BYTE
        if code_point < len(BYTE_OF_CODE_POINT):
            byte = BYTE_OF_CODE_POINT[code_point]
        if byte != NO_BYTE:
            out[written] = u8(byte)
            written += 1
        else:
            out[written : written + length].copy_from(spelt[at : at + length])
            written += length
        at += length
    return written


def unescape_spaces(source: Bytes, out: Slice[u8]) -> usize:
    """Copy `source` with every U+2581 (E2 96 81) as a space. Returns the bytes written."""
    written: usize = 0
    at: usize = 0
    while at < len(source):
        byte = source[at]
        if byte == 0xE2 and source[at:].startswith(b"\xe2\x96\x81"):
            byte = BLANK
            at += 2
        out[written] = byte
        written += 1
        at += 1
    return written


def byte_spelling(text: Bytes) -> i32:
    """The value of a byte token's spelling, `<0x0A>`; -1 for any other text."""
    if len(text) != 6 or not text.startswith(b"<0x") or text[5] != 0x3E:
        return -1
    high = hex_digit(text[3])
    low = hex_digit(text[4])
    if high < 0 or low < 0:
        return -1
    return high * 16 + low


def hex_digit(byte: u8) -> i32:
    """The value of a hexadecimal digit, -1 for another character."""
    if byte >= 0x30 and byte <= 0x39:
        return i32(byte) - 0x30
    if byte >= 0x41 and byte <= 0x46:
        return i32(byte) - 0x41 + 10
    if byte >= 0x61 and byte <= 0x66:
        return i32(byte) - 0x61 + 10
    return -1
