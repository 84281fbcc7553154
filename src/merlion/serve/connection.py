"""One client connection: its buffers, where it is in the protocol, and its timers.

Input layout, while a request is being read:

    [ head | decoded body | gap | raw bytes not looked at yet | free ]
      0      head_length    body_end  raw_start        raw_end

A small body is decoded in place; a larger one goes to the server's shared buffer, and then the part
after the head is only where raw bytes wait. Between requests everything before `raw_start` is done
with and `begin_request` moves the rest (pipelined requests) to the front.
"""

from enum import IntEnum

from bare import Bytes, Slice, Struct, u8, u64, usize
from merlion.serve.body import BodyDecoder
from merlion.serve.completion import Generation
from merlion.serve.http import Head
from merlion.serve.outbox import Outbox
from merlion.serve.pace import Pace


class Phase(IntEnum):
    """What the connection waits for."""

    FREE = 0
    HEAD = 1  # A request head; also idle between requests.
    BODY = 2
    LARGE_WAIT = 3  # The shared buffer for large bodies.
    GENERATE = 4  # The engine.
    DRAIN = 5  # The client, to take the reply; then the next request.
    CLOSING = 6  # The client, to take the last reply; then wants_close.


class Connection(Struct):
    """State of one connection. FREE ones keep their buffers."""

    phase: Phase
    close_after: bool  # No request may follow this one.
    uses_large: bool
    input: Slice[u8]
    raw_start: usize
    raw_end: usize
    searched: usize  # Raw bytes known not to end the head.
    head_length: usize
    body_end: usize
    head: Head
    decoder: BodyDecoder
    outbox: Outbox
    generation: Generation
    since_ns: u64  # When this phase began.
    arrival: Pace  # Of the body.
    departure: Pace  # Of what is pending, since something is.

    def reset(self, now_ns: u64) -> None:
        """Start as a new connection."""
        self.outbox.clear()
        self.close_after = False
        self.uses_large = False
        self.raw_start = 0
        self.raw_end = 0
        self.departure.begin(now_ns)
        self.begin_request(now_ns)

    @property
    def is_idle(self) -> bool:
        """Say whether the connection is between requests, with nothing on its way."""
        return self.phase == Phase.HEAD and self.raw_start == self.raw_end and self.outbox.is_empty

    def enter(self, phase: Phase, now_ns: u64) -> None:
        """Change phase."""
        self.phase = phase
        self.since_ns = now_ns

    def begin_request(self, now_ns: u64) -> None:
        """Read the next head; bytes of it may be here already."""
        count = self.raw_end - self.raw_start
        if self.raw_start > 0 and count > 0:
            self.input[:count].copy_from(self.input[self.raw_start : self.raw_end])
        self.raw_start = 0
        self.raw_end = count
        self.searched = 0
        self.head_length = 0
        self.body_end = 0
        self.enter(Phase.HEAD, now_ns)

    def take(self, data: Bytes, now_ns: u64) -> usize:
        """Copy in as much of `data` as there is room for. What follows the end is dropped."""
        if self.phase == Phase.CLOSING or (self.phase == Phase.DRAIN and self.close_after):
            return len(data)
        if self.phase == Phase.HEAD and self.raw_start == self.raw_end:
            self.since_ns = now_ns  # The first byte of a request.
        if self.raw_start == self.raw_end:
            self.raw_start = self.body_end
            self.raw_end = self.body_end
        elif len(self.input) - self.raw_end < len(data):
            self.close_gap()
        count = min(len(self.input) - self.raw_end, len(data))
        self.input[self.raw_end : self.raw_end + count].copy_from(data[:count])
        self.raw_end += count
        self.arrival.move(count, now_ns)
        return count

    def close_gap(self) -> None:
        """Move raw bytes down to where the body ends."""
        gap = self.raw_start - self.body_end
        if gap > 0:
            count = self.raw_end - self.raw_start
            target = self.input[self.body_end : self.body_end + count]
            target.copy_from(self.input[self.raw_start : self.raw_end])
            self.raw_start -= gap
            self.raw_end -= gap

    def raw(self) -> Slice[u8]:
        """Bytes received and not looked at yet."""
        return self.input[self.raw_start : self.raw_end]

    def skip_raw(self, count: usize) -> None:
        """The first `count` raw bytes are done with."""
        self.raw_start += count

    def begin_body(self) -> None:
        """The head is read: the body starts behind it."""
        self.raw_start = self.head_length
        self.body_end = self.head_length

    def body(self) -> Slice[u8]:
        """The body decoded so far, when it is decoded in place."""
        return self.input[self.head_length : self.body_end]

    def body_room(self) -> Slice[u8]:
        """Where the next body bytes go in place: up to the raw bytes, which they come from."""
        return self.input[self.body_end : self.raw_end]
