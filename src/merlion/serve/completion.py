"""One completion under way: tokens from the backend become events, or parts of one JSON reply.

A stream sends its head and the role at once, then a chunk for each piece of text, then why it
ended, the usage if asked for, `[DONE]`, and the end of the body. A whole reply is sent in parts too
(its text may be larger than any buffer), but its head only when there is text or an end, so that a
request that fails before its first token still gets a proper error.

Invariant: the end of the body is written only by `finish`; text is taken from the backend only
when there is room for it, so a client that does not read stops its own sequence and no other.
"""

from enum import IntEnum

from bare import Bytes, Slice, Struct, u8, u32, u64, usize
from bare.text import Writer
from merlion.serve.backend import Backend
from merlion.serve.json_writer import write_escaped
from merlion.serve.limits import EVENT_ROOM_BYTES, EVENT_TEXT_BYTES_MAX, KEEP_ALIVE_NS
from merlion.serve.metrics import Metrics
from merlion.serve.outbox import Outbox
from merlion.serve.outcome import Finish, finish_name
from merlion.serve.replies import (
    Completion,
    Usage,
    chunk_end,
    chunk_start,
    finish_chunk,
    reply_end,
    reply_start,
    role_chunk,
    usage_chunk,
)
from merlion.serve.response import write_stream_head
from merlion.serve.sse import COMMENT, DONE_EVENT, EVENT_END, EVENT_START, end_body
from merlion.serve.utf8 import prefix_length

# A whole reply is sent in parts of at least this much text, except for its last.
PART_TEXT_BYTES_MIN = 256


class Progress(IntEnum):
    """What `pump` did."""

    WAITING = 0
    MOVED = 1
    FINISHED = 2
    FAILED = 3  # The backend gave up. Whether an error can still be sent: see `started`.


class Generation(Struct):
    """The state of one completion; `slot` is the backend's."""

    completion: Completion
    slot: u32
    stream: bool
    chunked: bool
    keep_alive: bool
    started: bool  # The head is in the outbox.
    tokens_seen: u32
    submitted_ns: u64
    first_token_ns: u64
    last_token_ns: u64
    last_output_ns: u64

    def begin(self, outbox: Outbox, scratch: Slice[u8], now_ns: u64) -> None:
        """After `submit`: a stream says hello at once, so that the client knows it was accepted."""
        self.started = False
        self.tokens_seen = 0
        self.submitted_ns = now_ns
        self.first_token_ns = 0
        self.last_token_ns = now_ns
        self.last_output_ns = now_ns
        if self.stream:
            self.start(outbox)
            if self.completion.chat:
                out = Writer(scratch)
                out.text(EVENT_START)
                role_chunk(out, self.completion)
                out.text(EVENT_END)
                outbox.append_part(out.written(), self.chunked)

    def start(self, outbox: Outbox) -> None:
        """The head of the response."""
        out = Writer(outbox.storage[outbox.end :])
        write_stream_head(out, self.stream, self.chunked, self.keep_alive)
        assert not out.truncated, "room was made"
        outbox.end += out.length
        self.started = True

    def pump(
        self, backend: Backend, outbox: Outbox, scratch: Slice[u8], metrics: Metrics, now_ns: u64
    ) -> Progress:
        """Move what there is from the backend to the outbox."""
        self.count_tokens(backend, metrics, now_ns)
        moved = False
        while outbox.make_room(EVENT_ROOM_BYTES):
            finish = backend.finish(self.slot)
            text = backend.text(self.slot)
            if finish == Finish.CANCELLED:
                return Progress.FAILED
            if finish == Finish.NONE and len(text) < self.text_bytes_min():
                break
            self.last_output_ns = now_ns
            if len(text) == 0:
                self.finish(backend, outbox, scratch, metrics, now_ns)
                return Progress.FINISHED
            part = text[: prefix_length(text, EVENT_TEXT_BYTES_MAX)]
            self.write_text(outbox, scratch, part)
            backend.consume(self.slot, len(part))
            moved = True
        if self.stream and now_ns - self.last_output_ns >= KEEP_ALIVE_NS:
            if outbox.make_room(EVENT_ROOM_BYTES):
                outbox.append_part(COMMENT, self.chunked)
            self.last_output_ns = now_ns
        return Progress.MOVED if moved else Progress.WAITING

    def text_bytes_min(self) -> usize:
        """Text that is worth sending: a stream waits for nothing."""
        return 1 if self.stream else PART_TEXT_BYTES_MIN

    def write_text(self, outbox: Outbox, scratch: Slice[u8], part: Bytes) -> None:
        """One event, or one more part of a whole reply."""
        out = Writer(scratch)
        if self.stream:
            out.text(EVENT_START)
            chunk_start(out, self.completion)
            write_escaped(out, part)
            chunk_end(out, self.completion)
            out.text(EVENT_END)
        else:
            self.open_reply(outbox, out)
            write_escaped(out, part)
        assert not out.truncated, "an event fits the scratch buffer"
        outbox.append_part(out.written(), self.chunked)

    def open_reply(self, outbox: Outbox, out: Writer) -> None:
        """The head and the start of a whole reply, once."""
        if not self.started:
            self.start(outbox)
            reply_start(out, self.completion)

    def finish(
        self, backend: Backend, outbox: Outbox, scratch: Slice[u8], metrics: Metrics, now_ns: u64
    ) -> None:
        """Everything after the text; frees the slot."""
        usage = Usage.zeroed()
        self.fill_usage(usage, backend)
        finish = backend.finish(self.slot)
        reason = finish_name(finish)
        out = Writer(scratch)
        if self.stream:
            out.text(EVENT_START)
            finish_chunk(out, self.completion, reason)
            out.text(EVENT_END)
            if self.completion.include_usage:
                out.text(EVENT_START)
                usage_chunk(out, self.completion, usage)
                out.text(EVENT_END)
            out.text(DONE_EVENT)
        else:
            self.open_reply(outbox, out)
            reply_end(out, self.completion, reason, usage)
        assert not out.truncated, "an event fits the scratch buffer"
        outbox.append_part(out.written(), self.chunked)
        end = Writer(outbox.storage[outbox.end :])
        end_body(end, self.chunked)
        assert not end.truncated, "room was made"
        outbox.end += end.length
        backend.release(self.slot)
        self.count_finish(metrics, usage, finish, now_ns)

    def fill_usage(self, usage: Usage, backend: Backend) -> None:
        """Token counts and times of this completion."""
        usage.prompt_tokens = backend.prompt_length(self.slot)
        usage.completion_tokens = backend.completion_length(self.slot)
        usage.cached_tokens = backend.cached_length(self.slot)
        if self.first_token_ns > 0:
            usage.prompt_ns = self.first_token_ns - self.submitted_ns
            usage.predicted_ns = self.last_token_ns - self.first_token_ns

    def count_tokens(self, backend: Backend, metrics: Metrics, now_ns: u64) -> None:
        """Notice new tokens, for the latency histograms."""
        tokens = backend.completion_length(self.slot)
        fresh = tokens - self.tokens_seen
        if fresh == 0:
            return
        if self.first_token_ns == 0:
            self.first_token_ns = max(now_ns, 1)
            metrics.first_token.observe(now_ns - self.submitted_ns, False)
            fresh -= 1
        gap = (now_ns - self.last_token_ns) // max(fresh, 1)
        for _ in range(fresh):
            metrics.inter_token.observe(gap, False)
        self.tokens_seen = tokens
        self.last_token_ns = now_ns

    def count_finish(self, metrics: Metrics, usage: Usage, finish: Finish, now_ns: u64) -> None:
        """Add this completion to the totals."""
        metrics.prompt_tokens += usage.prompt_tokens
        metrics.prompt_tokens_cached += usage.cached_tokens
        metrics.prompt_ns += usage.prompt_ns
        metrics.tokens_predicted += usage.completion_tokens
        metrics.predicted_ns += usage.predicted_ns
        metrics.request.observe(now_ns - self.submitted_ns, True)
        if finish == Finish.LENGTH:
            metrics.finished_length += 1
        elif finish == Finish.CANCELLED:
            metrics.finished_abort += 1
        else:
            metrics.finished_stop += 1

    def abandon(self, backend: Backend, metrics: Metrics, now_ns: u64) -> None:
        """The client is gone, or the backend gave up: free the slot now."""
        backend.cancel(self.slot)
        usage = Usage.zeroed()
        self.fill_usage(usage, backend)
        self.count_finish(metrics, usage, Finish.CANCELLED, now_ns)
        backend.release(self.slot)
