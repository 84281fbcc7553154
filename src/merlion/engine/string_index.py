"""A hash index from byte strings to their position in a table of spans.

Open addressing with linear probing; the slots live in caller-provided storage, a power of two at
least twice the number of strings. The index holds positions only: the strings stay where they are,
as spans of one text.

The hash has no key, so whoever makes a file can make its strings meet. No string is therefore put
further than PROBES_MAX slots from where its hash points, or looked for there: a file whose strings
crowd is refused, and an index of n strings costs at most n * PROBES_MAX comparisons.
"""

from enum import Enum, auto

from bare import Bytes, Slice, Struct, u32, usize, wrap

NOT_FOUND = 0xFFFF_FFFF
# Of 2**20 strings that nobody chose for their hashes the furthest is some 50 slots away.
PROBES_MAX = 256
FNV_OFFSET = 0x811C_9DC5
FNV_PRIME = 0x0100_0193


class Refusal(Enum):
    """Why a string was not added."""

    DUPLICATE = auto()
    CROWDED = auto()


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
    value: u32 = FNV_OFFSET
    for byte in text:
        value = wrap(u32, (value ^ byte) * FNV_PRIME)
    return value ^ value >> 15


class StringIndex(Struct):
    """Positions by string. Slot values are position + 1; 0 is empty."""

    slots: Slice[u32]

    def start(self, slots: Slice[u32]) -> None:
        """Empty the index over `slots`, whose length is a power of two."""
        assert len(slots) & (len(slots) - 1) == 0, "slot count is a power of two"
        slots.fill(0)
        self.slots = slots

    def insert(self, spans: Slice[Span], text: Bytes, position: usize) -> Refusal | None:
        """Add spans[position]."""
        span = spans[position]
        slot = self.slot_of(spans, text, text[span.offset : span.offset + span.length])
        if slot is None:
            return Refusal.CROWDED
        if self.slots[slot] != 0:
            return Refusal.DUPLICATE
        self.slots[slot] = u32(position + 1)
        return None

    def find(self, spans: Slice[Span], text: Bytes, key: Bytes) -> u32:
        """The position of `key`, or NOT_FOUND."""
        slot = self.slot_of(spans, text, key)
        if slot is None or self.slots[slot] == 0:
            return NOT_FOUND
        return self.slots[slot] - 1

    def slot_of(self, spans: Slice[Span], text: Bytes, key: Bytes) -> usize | None:
        """The slot of `key`, or the empty one where it belongs; None where all are taken."""
        if len(self.slots) == 0:
            return None
        mask = len(self.slots) - 1
        slot: usize = hash_bytes(key) & mask
        for _ in range(PROBES_MAX):
            taken = self.slots[slot]
            if taken == 0 or span_equals(spans[taken - 1], text, key):
                return slot
            slot = (slot + 1) & mask
        return None


def span_equals(span: Span, text: Bytes, key: Bytes) -> bool:
    """Whether the span of `text` reads `key`."""
    if span.length != len(key):
        return False
    return text[span.offset : span.offset + span.length] == key
