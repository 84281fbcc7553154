r"""Pre-tokenizers: where a byte-level BPE text is cut before merging.

Hand-written scanners, equal to the regular expressions of the tokenizers they serve:

GPT2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
SMOLLM  every \p{N} alone first, then GPT2 on what lies between (Digits, then ByteLevel)
LLAMA3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}
        | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+

Each alternative is tried in order at the current place; together they match any character, so the
pieces cover the text. `next_piece` depends on nothing before its start.
"""

from enum import Enum, auto

from bare import Bytes, u8, usize
from merlion.engine.unicode import LETTER, NUMBER, OTHER, SPACE, class_at, decode_at

APOSTROPHE = 0x27
BLANK = 0x20
LONG_S = 0x17F  # Folds to "s", so (?i:'s) matches it.


class PreTokenizer(Enum):
    """The scanner that `tokenizer.ggml.pre` asks for."""

    GPT2 = auto()
    SMOLLM = auto()
    LLAMA3 = auto()


def find_pre_tokenizer(name: Bytes) -> PreTokenizer | None:
    """The scanner of a `tokenizer.ggml.pre` name; None for one that is not known exactly."""
    if name == b"gpt-2":
        return PreTokenizer.GPT2
    if name == b"smollm":
        return PreTokenizer.SMOLLM
    if name == b"llama-bpe" or name == b"llama-v3" or name == b"llama3":
        return PreTokenizer.LLAMA3
    return None


def next_piece(kind: PreTokenizer, text: Bytes, start: usize) -> usize:
    """The end of the piece that begins at `start`, which is before the end of `text`."""
    match kind:
        case PreTokenizer.GPT2:
            return next_gpt2(text, start, False)
        case PreTokenizer.SMOLLM:
            return next_gpt2(text, start, True)
        case PreTokenizer.LLAMA3:
            return next_llama3(text, start)


def next_gpt2(text: Bytes, start: usize, numbers_end: bool) -> usize:
    """GPT2's piece. With `numbers_end` a number is a piece and ends the text before it."""
    contraction = contraction_length(text, start, False)
    if contraction != 0:
        return start + contraction
    kind, length = class_at(text, start)
    if kind == NUMBER and numbers_end:
        return start + length
    first = start
    if text[start] == BLANK and start + 1 < len(text):
        kind, length = class_at(text, start + 1)
        first = start + 1
        if kind == NUMBER and numbers_end:
            return start + 1
    if kind != SPACE:
        return end_of_class(text, first + length, kind)
    return end_of_spaces(text, start, numbers_end)


def next_llama3(text: Bytes, start: usize) -> usize:
    """LLAMA3's piece."""
    contraction = contraction_length(text, start, True)
    if contraction != 0:
        return start + contraction
    kind, length = class_at(text, start)
    after = start + length
    if kind == LETTER:
        return end_of_class(text, after, LETTER)
    if kind == NUMBER:
        return end_of_digits(text, after)
    line_end = is_line_end(text[start])
    if not line_end and after < len(text):
        next_kind, next_length = class_at(text, after)
        if next_kind == LETTER:
            return end_of_class(text, after + next_length, LETTER)
        if text[start] == BLANK and next_kind == OTHER:
            return end_of_punctuation(text, after + next_length)
    if kind == OTHER:
        return end_of_punctuation(text, after)

    return end_of_lines(text, start)


def end_of_lines(text: Bytes, start: usize) -> usize:
    r"""\s*[\r\n]+|\s+(?!\S)|\s+ : up to the last line end of the spaces, if there is one."""
    at = start
    last_line_end = start
    while at < len(text):
        kind, length = class_at(text, at)
        if kind != SPACE:
            break
        if is_line_end(text[at]):
            last_line_end = at + 1
        at += length
    if last_line_end > start:
        return last_line_end
    return end_of_spaces(text, start, False)


def is_line_end(byte: u8) -> bool:
    """Whether the byte is [\\r\\n]."""
    return byte in b"\r\n"


def end_of_class(text: Bytes, start: usize, kind: u8) -> usize:
    """The end of the run of characters of class `kind` from `start`."""
    at = start
    while at < len(text):
        found, length = class_at(text, at)
        if found != kind:
            break
        at += length
    return at


def end_of_digits(text: Bytes, start: usize) -> usize:
    """Up to two more \\p{N} from `start`."""
    at = start
    for _ in range(2):
        if at < len(text):
            kind, length = class_at(text, at)
            if kind != NUMBER:
                return at
            at += length
    return at


def end_of_punctuation(text: Bytes, start: usize) -> usize:
    """The end of [^\\s\\p{L}\\p{N}]*[\\r\\n]* from `start`."""
    at = end_of_class(text, start, OTHER)
    while at < len(text) and is_line_end(text[at]):
        at += 1
    return at


def end_of_spaces(text: Bytes, start: usize, numbers_end: bool) -> usize:
    """\\s+(?!\\S)|\\s+ : all spaces at the end of the text, else all but the last, at least one."""
    at = start
    last = start
    while at < len(text):
        kind, length = class_at(text, at)
        if kind == NUMBER and numbers_end:
            return at
        if kind != SPACE:
            return at if last == start else last
        last = at
        at += length
    return at


def contraction_length(text: Bytes, start: usize, any_case: bool) -> usize:
    """Bytes of 's 't 're 've 'm 'll 'd at `start`, 0 when there is none."""
    if text[start] != APOSTROPHE or start + 1 >= len(text):
        return 0
    code_point, length = decode_at(text, start + 1)
    if any_case and code_point == LONG_S:
        return 1 + length
    first = lower(text[start + 1], any_case)
    if first in b"stmd":
        return 2
    if start + 2 >= len(text):
        return 0
    second = lower(text[start + 2], any_case)
    if second == 0x65 and (first == 0x72 or first == 0x76):  # 're 've
        return 3
    if first == 0x6C and second == 0x6C:  # 'll
        return 3
    return 0


def lower(byte: u8, any_case: bool) -> u8:
    """ASCII lower case when `any_case`, else the byte itself."""
    if any_case and byte >= 0x41 and byte <= 0x5A:
        return byte + 0x20
    return byte
