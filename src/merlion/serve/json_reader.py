"""JSON texts (RFC 8259), read in place: no tree, no copy, no recursion.

`next()` gives one token after another; the caller looks at `text_raw` of a key, string or number.
The tokeniser never writes. `unescape` decodes a string over itself (the result is never longer) and
is therefore called at most once for each string.

Invariant: a text whose tokens ran to END is valid JSON, valid UTF-8, with no unpaired surrogates;
skipped values are checked just as well. Names that appear twice: the last one wins, by the caller.
"""

from enum import IntEnum

from bare import Array, Bytes, Slice, Struct, array, f64, i64, u8, u32, u64, usize
from merlion.serve.body import hex_value
from merlion.serve.limits import JSON_DEPTH_MAX
from merlion.serve.utf8 import sequence_length

QUOTE = 0x22
BACKSLASH = 0x5C
SAFE_INTEGER_MAX = 1 << 53
EXPONENT_MAX = 400  # Beyond this every double is zero or infinite.


class Token(IntEnum):
    """What `next` found."""

    END = 0
    ERROR = 1
    OBJECT = 2
    OBJECT_END = 3
    ARRAY = 4
    ARRAY_END = 5
    KEY = 6
    STRING = 7
    NUMBER = 8
    TRUE = 9
    FALSE = 10
    NULL = 11


class Expect(IntEnum):
    """What the grammar allows next."""

    VALUE = 0
    FIRST_ELEMENT = 1  # A value or `]`.
    FIRST_KEY = 2  # A key or `}`.
    NEXT = 3  # A comma or the end of the container.
    END = 4


def is_space(byte: u8) -> bool:
    """JSON white space."""
    return byte in b" \t\r\n"


def is_digit(byte: u8) -> bool:
    """A decimal digit."""
    return byte >= 0x30 and byte <= 0x39


class JsonReader(Struct):
    """A cursor over one JSON text."""

    data: Slice[u8]
    at: usize
    start: usize  # Of the last key, string or number, without quotes.
    end: usize
    value_at: usize  # Where the value of the last key begins.
    depth: u32
    expect: Expect
    token: Token
    escaped: bool  # The last key or string holds escapes.
    is_object: Array[u8] = array(JSON_DEPTH_MAX)

    @property
    def raw(self) -> Slice[u8]:
        """The last key, string or number as it stands in the text."""
        return self.data[self.start : self.end]

    def next(self) -> Token:
        """The next token. ERROR and END repeat for ever."""
        if self.token == Token.ERROR:
            return Token.ERROR
        self.token = self.scan()
        return self.token

    def text(self) -> Bytes:
        """The last key or string, decoded. Call it once: it writes over the escapes."""
        return unescape(self.raw) if self.escaped else self.raw

    def leave(self, outside: u32) -> bool:
        """Read past what is left of the containers deeper than `outside`. False on an error."""
        while self.depth > outside and self.token != Token.ERROR:
            self.next()
        return self.token != Token.ERROR

    def scan(self) -> Token:
        """One token by what the grammar expects."""
        self.skip_space()
        if self.at >= len(self.data):
            return Token.END if self.expect == Expect.END else Token.ERROR
        byte = self.data[self.at]
        if self.expect == Expect.END:
            return Token.ERROR
        if self.expect == Expect.NEXT:
            if byte != 0x2C:
                return self.close(byte)
            self.at += 1
            self.skip_space()
            if self.at >= len(self.data):
                return Token.ERROR
            byte = self.data[self.at]
            return self.key() if self.is_object[self.depth - 1] == 1 else self.value(byte)
        if self.expect == Expect.FIRST_KEY:
            return self.close(byte) if byte == 0x7D else self.key()
        if self.expect == Expect.FIRST_ELEMENT and byte == 0x5D:
            return self.close(byte)
        return self.value(byte)

    def skip_space(self) -> None:
        """Move to the next byte that matters."""
        while self.at < len(self.data) and is_space(self.data[self.at]):
            self.at += 1

    def close(self, byte: u8) -> Token:
        """The end of the innermost container."""
        in_object = self.is_object[self.depth - 1] == 1
        if byte != (0x7D if in_object else 0x5D):
            return Token.ERROR
        self.at += 1
        self.depth -= 1
        self.after_value()
        return Token.OBJECT_END if in_object else Token.ARRAY_END

    def after_value(self) -> None:
        """What may follow a complete value."""
        self.expect = Expect.END if self.depth == 0 else Expect.NEXT

    def open(self, object_opens: bool) -> Token:
        """The start of a container."""
        if self.depth >= JSON_DEPTH_MAX:
            return Token.ERROR
        self.is_object[self.depth] = 1 if object_opens else 0
        self.depth += 1
        self.at += 1
        self.expect = Expect.FIRST_KEY if object_opens else Expect.FIRST_ELEMENT
        return Token.OBJECT if object_opens else Token.ARRAY

    def key(self) -> Token:
        """A key and its colon."""
        if self.data[self.at] != QUOTE or not self.string():
            return Token.ERROR
        self.skip_space()
        if self.at >= len(self.data) or self.data[self.at] != 0x3A:
            return Token.ERROR
        self.at += 1
        self.value_at = self.at
        self.expect = Expect.VALUE
        return Token.KEY

    def value(self, byte: u8) -> Token:
        """Any value."""
        if byte == 0x7B or byte == 0x5B:
            return self.open(byte == 0x7B)
        token = Token.ERROR
        if byte == QUOTE:
            token = Token.STRING if self.string() else Token.ERROR
        elif byte == 0x2D or is_digit(byte):
            token = Token.NUMBER if self.number() else Token.ERROR
        elif self.literal(b"true"):
            token = Token.TRUE
        elif self.literal(b"false"):
            token = Token.FALSE
        elif self.literal(b"null"):
            token = Token.NULL
        self.after_value()
        return token

    def literal(self, word: Bytes) -> bool:
        """One of the three names."""
        if not self.data[self.at :].startswith(word):
            return False
        self.at += len(word)
        return True

    def string(self) -> bool:
        """A string from its opening quote; leaves `start`, `end` and `escaped`."""
        at = self.at + 1
        self.start = at
        self.escaped = False
        while at < len(self.data):
            byte = self.data[at]
            if byte == QUOTE:
                self.end = at
                self.at = at + 1
                return True
            if byte == BACKSLASH:
                self.escaped = True
                length = escape_length(self.data, at)
            elif byte < 0x20:
                length = 0
            else:
                length = sequence_length(self.data, at)
            if length == 0:
                self.at = at
                return False
            at += length
        self.at = at
        return False

    def number(self) -> bool:
        """`-? int frac? exp?`; leaves `start` and `end`."""
        self.start = self.at
        if self.data[self.at] == 0x2D:
            self.at += 1
        leading = self.at
        if self.digits() == 0 or (self.data[leading] == 0x30 and self.at > leading + 1):
            return False
        if self.at < len(self.data) and self.data[self.at] == 0x2E:
            self.at += 1
            if self.digits() == 0:
                return False
        if self.at < len(self.data) and self.data[self.at] in b"eE":
            self.at += 1
            if self.at < len(self.data) and self.data[self.at] in b"+-":
                self.at += 1
            if self.digits() == 0:
                return False
        self.end = self.at
        return True

    def digits(self) -> usize:
        """Skip digits; returns how many."""
        first = self.at
        while self.at < len(self.data) and is_digit(self.data[self.at]):
            self.at += 1
        return self.at - first


def read_hex4(data: Bytes, at: usize) -> u32:
    """Four hexadecimal digits at `at`, or 0x10000."""
    if at + 4 > len(data):
        return 0x10000
    value: u32 = 0
    for i in range(at, at + 4):
        digit = hex_value(data[i])
        if digit == 16:
            return 0x10000
        value = value * 16 + digit
    return value


def escape_length(data: Bytes, at: usize) -> usize:
    """Bytes of the escape at `at` (a surrogate pair is one), or 0 when it is not valid."""
    if at + 1 >= len(data):
        return 0
    if data[at + 1] != 0x75:
        return 2 if data[at + 1] in b'"\\/bfnrt' else 0
    unit = read_hex4(data, at + 2)
    if unit > 0xFFFF or (unit >= 0xDC00 and unit <= 0xDFFF):
        return 0
    if unit < 0xD800 or unit > 0xDFFF:
        return 6
    if at + 12 > len(data) or data[at + 6] != BACKSLASH or data[at + 7] != 0x75:
        return 0
    second = read_hex4(data, at + 8)
    return 12 if second >= 0xDC00 and second <= 0xDFFF else 0


def plain_escape(letter: u8) -> u8:
    """The byte a two-character escape stands for."""
    if letter == 0x62:
        return 0x08
    if letter == 0x66:
        return 0x0C
    if letter == 0x6E:
        return 0x0A
    if letter == 0x72:
        return 0x0D
    if letter == 0x74:
        return 0x09
    return letter


def write_scalar(out: Slice[u8], at: usize, scalar: u32) -> usize:
    """Encode one Unicode scalar value at `at`. Returns its bytes."""
    if scalar < 0x80:
        out[at] = u8(scalar)
        return 1
    if scalar < 0x800:
        out[at] = u8(0xC0 | scalar >> 6)
        out[at + 1] = u8(0x80 | scalar & 0x3F)
        return 2
    if scalar < 0x10000:
        out[at] = u8(0xE0 | scalar >> 12)
        out[at + 1] = u8(0x80 | scalar >> 6 & 0x3F)
        out[at + 2] = u8(0x80 | scalar & 0x3F)
        return 3
    out[at] = u8(0xF0 | scalar >> 18)
    out[at + 1] = u8(0x80 | scalar >> 12 & 0x3F)
    out[at + 2] = u8(0x80 | scalar >> 6 & 0x3F)
    out[at + 3] = u8(0x80 | scalar & 0x3F)
    return 4


def unescape(raw: Slice[u8]) -> Slice[u8]:
    """Decode a string the tokeniser accepted, over itself."""
    read: usize = 0
    write: usize = 0
    while read < len(raw):
        byte = raw[read]
        if byte != BACKSLASH:
            raw[write] = byte
            read += 1
            write += 1
            continue
        if raw[read + 1] != 0x75:
            raw[write] = plain_escape(raw[read + 1])
            read += 2
            write += 1
            continue
        scalar = read_hex4(raw, read + 2)
        read += 6
        if scalar >= 0xD800 and scalar <= 0xDFFF:
            low = read_hex4(raw, read + 2)
            scalar = 0x10000 + (scalar - 0xD800) * 0x400 + (low - 0xDC00)
            read += 6
        write += write_scalar(raw, write, scalar)
    return raw[:write]


def parse_integer(raw: Bytes) -> i64 | None:
    """The integer a number token stands for; None when it has a fraction or leaves 63 bits."""
    negative = raw[0] == 0x2D
    value: i64 = 0
    for i in range(1 if negative else 0, len(raw)):
        if not is_digit(raw[i]):
            return integral(parse_number(raw))
        if value > (2**63 - 10) // 10:
            return None
        value = value * 10 + (raw[i] - 0x30)
    return -value if negative else value


def integral(value: f64) -> i64 | None:
    """`1.0` and `1e3` are integers too, as far as doubles are exact."""
    if value > SAFE_INTEGER_MAX or value < -SAFE_INTEGER_MAX:
        return None
    whole = i64(value)
    return whole if f64(whole) == value else None


def parse_number(raw: Bytes) -> f64:
    """The double nearest a number token, to within a few units in the last place.

    Exact for up to 15 digits and powers of ten up to 22, which covers every parameter in use.
    """
    at: usize = 1 if raw[0] == 0x2D else 0
    mantissa: u64 = 0
    scale: i64 = 0
    fraction = False
    while at < len(raw) and (is_digit(raw[at]) or raw[at] == 0x2E):
        if raw[at] == 0x2E:
            fraction = True
        elif mantissa < 10**17:
            mantissa = mantissa * 10 + (raw[at] - 0x30)
            scale -= 1 if fraction else 0
        elif not fraction:
            scale += 1
        at += 1
    scale += parse_exponent(raw[at:])
    value = f64(mantissa)
    power: f64 = 1.0
    for _ in range(min(abs(scale), EXPONENT_MAX)):
        power *= 10.0
    if scale < 0:
        value /= power
    elif mantissa > 0:
        value *= power
    return -value if raw[0] == 0x2D else value


def parse_exponent(text: Bytes) -> i64:
    """`e`, a sign and digits, or nothing; clamped, because larger ones all mean the same."""
    value: i64 = 0
    for byte in text:
        if is_digit(byte) and value < 10_000:
            value = value * 10 + (byte - 0x30)
    return -value if len(text) > 1 and text[1] == 0x2D else value
