r"""UTF-8 decoding and the character classes \p{L}, \p{N} and \s that pre-tokenizers split on.

The classes come from Python's `unicodedata` at import (general category L* or N*; White_Space)
as a two-level table: CLASS_BLOCKS[BLOCK_OF[code_point >> 7]][code_point & 127], equal blocks stored
once. A tokenizer trained with another Unicode version differs on code points that were unassigned.
"""

import unicodedata

from bare import Bytes, u8, u32, usize

OTHER = 0
LETTER = 1
NUMBER = 2
SPACE = 3

CODE_POINT_MAX = 0x10FFFF
REPLACEMENT = 0xFFFD
BLOCK_BITS = 7
BLOCK_SIZE = 1 << BLOCK_BITS

# The White_Space property (PropList.txt); it has not changed since Unicode 6.3.
_SPACES = frozenset((*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))).union(
    (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
)


def _class_of(code_point: int) -> int:
    if code_point in _SPACES:
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata.category(chr(code_point))[0], OTHER)


def _tables() -> tuple[bytes, bytes]:
    """Build the block index and the blocks."""
    numbers: dict[bytes, int] = {}
    index = bytearray()
    for start in range(0, CODE_POINT_MAX + 1, BLOCK_SIZE):
        # Planes 4 to 16 are unassigned or private: no letters, numbers or spaces.
        assigned = start < 0x40000
        block = bytes(_class_of(start + i) if assigned else OTHER for i in range(BLOCK_SIZE))
        index.append(numbers.setdefault(block, len(numbers)))
    return bytes(index), b"".join(numbers)


BLOCK_OF, CLASS_BLOCKS = _tables()


def class_of(code_point: u32) -> u8:
    """OTHER, LETTER, NUMBER or SPACE."""
    if code_point > CODE_POINT_MAX:
        return OTHER
    block: usize = BLOCK_OF[code_point >> BLOCK_BITS]
    return CLASS_BLOCKS[block * BLOCK_SIZE + (code_point & (BLOCK_SIZE - 1))]


def sequence_length(lead: u8) -> u32:
    """Bytes of the UTF-8 sequence that `lead` begins; 0 when no sequence begins with it."""
    if lead < 0x80:
        return 1
    if lead < 0xC2:
        return 0  # A continuation byte, or an overlong two-byte form.
    if lead < 0xE0:
        return 2
    if lead < 0xF0:
        return 3
    if lead < 0xF5:
        return 4
    return 0


def continues(lead: u8, position: u32, byte: u8) -> bool:
    """Whether `byte` may stand at `position` (from 1) behind `lead` (Unicode 15, table 3-7)."""
    if byte & 0xC0 != 0x80:
        return False
    if position != 1:
        return True
    if lead == 0xE0:
        return byte >= 0xA0  # Overlong below.
    if lead == 0xED:
        return byte < 0xA0  # Surrogates above.
    if lead == 0xF0:
        return byte >= 0x90
    if lead == 0xF4:
        return byte < 0x90  # Above U+10FFFF.
    return True


def decode_at(text: Bytes, at: usize) -> tuple[u32, u32]:
    """The code point at byte `at` and its length; (REPLACEMENT, 1) for a malformed byte."""
    lead = text[at]
    if lead < 0x80:
        return lead, 1
    length = sequence_length(lead)
    if length == 0 or len(text) - at < length:
        return REPLACEMENT, 1
    code_point: u32 = lead & (0x7F >> length)
    for i in range(1, length):
        byte = text[at + i]
        if not continues(lead, u32(i), byte):
            return REPLACEMENT, 1
        code_point = code_point << 6 | (byte & 0x3F)
    return code_point, length


def class_at(text: Bytes, at: usize) -> tuple[u8, u32]:
    """The class of the character at byte `at`, and its length in bytes."""
    code_point, length = decode_at(text, at)
    return class_of(code_point), length
