"""HTTP/1.1 message bodies (RFC 9112, sections 6 and 7.1): by length, or chunked.

`BodyDecoder.decode` takes raw bytes from `source` and writes body bytes to `destination`. The two
may overlap when the destination lies at or before the source, which is how a small body is decoded
in place. Extensions and trailers are read, bounded and dropped.
"""

from enum import IntEnum

from bare import Slice, Struct, u8, u32, u64, usize
from merlion.serve.http import CR, LF, Head, HttpError
from merlion.serve.limits import CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX

CHUNK_SIZE_MAX = 1 << 48  # Far above any body limit, far below where arithmetic could trap.


class BodyState(IntEnum):
    """What the next raw byte is."""

    DONE = 0
    LENGTH = 1  # Data of a body with Content-Length.
    SIZE_FIRST = 2  # The first digit of a chunk size.
    SIZE = 3
    EXTENSION = 4  # Between the size and its CR.
    SIZE_LF = 5
    DATA = 6
    DATA_CR = 7
    DATA_LF = 8
    TRAILER_START = 9  # First byte of a trailer line, or the CR of the empty line that ends all.
    TRAILER = 10
    TRAILER_LF = 11
    LAST_LF = 12


def hex_value(byte: u8) -> u32:
    """The value of a hexadecimal digit, or 16."""
    if byte >= 0x30 and byte <= 0x39:
        return u32(byte) - 0x30
    folded = byte | 0x20
    if folded >= 0x61 and folded <= 0x66:
        return u32(folded) - 0x57
    return 16


class BodyDecoder(Struct):
    """Progress through one body. After `decode`, `consumed` and `produced` say how far it went."""

    state: BodyState
    remaining: u64  # Of the chunk, or of the whole body.
    total: u64  # Body bytes announced so far; never above `limit`.
    limit: u64
    line_bytes: u32
    trailer_bytes: u32
    consumed: usize
    produced: usize

    def start(self, head: Head, limit: u64) -> HttpError | None:
        """Begin the body that follows `head`. A body above `limit` is refused before any byte."""
        self.assign(BodyDecoder.zeroed())
        self.limit = limit
        if head.chunked:
            self.state = BodyState.SIZE_FIRST
            return None
        if head.content_length > limit:
            return HttpError.TOO_LARGE
        self.remaining = head.content_length
        self.total = head.content_length
        self.state = BodyState.LENGTH if self.remaining > 0 else BodyState.DONE
        return None

    @property
    def done(self) -> bool:
        """Say whether the body is complete."""
        return self.state == BodyState.DONE

    def decode(self, source: Slice[u8], destination: Slice[u8]) -> HttpError | None:
        """Go on until the body ends, `source` is used up or `destination` is full."""
        self.consumed = 0
        self.produced = 0
        while self.state != BodyState.DONE and self.consumed < len(source):
            if self.state == BodyState.LENGTH or self.state == BodyState.DATA:
                if not self.copy(source, destination):
                    return None
            else:
                error = self.frame(source[self.consumed])
                if error is not None:
                    return error
                self.consumed += 1
        return None

    def copy(self, source: Slice[u8], destination: Slice[u8]) -> bool:
        """Move data. Returns False when the destination is full."""
        count = min(len(source) - self.consumed, len(destination) - self.produced)
        if self.remaining < count:
            count = usize(self.remaining)
        if count == 0:
            return False
        part = source[self.consumed : self.consumed + count]
        destination[self.produced : self.produced + count].copy_from(part)
        self.consumed += count
        self.produced += count
        self.remaining -= count
        if self.remaining == 0:
            ends = self.state == BodyState.LENGTH
            self.state = BodyState.DONE if ends else BodyState.DATA_CR
        return True

    def frame(self, byte: u8) -> HttpError | None:
        """One byte of chunk framing."""
        state = self.state
        if state == BodyState.SIZE_FIRST or state == BodyState.SIZE:
            return self.size(byte)
        if state == BodyState.EXTENSION:
            return self.extension(byte)
        if state == BodyState.DATA_CR:
            self.state = BodyState.DATA_LF
            return None if byte == CR else HttpError.BAD_REQUEST
        if state == BodyState.TRAILER_START or state == BodyState.TRAILER:
            return self.trailer(byte)
        # Only the LF of a line is left.
        if byte != LF:
            return HttpError.BAD_REQUEST
        if state == BodyState.SIZE_LF:
            self.line_bytes = 0
            self.state = BodyState.DATA if self.remaining > 0 else BodyState.TRAILER_START
        elif state == BodyState.DATA_LF:
            self.state = BodyState.SIZE_FIRST
        elif state == BodyState.TRAILER_LF:
            self.state = BodyState.TRAILER_START
        else:
            self.state = BodyState.DONE
        return None

    def size(self, byte: u8) -> HttpError | None:
        """A digit of the chunk size, or what ends it."""
        digit = hex_value(byte)
        if digit == 16:
            if self.state == BodyState.SIZE_FIRST:
                return HttpError.BAD_REQUEST
            self.state = BodyState.EXTENSION
            if byte == CR or byte in b"; \t":
                return self.extension(byte)
            return HttpError.BAD_REQUEST
        self.state = BodyState.SIZE
        self.remaining = self.remaining * 16 + digit
        if self.remaining > CHUNK_SIZE_MAX or self.total + self.remaining > self.limit:
            return HttpError.TOO_LARGE
        return self.count_line()

    def extension(self, byte: u8) -> HttpError | None:
        """Skip to the CR that ends the size line."""
        if byte == CR:
            self.total += self.remaining
            self.state = BodyState.SIZE_LF
            return None
        if byte < 0x20 and byte != 0x09:
            return HttpError.BAD_REQUEST
        return self.count_line()

    def count_line(self) -> HttpError | None:
        """Bound the size line: extensions are noise at best."""
        self.line_bytes += 1
        return HttpError.BAD_REQUEST if self.line_bytes > CHUNK_LINE_BYTES_MAX else None

    def trailer(self, byte: u8) -> HttpError | None:
        """Skip trailer fields; an empty line ends the body."""
        self.trailer_bytes += 1
        if self.trailer_bytes > TRAILER_BYTES_MAX:
            return HttpError.HEAD_TOO_LARGE
        if byte == CR:
            first = self.state == BodyState.TRAILER_START
            self.state = BodyState.LAST_LF if first else BodyState.TRAILER_LF
            return None
        if byte < 0x20 and byte != 0x09:
            return HttpError.BAD_REQUEST
        self.state = BodyState.TRAILER
        return None
