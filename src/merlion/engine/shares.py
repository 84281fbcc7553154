"""One phase of work, cut into chunks and dealt out to the members of a team.

Every member has a queue of its own, a word on its own cache line: (phase number, next chunk, end).
It takes chunks from the front; a member that has none left takes them from the back of another's
queue. So a slow member loses work to the others, and one that does not run at all holds nobody up:
a phase ends when all its chunks are done, not when all members have arrived. Whoever reports the
last chunk deals out the next phase.

Invariants: a chunk is taken once; between taking a chunk and reporting it the phase cannot end, so
everything that describes the phase is stable for its holder and for nobody else. A queue is written
by the dealer only when it gets chunks: a dealer that is interrupted in between still holds the new
phase open, so it never overwrites a later one.
"""

from bare import Arena, Array, Slice, Struct, array, u8, u32, u64, usize, wrap
from bare.atomic import Atomic

LINE_PADDING_8 = 56  # To the end of a 64-byte cache line after a u64.
LINE_PADDING_4 = 60
CHUNKS_MAX = 65_535
NO_CHUNK = 0xFFFF_FFFF
FIELD = 0xFFFF


class Queue(Struct):
    """Chunks of one member: phase number << 32 | next << 16 | end."""

    word: Atomic[u64]
    padding: Array[u8] = array(LINE_PADDING_8)


class Shares(Struct):
    """The queues of a team."""

    queues: Slice[Queue]
    members: usize
    number: u32  # Of the phase; free-running, so that no two phases at once have the same.
    unfinished: Atomic[u32]  # Chunks not yet reported.
    padding: Array[u8] = array(LINE_PADDING_4)

    def init(self, arena: Arena, members_max: usize) -> None:
        """Make room for `members_max`; one takes part until `members` says more."""
        self.queues = arena.slice(Queue, members_max)
        self.members = 1

    def deal(self, chunks: usize) -> None:
        """Start a phase of `chunks` chunks; the one before has ended."""
        assert 0 < chunks <= CHUNKS_MAX
        number = wrap(u32, self.number + 1)
        self.number = number
        self.unfinished.store(u32(chunks))
        members = self.members
        for member in range(members):
            first = chunks * member // members
            end = chunks * (member + 1) // members
            if first < end:
                self.queues[member].word.store(u64(number) << 32 | u64(first) << 16 | u64(end))

    def take(self, member: usize) -> u32:
        """The next chunk of the member's own queue, or NO_CHUNK."""
        queue = self.queues[member]
        word = queue.word.load()
        while (word >> 16 & FIELD) < (word & FIELD):
            if queue.word.compare_exchange(word, word + 0x1_0000):
                return u32(word >> 16 & FIELD)
            word = queue.word.load()
        return NO_CHUNK

    def steal(self, member: usize) -> u32:
        """The last chunk of another's queue, nearest neighbour first, or NO_CHUNK."""
        for distance in range(1, self.members):
            queue = self.queues[(member + distance) % self.members]
            word = queue.word.load()
            while (word >> 16 & FIELD) < (word & FIELD):
                if queue.word.compare_exchange(word, word - 1):
                    return u32((word & FIELD) - 1)
                word = queue.word.load()
        return NO_CHUNK

    def report(self, chunks: u32) -> bool:
        """Count `chunks` as done. True: they were the last, and the caller deals on."""
        return self.unfinished.fetch_sub(chunks) == chunks


def share(total: usize, part: usize, parts: usize) -> tuple[usize, usize]:
    """The contiguous part [first, last) of `total` items that is number `part` of `parts`."""
    return total * part // parts, total * (part + 1) // parts


def overlap(first: usize, last: usize, start: usize, count: usize) -> tuple[usize, usize]:
    """The part of items [first, last) that lies in [start, start + count), counted from start."""
    low = max(first, start)
    high = min(last, start + count)
    if low >= high:
        return 0, 0
    return low - start, high - start
