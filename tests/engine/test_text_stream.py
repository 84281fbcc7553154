"""Streamed text: whole UTF-8, stop strings across any cuts; and the stop automaton's definition."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bare.testing import implementations
from merlion.engine.detokenizer import Detokenizer
from merlion.engine.params import GenerateParams
from tests.engine.files import storage

impl = implementations("merlion.engine.detokenizer", "merlion.engine.stop", "merlion.engine.params")


def started(*stops: bytes, size: int = 4096) -> Detokenizer:
    params = GenerateParams()
    for i, stop in enumerate(stops):
        assert params.set_stop(i, storage(stop))
    detokenizer = Detokenizer.zeroed()
    detokenizer.begin(storage(bytes(size)), params)
    return detokenizer


def stream(detokenizer: Detokenizer, pieces: list[bytes], finish: bool = True) -> list[bytes]:
    """What came out after each piece, and at the end."""
    parts = []
    for i in range(len(pieces) + 1):
        if i < len(pieces):
            detokenizer.push(storage(pieces[i]))
        elif finish:
            detokenizer.finish()
        parts.append(bytes(detokenizer.text()))
        detokenizer.consume(len(parts[-1]))
    return parts


def cut(data: bytes, places: list[int]) -> list[bytes]:
    cuts = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(cuts)]


def test_plain_text_is_not_held(impl: Any) -> None:
    assert stream(started(), [b"Hello", b", ", b"world"]) == [b"Hello", b", ", b"world", b""]


def test_half_characters_wait(impl: Any) -> None:
    smile = "😀".encode()
    assert stream(started(), [b"a" + smile[:1], smile[1:3], smile[3:]]) == [b"a", b"", smile, b""]
    assert stream(started(), [smile[:3]]) == [b"", "\ufffd".encode()]
    assert stream(started(), [smile[:2], b"x"]) == [b"", "\ufffdx".encode(), b""]


def test_stop_strings_are_held_and_cut(impl: Any) -> None:
    detokenizer = started(b"</s>", b"###")
    assert stream(detokenizer, [b"a<", b"/s", b">tail"]) == [b"a", b"", b"", b""]
    assert detokenizer.stopped
    detokenizer = started(b"</s>", b"###")
    assert stream(detokenizer, [b"a<", b"/", b"b#", b"#"]) == [b"a", b"", b"</b", b"", b"##"]
    assert not detokenizer.stopped
    # After a stop nothing is taken.
    detokenizer = started(b"x")
    assert stream(detokenizer, [b"abxcd", b"more"]) == [b"ab", b"", b""]


def test_stop_strings_that_overlap(impl: Any) -> None:
    assert b"".join(stream(started(b"aab"), [b"aa", b"a", b"ab!"])) == b"aa"
    # Two that end at the same byte: the longer one, which began first.
    assert b"".join(stream(started(b"c", b"abc"), [b"xab", b"c"])) == b"x"


def test_stop_string_inside_a_character_is_found_whole(impl: Any) -> None:
    assert b"".join(stream(started("é".encode()), [b"caf", b"\xc3", b"\xa9!"])) == b"caf"
    assert (
        b"".join(stream(started("日本".encode()), ["x日".encode(), "光".encode()]))
        == "x日光".encode()
    )


def test_bad_stop_strings_are_refused(impl: Any) -> None:
    params = impl.GenerateParams()
    assert not params.set_stop(0, storage(b""))
    assert not params.set_stop(0, storage(b"x" * 257))
    assert not params.set_stop(4, storage(b"x"))
    assert params.set_stop(3, storage(b"x" * 256))
    assert params.stop_count == 4


def test_storage_is_reused_and_its_end_is_noticed(impl: Any) -> None:
    detokenizer = started(size=8)
    assert stream(detokenizer, [b"abcdef", b"ghijkl", b"mnop"]) == [
        b"abcdef",
        b"ghijkl",
        b"mnop",
        b"",
    ]
    assert not detokenizer.overflowed
    detokenizer.push(storage(b"123456789"))
    assert detokenizer.overflowed
    assert bytes(detokenizer.text()) == b"12345678"


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=24) | st.text(max_size=12).map(str.encode),
    places=st.lists(st.integers(0, 100), max_size=6),
)
def test_is_pythons_replace_for_any_cuts(impl: Any, data: bytes, places: list[int]) -> None:
    parts = stream(started(), cut(data, places))
    for part in parts:
        part.decode()
    assert b"".join(parts) == data.decode("utf-8", "replace").encode()


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(alphabet="abé", max_size=24),
    stops=st.lists(st.text(alphabet="abé", min_size=1, max_size=4), max_size=4),
    places=st.lists(st.integers(0, 100), max_size=6),
)
def test_stops_by_definition(impl: Any, text: str, stops: list[str], places: list[int]) -> None:
    """The text ends before the stop string that ends first."""
    ends = {}
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            ends[end] = max(map(len, found))
            break
    wanted = text
    if ends:
        ((end, length),) = ends.items()
        wanted = text[: end - length]
    detokenizer = started(*(stop.encode() for stop in stops))
    parts = stream(detokenizer, cut(text.encode(), places))
    assert b"".join(parts) == wanted.encode()
    assert detokenizer.stopped == bool(ends)
    for part in parts:
        part.decode()


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(alphabet="ab", max_size=20), stop=st.text(alphabet="ab", min_size=2, max_size=5)
)
def test_holds_no_more_than_it_must(impl: Any, text: str, stop: str) -> None:
    if stop in text:
        return
    detokenizer = started(stop.encode())
    detokenizer.push(storage(text.encode()))
    held = max(n for n in range(len(stop)) if text.endswith(stop[:n]))
    assert bytes(detokenizer.text()).decode() == text[: len(text) - held]
