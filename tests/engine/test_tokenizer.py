"""Tokenizers: llama.cpp's ids for SmolLM2, Hugging Face's for random vocabularies, round trips."""

import time
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

from bare import static, u32
from bare.testing import implementations
from merlion.engine.tokenizer import TokenizeError
from merlion.engine.tokenizer import Tokenizer as Ours
from tests.engine.files import (
    arena,
    decode,
    encode,
    keep,
    load_tokenizer,
    parse,
    reference,
    smollm2_file,
    storage,
    stories_tokenizer,
)
from tests.engine.gguf_builder import (
    ARRAY,
    BOOL,
    F32,
    I32,
    STRING,
    U32,
    Builder,
    byte_pair,
    bytes_to_unicode,
    sentence_piece,
)
from tests.engine.test_pretokenizer import LLAMA3

impl = implementations(
    "merlion.engine.tokenizer",
    "merlion.engine.vocab",
    "merlion.engine.merge",
    "merlion.engine.special_tokens",
)

MERGES = [
    (b"h", b"e"), (b"l", b"l"), (b"he", b"ll"), (b"hell", b"o"), (b" ", b"t"), (b" t", b"he"),
    (b"i", b"n"), (b"in", b"g"), (b" ", b" "), (b"  ", b"  "), (b"a", b"a"), (b"aa", b"aa"),
    (b"\n", b"\n"), (b"'", b"s"), (b"1", b"2"), (b"12", b"3"), (b"\xc3", b"\xa9"), (b"o", b"r"),
    (b"aa", b"a"), (b"l", b"o"), (b"e", b"l"),
]  # fmt: skip
SPECIAL = {"<|end|>": 3, "<|en": 4, "[user]": 4}


@cache
def pair(pre: str) -> tuple[Ours, Tokenizer]:
    """The same vocabulary here and in Hugging Face's library."""
    ours = load_tokenizer(byte_pair(MERGES, pre, **SPECIAL).build())
    spell = bytes_to_unicode()
    vocabulary = {}

    def spelt(text: bytes) -> str:
        return "".join(spell[byte] for byte in text)

    for token in range(ours.vocabulary.count):
        text = bytes(ours.vocabulary.bytes_of(token))
        if token >= len(SPECIAL):
            vocabulary[spelt(text)] = token
    shift = len(SPECIAL)

    merges = [(spelt(left), spelt(right)) for left, right in MERGES]
    model = BPE(
        {text: token - shift for text, token in vocabulary.items()},
        merges,
        ignore_merges=pre == "llama-bpe",
    )
    theirs = Tokenizer(model)
    level = ByteLevel(add_prefix_space=False)
    plain = ByteLevel(add_prefix_space=False, use_regex=False)
    theirs.pre_tokenizer = {
        "gpt-2": level,
        "smollm": Sequence([Digits(individual_digits=True), level]),
        "llama-bpe": Sequence([Split(Regex(LLAMA3), "isolated"), plain]),
    }[pre]
    for name in SPECIAL:
        theirs.add_tokens([AddedToken(name, normalized=False)])
    keep()
    return ours, theirs


def theirs_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Hugging Face's ids with the special tokens in front, as ours are."""
    count = tokenizer.get_vocab_size() - len(SPECIAL)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return [i - count if i >= count else i + len(SPECIAL) for i in ids]


WORDS = ["hello", "hell", " the", "ing", "  ", "aaaaaaa", "é", "\n\n", "123", "1234", "'s", "lo"]
words = st.sampled_from([*WORDS, "<|end|>", "<|en", "<|", "[user]", " ", "x", "日", "or", "el"])


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe"])
@settings(max_examples=80, deadline=None)
@given(
    text=st.lists(words, max_size=12).map("".join) | st.text(alphabet="ahel o\n12'st", max_size=20)
)
def test_equals_hugging_face(impl: Any, pre: str, text: str) -> None:
    ours, theirs = pair(pre)
    assert encode(ours, text, parse_special=True) == theirs_ids(theirs, text)


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe"])
@settings(max_examples=80, deadline=None)
@given(data=st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_round_trip(impl: Any, pre: str, data: bytes) -> None:
    ours, _ = pair(pre)
    assert decode(ours, encode(ours, data)) == data


def test_control_tokens_only_when_asked(impl: Any) -> None:
    ours, _ = pair("gpt-2")
    assert encode(ours, "<|end|>", parse_special=True) == [0]
    # The user-defined `<|en` is cut out either way; of the rest no control token is made.
    assert encode(ours, "<|end|>")[0] == 1
    assert 0 not in encode(ours, "a<|end|>b")
    assert encode(ours, "[user]") == [2]


def test_long_runs_are_not_quadratic(impl: Any) -> None:
    ours, _ = pair("gpt-2")
    times = []
    for size in (500, 2000):
        start = time.perf_counter()
        assert len(encode(ours, "a" * size)) == size // 4
        times.append(time.perf_counter() - start)
    assert times[1] < times[0] * 10  # Quadratic: 16 times.


def test_errors(impl: Any) -> None:
    ours, _ = pair("gpt-2")
    text = storage(b"hello hello")
    out = static(u32, 2)
    assert ours.encode(text, out[:1], False) == TokenizeError.OUTPUT_FULL
    assert ours.encode(storage(b""), out, False) == 0
    long = storage(b"a" * (65536 + 1))
    assert ours.encode(long, static(u32, 70000), False) == TokenizeError.PIECE_TOO_LONG


def test_bos(impl: Any) -> None:
    builder = byte_pair(MERGES, "llama-bpe", **{"<s>": 3}).add(
        "tokenizer.ggml.bos_token_id", U32, 0
    )
    ours = load_tokenizer(builder.build())
    out = static(u32, 8)
    assert ours.encode_prompt(storage(b"he"), out, False) == 2
    assert out[0] == 0
    ours = load_tokenizer(builder.add("tokenizer.ggml.add_bos_token", BOOL, 0).build())
    assert ours.encode_prompt(storage(b"he"), out, False) == 1
    outside = byte_pair(MERGES, "llama-bpe").add("tokenizer.ggml.bos_token_id", U32, 2**32 - 1)
    assert not load_tokenizer(outside.build()).add_bos


def reason(builder: Builder) -> tuple[str, bytes]:
    tokenizer = Ours.zeroed()
    error = tokenizer.load(parse(builder.build()), arena())
    return ("" if error is None else error.name), bytes(tokenizer.vocabulary.error_name)


def test_refusals_have_names(impl: Any) -> None:
    good = byte_pair(MERGES)
    assert reason(good) == ("", b"")
    assert reason(Builder()) == ("MISSING_KEY", b"tokenizer.ggml.model")
    other = byte_pair(MERGES).replace("tokenizer.ggml.model", STRING, "bert")
    assert reason(other) == ("UNSUPPORTED_MODEL", b"bert")
    assert reason(byte_pair(MERGES, "qwen2")) == ("UNSUPPORTED_PRE_TOKENIZER", b"qwen2")
    no_pre = byte_pair(MERGES).remove("tokenizer.ggml.pre")
    assert reason(no_pre) == ("MISSING_KEY", b"tokenizer.ggml.pre")
    no_tokens = byte_pair(MERGES).replace("tokenizer.ggml.tokens", ARRAY, (STRING, []))
    assert reason(no_tokens)[0] == "TOKEN_COUNT"
    types = byte_pair(MERGES).replace("tokenizer.ggml.token_type", ARRAY, (I32, [1]))
    assert reason(types) == ("WRONG_TYPE", b"tokenizer.ggml.token_type")
    types = byte_pair([]).replace("tokenizer.ggml.token_type", ARRAY, (I32, [7] * 256))
    assert reason(types)[0] == "BAD_TOKEN_TYPE"
    merge = byte_pair([]).replace("tokenizer.ggml.merges", ARRAY, (STRING, ["a b"]))
    assert reason(merge) == ("BAD_MERGE", b"a b")
    merge = byte_pair([]).replace("tokenizer.ggml.merges", ARRAY, (STRING, ["ab"]))
    assert reason(merge) == ("BAD_MERGE", b"ab")
    scores = sentence_piece({"a": float("nan")})
    assert reason(scores)[0] == "BAD_SCORE"
    scores = sentence_piece({}).replace("tokenizer.ggml.scores", ARRAY, (F32, [0.0]))
    assert reason(scores) == ("WRONG_TYPE", b"tokenizer.ggml.scores")


PIECES = {
    "▁": -9.0,
    "a": -8.0,
    "b": -7.0,
    "c": -6.0,
    "ab": -3.0,
    "bc": -2.0,
    "▁a": -4.0,
    "▁▁": -5.0,
}


def by_definition(text: str, pieces: dict[str, float]) -> list[str]:
    """SentencePiece's BPE: merge the best pair, the leftmost among equals, until none is left."""
    symbols = list(text)
    while True:
        pairs = [
            (-pieces[left + right], i)
            for i, (left, right) in enumerate(pairwise(symbols))
            if left + right in pieces
        ]
        if not pairs:
            return symbols
        _, at = min(pairs)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


@cache
def sentences(spanning: bool) -> tuple[Ours, dict[str, float]]:
    pieces = PIECES | ({"c▁": -1.0} if spanning else {})
    ours = load_tokenizer(sentence_piece(pieces).build())
    keep()
    return ours, pieces


@pytest.mark.parametrize("spanning", [False, True])
@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="abc ▁é", max_size=16))
def test_sentence_piece_is_its_definition(impl: Any, spanning: bool, text: str) -> None:
    ours, pieces = sentences(spanning)
    assert ours.cuts_at_spaces is not spanning
    wanted: list[bytes] = []
    for symbol in by_definition(("▁" + text if text else "").replace(" ", "▁"), pieces):
        raw = symbol.replace("▁", " ").encode()
        wanted += [raw] if symbol in pieces else [bytes([byte]) for byte in raw]
    assert [decode(ours, [token]) for token in encode(ours, text)] == wanted


def test_stories(impl: Any) -> None:
    ours = stories_tokenizer()
    assert (ours.add_bos, ours.add_space_prefix, ours.cuts_at_spaces) == (True, True, True)
    tokens = encode(ours, "Once upon a time, Zoë\n")
    assert [decode(ours, [token]) for token in tokens] == [
        *(b" Once", b" upon", b" a", b" time", b",", b" ", b"Z", b"o", b"\xc3", b"\xab", b"\n")
    ]
    assert ours.vocabulary.is_end(2)
    assert not ours.vocabulary.is_end(1)
    assert bytes(ours.piece(1)) == b""
    assert bytes(ours.piece(511)) != b""
    assert bytes(ours.piece(512)) == b""


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=30) | st.text(max_size=20).map(str.encode))
def test_stories_round_trip(impl: Any, data: bytes) -> None:
    ours = stories_tokenizer()
    expected = b" " + data.replace("▁".encode(), b" ") if data else b""
    assert decode(ours, encode(ours, data)) == expected


@pytest.mark.model
@pytest.mark.timeout(120)
def test_smollm2_equals_llama_cpp(impl: Any) -> None:
    _, ours = smollm2_file()
    cases = reference("smollm2_tokenize.json")["cases"]
    assert len(cases) == 46
    for case in cases:
        text = bytes.fromhex(case["utf8_hex"])
        assert encode(ours, text) == case["ids_parse_special_false"], text
        assert encode(ours, text, parse_special=True) == case["ids_parse_special_true"], text
        assert decode(ours, encode(ours, text)) == text


@pytest.mark.model
@pytest.mark.timeout(120)
def test_smollm2_properties(impl: Any) -> None:
    _, ours = smollm2_file()
    vocabulary = ours.vocabulary
    assert (vocabulary.count, vocabulary.bos, vocabulary.eos) == (49152, 1, 2)
    assert not ours.add_bos
    assert [token for token in range(20) if vocabulary.is_end(token)] == [0, 2]
    assert bytes(ours.piece(1)) == b""
    assert bytes(vocabulary.bytes_of(1)) == b"<|im_start|>"


@pytest.mark.model
@pytest.mark.timeout(120)
def test_smollm2_reference_prompts(impl: Any) -> None:
    _, ours = smollm2_file()
    greedy = reference("smollm2_greedy.json")
    found = greedy["files"]["F16"]
    for name, prompt in greedy["prompts"].items():
        assert encode(ours, prompt, parse_special=True) == found["greedy"][name]["prompt_ids"]
    assert encode(ours, greedy["text"]) == found["nll_text"]["ids"]
    story = found["greedy"]["story"]
    assert decode(ours, story["ids"]).decode() == story["text"]
