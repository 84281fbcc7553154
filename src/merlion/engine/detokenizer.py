"""Tokens' bytes to text that may be sent: whole UTF-8, stop strings held back.

Bytes pass through three stages, one byte at a time:

    pending   the start of a character that is not complete; malformed bytes become U+FFFD, one for
              each maximal subpart (Unicode 15, section 3.9), as Python's errors="replace" does
    storage   complete characters, of which the last `held` bytes may be the start of a stop string
    text()    what is before those: never half a character, never part of a stop string

Invariant: start <= safe <= length <= len(storage); storage[start:safe] is text().
"""

from bare import Array, Bytes, Slice, Struct, array, u8, u32, usize
from merlion.engine.params import GenerateParams
from merlion.engine.stop import StopMatcher
from merlion.engine.unicode import continues, sequence_length

REPLACEMENT_BYTES = b"\xef\xbf\xbd"


class Detokenizer(Struct):
    """One answer's text. `storage` is the caller's and bounds the text that is not consumed."""

    storage: Slice[u8]
    start: usize
    length: usize
    safe: usize
    stopped: bool  # A stop string was found: the text ends before it.
    overflowed: bool  # The consumer did not keep up; text was lost.
    pending: Array[u8] = array(4)
    pending_count: u32
    matcher: StopMatcher

    def begin(self, storage: Slice[u8], params: GenerateParams) -> None:
        """Start an answer."""
        self.storage = storage
        self.start = 0
        self.length = 0
        self.safe = 0
        self.stopped = False
        self.overflowed = False
        self.pending_count = 0
        self.matcher.start(params)

    def room(self) -> usize:
        """Bytes of storage left. A push needs at most 3 times the piece's length, plus 12."""
        return len(self.storage) - (self.length - self.start)

    def push(self, piece: Bytes) -> None:
        """Add a token's bytes. Nothing happens after a stop string."""
        for byte in piece:
            if self.stopped:
                return
            self.push_byte(byte)
        self.settle()

    def finish(self) -> None:
        """End the answer: what was held back is text, a broken character is U+FFFD."""
        if self.stopped:
            return
        if self.pending_count > 0:
            self.put_replacement()
        if not self.stopped:
            self.safe = self.length

    def text(self) -> Bytes:
        """What may be sent and was not consumed."""
        return self.storage[self.start : self.safe]

    def consume(self, count: usize) -> None:
        """Forget the first `count` bytes of text()."""
        assert count <= self.safe - self.start, "no more than text() gave"
        self.start += count

    def push_byte(self, byte: u8) -> None:
        """Take one byte through the UTF-8 stage."""
        if self.pending_count == 0:
            self.begin_character(byte)
            return
        if not continues(self.pending[0], self.pending_count, byte):
            self.put_replacement()
            if not self.stopped:
                self.begin_character(byte)
            return
        self.pending[self.pending_count] = byte
        self.pending_count += 1
        if self.pending_count == sequence_length(self.pending[0]):
            for i in range(self.pending_count):
                self.put(self.pending[i])
            self.pending_count = 0

    def begin_character(self, byte: u8) -> None:
        """Take the first byte of a character."""
        length = sequence_length(byte)
        if length == 1:
            self.put(byte)
        elif length == 0:
            self.put_replacement()
        else:
            self.pending[0] = byte
            self.pending_count = 1

    def put_replacement(self) -> None:
        """Put U+FFFD for a malformed subpart."""
        self.pending_count = 0
        for byte in REPLACEMENT_BYTES:
            self.put(byte)

    def put(self, byte: u8) -> None:
        """Put one byte of a complete character through the stop stage."""
        if self.stopped:
            return
        if self.length == len(self.storage):
            self.compact()
        if self.length == len(self.storage):
            self.overflowed = True
            return
        self.storage[self.length] = byte
        self.length += 1
        found = self.matcher.advance(byte)
        if found > 0:
            self.stopped = True
            self.length -= found
            self.safe = self.length

    def settle(self) -> None:
        """Release what no stop string can claim, at a character's boundary."""
        if self.stopped:
            return
        safe = self.length - self.matcher.held()
        # A stop string may begin inside a character only if it is not UTF-8; do not cut there.
        while safe > self.safe and safe < self.length and self.storage[safe] & 0xC0 == 0x80:
            safe -= 1
        self.safe = max(self.safe, safe)

    def compact(self) -> None:
        """Move what was not consumed to the front."""
        count = self.length - self.start
        self.storage[:count].copy_from(self.storage[self.start : self.length])
        self.safe -= self.start
        self.length = count
        self.start = 0
