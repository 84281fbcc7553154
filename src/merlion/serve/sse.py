"""Server-sent events (WHATWG HTML, section 9.2) inside chunked coding (RFC 9112, section 7.1).

Invariant: the last chunk, which tells a client that the answer is whole, is written by `end_body`
alone, and only after `[DONE]`. A stream cut anywhere before it never looks complete.
"""

from bare import Bytes, u32, usize
from bare.text import Writer

EVENT_START = b"data: "
EVENT_END = b"\n\n"
DONE_EVENT = b"data: [DONE]\n\n"
COMMENT = b": still working\n\n"
LAST_CHUNK = b"0\r\n\r\n"
# A chunk's size in up to eight hex digits and its two line ends.
FRAME_BYTES_MAX = 12


def hex_digit_count(value: usize) -> u32:
    """Digits of `value` in base 16."""
    count: u32 = 1
    rest = value >> 4
    while rest > 0:
        rest = rest >> 4
        count += 1
    return count


def write_part(out: Writer, payload: Bytes, chunked: bool) -> None:
    """A part of a body of unknown length. HTTP/1.0 has no chunks: there the end is the close."""
    if len(payload) == 0:
        return  # An empty chunk would end the body.
    if not chunked:
        out.text(payload)
        return
    out.hex(len(payload), hex_digit_count(len(payload)))
    out.text(b"\r\n")
    out.text(payload)
    out.text(b"\r\n")


def end_body(out: Writer, chunked: bool) -> None:
    """Say that the body is complete."""
    if chunked:
        out.text(LAST_CHUNK)
