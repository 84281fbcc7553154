"""Response heads (RFC 9112, section 4; CORS as the Fetch standard has it)."""

from bare import Bytes, u32, usize
from bare.text import Writer
from merlion.serve.errors import reason_phrase
from merlion.serve.limits import RETRY_AFTER_SECONDS

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
EVENTS = b"text/event-stream"
METRICS_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


def write_status(out: Writer, status: u32, keep_alive: bool) -> None:
    """The status line and the fields every response has."""
    out.text(b"HTTP/1.1 ")
    out.unsigned(status)
    out.byte(0x20)
    out.text(reason_phrase(status))
    out.text(b"\r\nServer: merlion\r\nAccess-Control-Allow-Origin: *\r\nConnection: ")
    out.text(b"keep-alive\r\n" if keep_alive else b"close\r\n")


def write_head(
    out: Writer, status: u32, content_type: Bytes, length: usize, keep_alive: bool
) -> None:
    """The head of a response whose length is known. The caller adds fields, then `end_head`."""
    write_status(out, status, keep_alive)
    out.text(b"Content-Type: ")
    out.text(content_type)
    out.text(b"\r\nContent-Length: ")
    out.unsigned(length)
    out.text(b"\r\n")


def write_retry(out: Writer) -> None:
    """When to come back, for 429 and 503."""
    out.text(b"Retry-After: ")
    out.unsigned(RETRY_AFTER_SECONDS)
    out.text(b"\r\n")


def write_allow(out: Writer, methods: Bytes) -> None:
    """Which methods a resource takes, for 405."""
    out.text(b"Allow: ")
    out.text(methods)
    out.text(b"\r\n")


def end_head(out: Writer) -> None:
    """The empty line."""
    out.text(b"\r\n")


def write_preflight(out: Writer, keep_alive: bool) -> None:
    """The whole reply to OPTIONS: any origin, our methods, any header a client may send."""
    write_status(out, 204, keep_alive)
    out.text(b"Allow: GET, HEAD, POST, OPTIONS\r\n")
    out.text(b"Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS\r\n")
    out.text(b"Access-Control-Allow-Headers: *, Authorization, Content-Type, X-Api-Key\r\n")
    out.text(b"Access-Control-Max-Age: 86400\r\n\r\n")


def write_stream_head(out: Writer, events: bool, chunked: bool, keep_alive: bool) -> None:
    """The head of a response whose length is not known yet."""
    write_status(out, 200, keep_alive and chunked)
    out.text(b"Content-Type: ")
    out.text(EVENTS if events else JSON)
    out.text(b"\r\n")
    if events:
        out.text(b"Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n")
    if chunked:
        out.text(b"Transfer-Encoding: chunked\r\n")
    out.text(b"\r\n")
