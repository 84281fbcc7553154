"""UTF-8 sequences (RFC 3629, section 4): what is well formed, and how long it is."""

from bare import Bytes, usize

# Bounds of the second byte by the first, 0xC2 to 0xF4: what rules out overlong forms (E0, F0),
# surrogates (ED) and scalars above 10FFFF (F4).
SECOND_LOW = bytes({0xE0: 0xA0, 0xF0: 0x90}.get(first, 0x80) for first in range(0xC2, 0xF5))
SECOND_HIGH = bytes({0xED: 0x9F, 0xF4: 0x8F}.get(first, 0xBF) for first in range(0xC2, 0xF5))


def sequence_length(data: Bytes, at: usize) -> usize:
    """Bytes of the well-formed sequence at `at`, or 0: overlong, surrogate, cut or stray."""
    first = data[at]
    if first < 0x80:
        return 1
    if first < 0xC2 or first > 0xF4:
        return 0
    length: usize = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if at + length > len(data):
        return 0
    second = data[at + 1]
    if second < SECOND_LOW[first - 0xC2] or second > SECOND_HIGH[first - 0xC2]:
        return 0
    for i in range(at + 2, at + length):
        if data[i] & 0xC0 != 0x80:
            return 0
    return length


def prefix_length(text: Bytes, limit: usize) -> usize:
    """The longest prefix of at most `limit` bytes that does not end inside a sequence."""
    if len(text) <= limit:
        return len(text)
    end = limit
    while end > 0 and limit - end < 4 and text[end] & 0xC0 == 0x80:
        end -= 1
    return limit if end == 0 or text[end] & 0xC0 == 0x80 else end
