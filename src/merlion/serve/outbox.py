"""Bytes on their way to one client: a buffer, then an optional constant tail (the chat page).

Invariant: what `pending` gives stays in place until `sent` says how much of it was taken.
"""

from bare import Bytes, Slice, Struct, u8, usize
from bare.text import Writer
from merlion.serve.sse import write_part


class Outbox(Struct):
    """`storage[start:end]` is pending, then all of `tail`."""

    storage: Slice[u8]
    start: usize
    end: usize
    tail: Bytes

    def pending(self) -> Bytes:
        """What to send next; empty when there is nothing."""
        if self.end > self.start:
            return self.storage[self.start : self.end]
        return self.tail

    def sent(self, count: usize) -> None:
        """The transport has taken the first `count` bytes of `pending`."""
        if self.end > self.start:
            assert count <= self.end - self.start, "more sent than was pending"
            self.start += count
            if self.start == self.end:
                self.start = 0
                self.end = 0
        else:
            self.tail = self.tail[count:]

    @property
    def is_empty(self) -> bool:
        """Say whether everything was sent."""
        return self.end == self.start and len(self.tail) == 0

    def clear(self) -> None:
        """Forget everything that was not sent."""
        self.start = 0
        self.end = 0
        self.tail = b""

    def make_room(self, count: usize) -> bool:
        """Try to have `count` bytes free. A tail must leave before anything can follow it."""
        if len(self.tail) > 0:
            return False
        if len(self.storage) - self.end < count and self.start > 0:
            length = self.end - self.start
            self.storage[:length].copy_from(self.storage[self.start : self.end])
            self.start = 0
            self.end = length
        return len(self.storage) - self.end >= count

    def append(self, payload: Bytes) -> None:
        """Add bytes for which `make_room` has said yes."""
        assert len(payload) <= len(self.storage) - self.end, "make_room comes first"
        self.storage[self.end : self.end + len(payload)].copy_from(payload)
        self.end += len(payload)

    def append_part(self, payload: Bytes, chunked: bool) -> None:
        """Add a part of a body of unknown length, with its framing."""
        out = Writer(self.storage[self.end :])
        write_part(out, payload, chunked)
        assert not out.truncated, "make_room comes first"
        self.end += out.length
