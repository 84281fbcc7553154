"""HTTP/1.1 request heads (RFC 9112 and 9110), sans IO.

`find_head` says where a head ends; `Head.parse` reads it. The head is judged only when it is
complete, so the answer does not depend on how the bytes were cut into segments.

Invariants, all of them against request smuggling (RFC 9112, section 11.2): lines end in CRLF and
hold no other CR or LF; no space before a colon, no folded lines; one Content-Length, digits only;
Transfer-Encoding is `chunked` alone, in HTTP/1.1 only and never beside Content-Length.
Slices in a `Head` point into the bytes it was parsed from.
"""

from enum import IntEnum

from bare import Bytes, Struct, u8, u32, u64, usize
from merlion.serve.limits import (
    HEAD_BYTES_MAX,
    HEADER_COUNT_MAX,
    REQUEST_LINE_BYTES_MAX,
)

CR = 0x0D
LF = 0x0A
CONTENT_LENGTH_DIGITS_MAX = 15


class Method(IntEnum):
    """The methods any of our resources knows; all others are OTHER."""

    OTHER = 0
    GET = 1
    HEAD = 2
    POST = 3
    OPTIONS = 4


class HttpError(IntEnum):
    """What is wrong with a request, as its status code. NEED_MORE is no error: read on."""

    NEED_MORE = 0
    BAD_REQUEST = 400
    TIMEOUT = 408
    TOO_LARGE = 413
    URI_TOO_LONG = 414
    EXPECTATION_FAILED = 417
    HEAD_TOO_LARGE = 431
    VERSION_NOT_SUPPORTED = 505


def _token_table() -> bytes:
    """Mark the bytes of a token (RFC 9110, section 5.6.2)."""
    allowed = b"!#$%&'*+-.^_`|~0123456789"
    return bytes(
        1 if byte in allowed or (chr(byte).isalpha() and byte < 128) else 0 for byte in range(256)
    )


TOKEN_BYTES = _token_table()


def is_token(text: Bytes) -> bool:
    """Say whether `text` is a token: a method or a field name."""
    if len(text) == 0:
        return False
    for byte in text:
        if TOKEN_BYTES[byte] == 0:
            return False
    return True


def lower(byte: u8) -> u8:
    """ASCII lower case."""
    if byte >= 0x41 and byte <= 0x5A:
        return byte | 0x20
    return byte


def same_name(name: Bytes, lower_name: Bytes) -> bool:
    """Compare ignoring ASCII case; `lower_name` is already in lower case."""
    if len(name) != len(lower_name):
        return False
    for i in range(len(name)):
        if lower(name[i]) != lower_name[i]:
            return False
    return True


def trim(text: Bytes) -> Bytes:
    """Without spaces and tabs at both ends."""
    start: usize = 0
    end = len(text)
    while start < end and text[start] in b" \t":
        start += 1
    while end > start and text[end - 1] in b" \t":
        end -= 1
    return text[start:end]


def has_item(list_value: Bytes, item: Bytes) -> bool:
    """Say whether a comma-separated list holds `item` (given in lower case)."""
    at: usize = 0
    while at <= len(list_value):
        rest = list_value[at:]
        comma = rest.find(b",")
        length = len(rest) if comma < 0 else usize(comma)
        if same_name(trim(rest[:length]), item):
            return True
        at += length + 1
    return False


def method_of(name: Bytes) -> Method:
    """The method with this (case-sensitive) name."""
    if name == b"GET":
        return Method.GET
    if name == b"POST":
        return Method.POST
    if name == b"HEAD":
        return Method.HEAD
    if name == b"OPTIONS":
        return Method.OPTIONS
    return Method.OTHER


def blank_length(data: Bytes) -> usize:
    """Bytes of empty lines before the request line, which are skipped (RFC 9112, section 2.2)."""
    at: usize = 0
    while at + 1 < len(data):
        if data[at] != CR or data[at + 1] != LF:
            break
        at += 2
    return at


def find_head(data: Bytes, seen: usize) -> usize | HttpError:
    """Length of the head that starts `data`, its empty line included.

    `seen` bytes were searched by an earlier call; only later ones are looked at again.
    """
    if len(data) > 0 and TOKEN_BYTES[data[0]] == 0 and data[0] != CR:
        return HttpError.BAD_REQUEST  # A TLS hello or line noise: say so at once.
    end = data.find(b"\r\n\r\n", seen - 3 if seen > 3 else 0)
    if end < 0 and len(data) < HEAD_BYTES_MAX:
        return HttpError.NEED_MORE
    line_end = data.find(b"\r\n")
    if line_end < 0 or line_end > REQUEST_LINE_BYTES_MAX:
        return HttpError.URI_TOO_LONG
    if end < 0 or end + 4 > HEAD_BYTES_MAX:
        return HttpError.HEAD_TOO_LARGE
    return usize(end) + 4


class Head(Struct):
    """One request head. `target` is the path alone; `query` what follows its question mark."""

    method: Method
    minor: u8  # HTTP/1.minor
    target: Bytes
    query: Bytes
    content_length: u64
    has_length: bool
    chunked: bool
    keep_alive: bool
    expect_continue: bool
    host_count: u32
    authorization: Bytes
    api_key: Bytes

    def parse(self, data: Bytes) -> HttpError | None:
        """Read the whole head in `data`, its final empty line included."""
        self.assign(Head.zeroed())
        line_end = data.find(b"\r\n")
        assert line_end >= 0, "find_head found the end of this head"
        at = usize(line_end)
        error = self.parse_request_line(data[:at])
        if error is not None:
            return error
        self.keep_alive = self.minor == 1

        at += 2
        count = 0
        while at < len(data) - 2:
            line_length = data[at:].find(b"\r\n")
            assert line_length > 0, "only the last line of a head is empty"
            line = data[at : at + usize(line_length)]
            count += 1
            if count > HEADER_COUNT_MAX:
                return HttpError.HEAD_TOO_LARGE
            error = self.parse_field(line)
            if error is not None:
                return error
            at += usize(line_length) + 2
        return self.judge()

    def parse_request_line(self, line: Bytes) -> HttpError | None:
        """`method SP request-target SP HTTP-version` (RFC 9112, section 3)."""
        method_end = line.find(b" ")
        if method_end <= 0:
            return HttpError.BAD_REQUEST
        name = line[: usize(method_end)]
        rest = line[usize(method_end) + 1 :]
        target_end = rest.find(b" ")
        if target_end <= 0 or not is_token(name):
            return HttpError.BAD_REQUEST
        version = rest[usize(target_end) + 1 :]
        if len(version) != 8 or not version.startswith(b"HTTP/") or version[6] != 0x2E:
            return HttpError.BAD_REQUEST
        if version[5] != 0x31:
            return HttpError.VERSION_NOT_SUPPORTED
        if version[7] != 0x30 and version[7] != 0x31:
            return HttpError.BAD_REQUEST
        self.minor = version[7] & 1
        self.method = method_of(name)
        return self.parse_target(rest[: usize(target_end)])

    def parse_target(self, target: Bytes) -> HttpError | None:
        """Origin form, absolute form (as a proxy sends it) or the asterisk of OPTIONS."""
        for byte in target:
            if byte <= 0x20 or byte >= 0x7F:
                return HttpError.BAD_REQUEST
        path = target
        if target.startswith(b"http://") or target.startswith(b"https://"):
            authority = target[usize(target.find(b"//")) + 2 :]
            slash = authority.find(b"/")
            path = b"/" if slash < 0 else authority[usize(slash) :]
        elif target[0] != 0x2F and not (target == b"*" and self.method == Method.OPTIONS):
            return HttpError.BAD_REQUEST
        mark = path.find(b"?")
        if mark >= 0:
            self.query = path[usize(mark) + 1 :]
            path = path[: usize(mark)]
        self.target = path
        return None

    def parse_field(self, line: Bytes) -> HttpError | None:
        """`field-name ":" OWS field-value OWS` (RFC 9112, section 5)."""
        colon = line.find(b":")
        if colon <= 0 or not is_token(line[: usize(colon)]):
            return HttpError.BAD_REQUEST
        value = trim(line[usize(colon) + 1 :])
        for byte in value:
            if (byte < 0x20 and byte != 0x09) or byte == 0x7F:
                return HttpError.BAD_REQUEST
        return self.apply(line[: usize(colon)], value)

    def apply(self, name: Bytes, value: Bytes) -> HttpError | None:
        """Take in the fields that matter; all others (Content-Type, Upgrade, …) are ignored."""
        if same_name(name, b"content-length"):
            return self.apply_length(value)
        if same_name(name, b"transfer-encoding"):
            if self.chunked or not same_name(value, b"chunked"):
                return HttpError.BAD_REQUEST
            self.chunked = True
        elif same_name(name, b"host"):
            self.host_count += 1
        elif same_name(name, b"connection"):
            self.apply_connection(value)
        elif same_name(name, b"expect"):
            if not same_name(value, b"100-continue"):
                return HttpError.EXPECTATION_FAILED
            self.expect_continue = self.minor == 1
        elif same_name(name, b"authorization"):
            self.authorization = value
        elif same_name(name, b"x-api-key"):
            self.api_key = value
        return None

    def apply_connection(self, value: Bytes) -> None:
        """`close` or, in HTTP/1.0, `keep-alive`; other options (upgrade, te) are not for us."""
        if has_item(value, b"close"):
            self.keep_alive = False
        elif self.minor == 0 and has_item(value, b"keep-alive"):
            self.keep_alive = True

    def apply_length(self, value: Bytes) -> HttpError | None:
        """Digits only, once: a repeated or signed length is how requests are smuggled."""
        if self.has_length or len(value) == 0:
            return HttpError.BAD_REQUEST
        total: u64 = 0
        for byte in value:
            if byte < 0x30 or byte > 0x39:
                return HttpError.BAD_REQUEST
            if total > 10**CONTENT_LENGTH_DIGITS_MAX:
                return HttpError.TOO_LARGE
            total = total * 10 + (byte - 0x30)
        self.has_length = True
        self.content_length = total
        return None

    def judge(self) -> HttpError | None:
        """The rules that need the whole head."""
        if self.chunked and (self.has_length or self.minor == 0):
            return HttpError.BAD_REQUEST
        if self.host_count > 1 or (self.host_count == 0 and self.minor == 1):
            return HttpError.BAD_REQUEST
        return None

    @property
    def has_body(self) -> bool:
        """Say whether body bytes follow this head."""
        return self.chunked or self.content_length > 0
