"""A hash index from byte strings to their position in a table of spans.

Open addressing with linear probing; the slots live in caller-provided storage, a power of two at
least twice the number of strings, so that a probe always ends at an empty slot. The index holds
positions only: the strings stay where they are, as spans of one text.
"""

from bare import Bytes, Slice, Struct, u32, usize, wrap

NOT_FOUND = 0xFFFF_FFFF
FNV_OFFSET = 0x811C_9DC5
FNV_PRIME = 0x0100_0193


class Span(Struct):
    """A string's place in a text."""

    offset: usize
    length: u32


def slots_for(count: usize) -> usize:
    """Slots that an index of `count` strings wants."""
    slots: usize = 4
    while slots < count * 2:
        slots *= 2
    return slots


def hash_bytes(text: Bytes) -> u32:
    """FNV-1a, then folded so that the low bits depend on every byte's high bits."""
    return fold_hash(extend_hash(FNV_OFFSET, text))


def extend_hash(state: u32, text: Bytes) -> u32:
    """Continue an FNV-1a state: the hash of a concatenation is extended part by part."""
    value = state
    for byte in text:
        value = wrap(u32, (value ^ byte) * FNV_PRIME)
    return value


def fold_hash(state: u32) -> u32:
    """Finish an FNV-1a state."""
    return state ^ state >> 15


class StringIndex(Struct):
    """Positions by string. Slot values are position + 1; 0 is empty."""

    slots: Slice[u32]

    def start(self, slots: Slice[u32]) -> None:
        """Empty the index over `slots`, whose length is a power of two."""
        assert len(slots) & (len(slots) - 1) == 0, "slot count is a power of two"
        slots.fill(0)
        self.slots = slots

    def insert(self, spans: Slice[Span], text: Bytes, position: usize) -> bool:
        """Add spans[position]. False, and nothing added, when the string is there already."""
        span = spans[position]
        key = text[span.offset : span.offset + span.length]
        return self.insert_hashed(spans, text, position, key, hash_bytes(key))

    def insert_hashed(
        self, spans: Slice[Span], text: Bytes, position: usize, key: Bytes, hash: u32
    ) -> bool:
        """As insert, with the key and its hash at hand."""
        mask = len(self.slots) - 1
        slot: usize = hash & mask
        while self.slots[slot] != 0:
            if span_equals(spans[self.slots[slot] - 1], text, key):
                return False
            slot = (slot + 1) & mask
        self.slots[slot] = u32(position + 1)
        return True

    def find(self, spans: Slice[Span], text: Bytes, key: Bytes) -> u32:
        """The position of `key`, or NOT_FOUND."""
        return self.find_hashed(spans, text, key, hash_bytes(key))

    def find_hashed(self, spans: Slice[Span], text: Bytes, key: Bytes, hash: u32) -> u32:
        """As find, with the key's hash at hand."""
        if len(self.slots) == 0:
            return NOT_FOUND
        mask = len(self.slots) - 1
        slot: usize = hash & mask
        while self.slots[slot] != 0:
            position = self.slots[slot] - 1
            if span_equals(spans[position], text, key):
                return position
            slot = (slot + 1) & mask
        return NOT_FOUND


def span_equals(span: Span, text: Bytes, key: Bytes) -> bool:
    """Whether the span of `text` reads `key`."""
    if span.length != len(key):
        return False
    return text[span.offset : span.offset + span.length] == key
