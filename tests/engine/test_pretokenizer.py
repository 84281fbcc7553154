"""Unicode classes and pre-tokenizers against Python and Hugging Face `tokenizers`."""

import unicodedata
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

from bare.testing import implementations
from merlion.engine.pretokenizer import PreTokenizer as Kind
from tests.engine.files import storage

impl = implementations("merlion.engine.pretokenizer", "merlion.engine.unicode")

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ORACLES: dict[Kind, PreTokenizer] = {
    Kind.GPT2: Split(Regex(GPT2), "isolated"),
    Kind.SMOLLM: Sequence([Digits(individual_digits=True), Split(Regex(GPT2), "isolated")]),
    Kind.LLAMA3: Split(Regex(LLAMA3), "isolated"),
}

TEXTS = [
    "Hello, world!  It's 2024\u2019s  \n\n  test\t\tx",
    "don't I'LL we'VE they'rE he'D I'M she'S 'tis ' 's ''s",
    "x\u00b2+y\u00b3=\u00bd \u2460\u2461\u2462 \u2177 12345678 1,000,000.50 v1.2.3-rc4",
    "\r\n\r\n a\r b \n\n\n !!!\n\n ???\r\n",
    "   leading and trailing   ",
    "a\u00a0b\u3000c\u2028d\u0085e \u200b \u200d\ufeff",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627",
    "word\u0301\u0302 combining \U0001f469\u200d\U0001f469 \U0001f600\U0001f600",
    "'\u017f '\u017fx '\u212a 'Sx 'LLx 'lL",
    " \t \n x",
    "\t1",
    " 1",
    "  1",
    " \n1",
    "1 ",
    "!a",
    "!!a",
    " !a",
    "\n!a",
    "\ta",
    "\n a",
    "\u00a0a",
]


def pieces(impl: Any, kind: Kind, text: str) -> list[str]:
    data = storage(text.encode())
    cuts = [0]
    while cuts[-1] < len(data):
        cuts.append(impl.next_piece(kind, data, cuts[-1]))
    return [bytes(data[start:end]).decode() for start, end in pairwise(cuts)]


def wanted(kind: Kind, text: str) -> list[str]:
    return [part for part, _ in ORACLES[kind].pre_tokenize_str(text)]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("text", TEXTS)
def test_known_texts(impl: Any, kind: Kind, text: str) -> None:
    assert pieces(impl, kind, text) == wanted(kind, text)


# Characters that every alternative cares about, and any that this Python knows to be assigned.
interesting = st.sampled_from(
    list(" \t\n\r'stmdrevlSTMDREVLx1\u00b2\u0663!.\u00a0\u2003\u3000\u0301\u4e2d\u017f")
)
assigned = st.characters(exclude_categories=["Cs", "Cn"], max_codepoint=0x2FFFF)


@pytest.mark.parametrize("kind", list(Kind))
@settings(max_examples=200, deadline=None)
@given(text=st.text(interesting | assigned, max_size=12))
def test_any_text(impl: Any, kind: Kind, text: str) -> None:
    assert pieces(impl, kind, text) == wanted(kind, text)


@pytest.mark.parametrize("kind", list(Kind))
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=24))
def test_malformed_text_is_covered(impl: Any, kind: Kind, data: bytes) -> None:
    text = storage(data)
    at = 0
    while at < len(text):
        end = impl.next_piece(kind, text, at)
        assert at < end <= len(text)
        at = end


def test_byte_level_uses_this_regex() -> None:
    """The GPT2 oracle is Hugging Face's ByteLevel: same cuts."""
    for text in TEXTS:
        spelt = ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
        assert [cut for _, cut in spelt] == [
            cut for _, cut in ORACLES[Kind.GPT2].pre_tokenize_str(text)
        ]


def test_classes(impl: Any) -> None:
    for code_point in [*range(0x3100), *range(0x3100, 0x110000, 997), 0xD800, 0x10FFFF]:
        category = unicodedata.category(chr(code_point))[0]
        found = impl.class_of(code_point)
        assert (found == impl.LETTER) == (category == "L"), hex(code_point)
        assert (found == impl.NUMBER) == (category == "N"), hex(code_point)
        if found == impl.SPACE:
            assert chr(code_point).isspace()


def test_spaces_are_pythons_without_its_separators(impl: Any) -> None:
    """str.isspace() also has U+001C to U+001F, which \\s has not."""
    for code_point in range(0x3001):
        space = chr(code_point).isspace() and not 0x1C <= code_point <= 0x1F
        assert (impl.class_of(code_point) == impl.SPACE) == space, hex(code_point)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(min_size=1, max_size=6) | st.text(min_size=1, max_size=2).map(str.encode))
def test_decode_at(impl: Any, data: bytes) -> None:
    code_point, length = impl.decode_at(storage(data), 0)
    text = data.decode("utf-8", "replace")
    try:
        assert data[:length].decode() == chr(code_point)
    except UnicodeDecodeError:
        assert (code_point, length) == (0xFFFD, 1)
        assert text[0] == "\ufffd"


def test_unknown_names_are_refused(impl: Any) -> None:
    assert impl.find_pre_tokenizer(b"smollm") == Kind.SMOLLM
    assert impl.find_pre_tokenizer(b"gpt-2") == Kind.GPT2
    assert impl.find_pre_tokenizer(b"llama-bpe") == Kind.LLAMA3
    for name in (b"default", b"qwen2", b"", b"gpt-2 "):
        assert impl.find_pre_tokenizer(name) is None
