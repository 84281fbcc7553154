"""Merging the symbols of one piece: the pair of the best priority first, the leftmost among equals.

Symbols form a linked list over the piece; candidate pairs wait in a binary min-heap as one u64
each, priority in the high half and the left symbol's position in the low half. A popped candidate
is stale when its left symbol is gone or its pair has another priority by now; then it is dropped
(the pair's own entry is in the heap as well). n symbols cost O(n log n).

Priorities: BYTE_PAIR the merge's rank; SENTENCE_PIECE the merged token's score, turned so that the
highest comes first.
"""

from bare import Arena, Bytes, Slice, Struct, bitcast, f32, u8, u32, u64, usize, wrap
from merlion.engine.limits import PIECE_BYTES_MAX
from merlion.engine.string_index import PROBES_MAX, slots_for
from merlion.engine.vocab import NO_TOKEN, Vocabulary, VocabularyModel

NO_PAIR = 0xFFFF_FFFF  # As a priority: the pair does not merge.
END = 0xFFFF_FFFF  # As a link: no symbol.
GONE = 0  # As a length: merged into the symbol on its left.


class Merge(Struct):
    """One merge of the table. Empty slots have merged == NO_TOKEN."""

    left: u32
    right: u32
    rank: u32
    merged: u32


class MergeTable(Struct):
    """BYTE_PAIR's merges by their two tokens; open addressing, bounded as in string_index.py."""

    slots: Slice[Merge]

    def allocate(self, arena: Arena, count: usize) -> bool:
        """Reserve room for `count` merges."""
        if not arena.fits(Merge, slots_for(count) + 4):
            return False
        self.slots = arena.slice(Merge, slots_for(count))
        for slot in self.slots:
            slot.merged = NO_TOKEN
        return True

    def insert(self, left: u32, right: u32, rank: u32, merged: u32) -> bool:
        """Add a merge; of equal pairs the first counts. False: no room for it."""
        slot = self.slot_of(left, right)
        if slot is None:
            return False
        if slot.merged == NO_TOKEN:
            slot.left = left
            slot.right = right
            slot.rank = rank
            slot.merged = merged
        return True

    def slot_of(self, left: u32, right: u32) -> Merge | None:
        """The merge of a pair, or the empty slot where it belongs; None where all are taken."""
        mask = len(self.slots) - 1
        mixed = wrap(u32, left * 0x9E37_79B1 + right * 0x85EB_CA77)
        at: usize = (mixed ^ mixed >> 15) & mask
        for _ in range(PROBES_MAX):
            slot = self.slots[at]
            if slot.merged == NO_TOKEN or (slot.left == left and slot.right == right):
                return slot
            at = (at + 1) & mask
        return None


class Symbol(Struct):
    """A part of the piece. `token` is NO_TOKEN while no token reads exactly this part."""

    token: u32
    start: u32
    length: u32
    previous: u32
    next: u32


class Merger(Struct):
    """Working memory for one piece of at most PIECE_BYTES_MAX bytes."""

    symbols: Slice[Symbol]
    count: usize
    heap: Slice[u64]
    heap_count: usize

    def allocate(self, arena: Arena) -> bool:
        """Reserve the working memory. A merge pops one candidate and pushes two at most."""
        if not arena.fits(u8, PIECE_BYTES_MAX * (20 + 24) + 3 * 64):
            return False
        self.symbols = arena.slice(Symbol, PIECE_BYTES_MAX)
        self.heap = arena.slice(u64, PIECE_BYTES_MAX * 3)
        return True

    def start(self) -> None:
        """Begin a piece."""
        self.count = 0
        self.heap_count = 0

    def add(self, token: u32, start: usize, length: u32) -> None:
        """Append a symbol of the piece."""
        symbol = self.symbols[self.count]
        symbol.token = token
        symbol.start = u32(start)
        symbol.length = length
        symbol.previous = END if self.count == 0 else u32(self.count - 1)
        symbol.next = END
        if self.count > 0:
            self.symbols[self.count - 1].next = u32(self.count)
        self.count += 1

    def merge(self, vocabulary: Vocabulary, merges: MergeTable, piece: Bytes) -> None:
        """Merge until no pair can be. The symbols left are linked from symbol 0."""
        for i in range(1, self.count):
            self.propose(vocabulary, merges, piece, u32(i - 1))
        while self.heap_count > 0:
            candidate = self.pop()
            at = candidate & 0xFFFF_FFFF
            left = self.symbols[at]
            if left.length == GONE or left.next == END:
                continue
            right = self.symbols[left.next]
            priority, token = pair_priority(vocabulary, merges, piece, left, right)
            if priority != candidate >> 32 or priority == NO_PAIR:
                continue
            left.token = token
            left.length += right.length
            left.next = right.next
            right.length = GONE
            if left.next != END:
                self.symbols[left.next].previous = u32(at)
                self.propose(vocabulary, merges, piece, u32(at))
            if left.previous != END:
                self.propose(vocabulary, merges, piece, left.previous)

    def propose(self, vocabulary: Vocabulary, merges: MergeTable, piece: Bytes, at: u32) -> None:
        """Push the pair that begins with symbol `at`, if it can merge."""
        left = self.symbols[at]
        right = self.symbols[left.next]
        priority, _ = pair_priority(vocabulary, merges, piece, left, right)
        if priority != NO_PAIR:
            self.push(u64(priority) << 32 | at)

    def push(self, candidate: u64) -> None:
        """Add to the heap."""
        at = self.heap_count
        self.heap_count += 1
        while at > 0:
            parent = (at - 1) // 2
            if self.heap[parent] <= candidate:
                break
            self.heap[at] = self.heap[parent]
            at = parent
        self.heap[at] = candidate

    def pop(self) -> u64:
        """Remove the smallest of the heap."""
        smallest = self.heap[0]
        self.heap_count -= 1
        count = self.heap_count
        last = self.heap[count]
        at: usize = 0
        child: usize = 1
        while child < count:
            if child + 1 < count and self.heap[child + 1] < self.heap[child]:
                child += 1
            if last <= self.heap[child]:
                break
            self.heap[at] = self.heap[child]
            at = child
            child = at * 2 + 1
        self.heap[at] = last
        return smallest


def pair_priority(
    vocabulary: Vocabulary, merges: MergeTable, piece: Bytes, left: Symbol, right: Symbol
) -> tuple[u32, u32]:
    """The priority of merging two neighbours, and the token they become."""
    if vocabulary.model == VocabularyModel.BYTE_PAIR:
        found = merges.slot_of(left.token, right.token)
        if found is None or found.merged == NO_TOKEN:
            return NO_PAIR, NO_TOKEN
        return found.rank, found.merged
    token = vocabulary.find(piece[left.start : right.start + right.length])
    if token == NO_TOKEN:
        return NO_PAIR, NO_TOKEN
    return score_priority(vocabulary.scores[token]), token


def score_priority(score: f32) -> u32:
    """An integer that is the smaller the higher the score; below NO_PAIR."""
    bits = bitcast(u32, score)
    if bits >> 31 != 0:
        return (bits & 0x7FFF_FFFF) + 0x7FFF_FFFF
    return 0x7FFF_FFFF - bits
