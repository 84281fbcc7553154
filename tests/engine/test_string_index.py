"""The index of names: what it finds, and that a file made to crowd it is refused at once."""

from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bare import static, u32
from bare.testing import implementations
from merlion.engine.string_index import PROBES_MAX, Span, hash_bytes, slots_for
from merlion.engine.tokenizer import Tokenizer
from tests.engine.files import arena, keep, parse, storage
from tests.engine.gguf_builder import U8, Builder, sentence_piece

impl = implementations(
    "merlion.engine.string_index",
    "merlion.engine.gguf",
    "merlion.engine.merge",
    "merlion.engine.tokenizer",
)


def colliding(wanted: int, slots: int) -> list[str]:
    """Short names whose hashes all point to slot 0."""
    names = []
    for number in count():
        name = f"k{number:x}"
        value = 0x811C_9DC5
        for byte in name.encode():
            value = (value ^ byte) * 0x0100_0193 & 0xFFFF_FFFF
        if (value ^ value >> 15) % slots == 0:
            names.append(name)
            if len(names) == wanted:
                return names
    raise AssertionError


SLOTS = 2048
assert slots_for(PROBES_MAX + 2) <= slots_for(1 + 256 + PROBES_MAX + 1) == SLOTS
NAMES = colliding(PROBES_MAX + 1, SLOTS)


@given(texts=st.lists(st.binary(max_size=3), max_size=12))
def test_finds_the_first_of_equal_strings(impl: Any, texts: list[bytes]) -> None:
    text = storage(b"".join(texts))
    spans = static(Span, max(len(texts), 1))
    index = impl.StringIndex.zeroed()
    index.start(static(u32, slots_for(len(texts))))
    at = 0
    for i, one in enumerate(texts):
        spans[i].offset = at
        spans[i].length = len(one)
        at += len(one)
        refusal = index.insert(spans, text, i)
        assert refusal == (impl.Refusal.DUPLICATE if one in texts[:i] else None)
    for one in [*texts, b"other"]:
        found = index.find(spans, text, storage(one))
        assert found == (texts.index(one) if one in texts else 0xFFFF_FFFF)
    keep()


def test_names_that_crowd(impl: Any) -> None:
    assert {hash_bytes(storage(name.encode())) % SLOTS for name in NAMES} == {0}
    for kind in ("key", "tensor"):
        for number, wanted in ((PROBES_MAX, ""), (PROBES_MAX + 1, "CROWDED_NAMES")):
            builder = Builder()
            for name in NAMES[:number]:
                builder = builder.add(name, U8, 1) if kind == "key" else builder.tensor(name, 8)
            gguf = impl.Gguf.zeroed()
            error = gguf.parse(storage(builder.build()), arena(1 << 18))
            assert ("" if error is None else error.name) == wanted


def test_tokens_that_crowd(impl: Any) -> None:
    for number, wanted in ((PROBES_MAX, ""), (PROBES_MAX + 1, "CROWDED")):
        builder = sentence_piece(dict.fromkeys(NAMES[:number], 0.0))
        error = Tokenizer.zeroed().load(parse(builder.build()), arena())
        assert ("" if error is None else error.name) == wanted


def test_merges_that_crowd(impl: Any) -> None:
    table = impl.MergeTable.zeroed()
    assert table.allocate(arena(), 1000)
    inverse = pow(0x85EB_CA77, -1, 1 << 32)
    rights = [-left * 0x9E37_79B1 * inverse % (1 << 32) for left in range(PROBES_MAX + 1)]
    for left, right in enumerate(rights):
        assert table.insert(left, right, left, left) == (left < PROBES_MAX)
    assert table.slot_of(7, rights[7]).rank == 7
    assert table.slot_of(PROBES_MAX, rights[PROBES_MAX]) is None
