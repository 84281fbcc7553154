"""JSON texts out (RFC 8259, section 7): escapes, and nothing else to get wrong.

Bytes that are not UTF-8 come out as U+FFFD, so that a reply is always valid JSON.
"""

from bare import Bytes, u8, usize
from bare.text import Writer
from merlion.serve.utf8 import sequence_length


def must_escape(byte: u8) -> bool:
    """Quotes, backslashes, control bytes; DEL too, which some terminals act on."""
    return byte < 0x20 or byte == 0x22 or byte == 0x5C or byte == 0x7F


def write_escape(out: Writer, byte: u8) -> None:
    """One byte for which `must_escape` holds."""
    if byte == 0x0A:
        out.text(b"\\n")
    elif byte == 0x0D:
        out.text(b"\\r")
    elif byte == 0x09:
        out.text(b"\\t")
    elif byte == 0x22:
        out.text(b'\\"')
    elif byte == 0x5C:
        out.text(b"\\\\")
    else:
        out.text(b"\\u00")
        out.hex(byte, 2)


def write_escaped(out: Writer, text: Bytes) -> None:
    """The inside of a string: at most six bytes for each one of `text`."""
    clean: usize = 0  # Start of the run that needs no escape.
    at: usize = 0
    while at < len(text):
        byte = text[at]
        length: usize = 0 if must_escape(byte) else sequence_length(text, at)
        if length > 0:
            at += length
            continue
        out.text(text[clean:at])
        if must_escape(byte):
            write_escape(out, byte)
        else:
            out.text(b"\\ufffd")
        at += 1
        clean = at
    out.text(text[clean:])


def write_string(out: Writer, text: Bytes) -> None:
    """A whole string."""
    out.byte(0x22)
    write_escaped(out, text)
    out.byte(0x22)


def write_string_or_null(out: Writer, text: Bytes) -> None:
    """A string; an empty one is null."""
    if len(text) == 0:
        out.text(b"null")
    else:
        write_string(out, text)
