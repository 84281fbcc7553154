"""UTF-8 sequences (RFC 3629, section 4): what is well formed, and how long it is."""

from bare import Bytes, usize


def sequence_length(data: Bytes, at: usize) -> usize:
    """Bytes of the well-formed sequence at `at`, or 0: overlong, surrogate, cut or stray."""
    first = data[at]
    if first < 0x80:
        return 1
    if first < 0xC2 or first > 0xF4:
        return 0
    length: usize = 2
    low = 0x80
    high = 0xBF
    if first >= 0xF0:
        length = 4
        if first == 0xF0:
            low = 0x90
        if first == 0xF4:
            high = 0x8F
    elif first >= 0xE0:
        length = 3
        if first == 0xE0:
            low = 0xA0
        if first == 0xED:
            high = 0x9F
    if at + length > len(data):
        return 0
    if data[at + 1] < low or data[at + 1] > high:
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
