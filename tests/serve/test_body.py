"""Bodies by length and in chunks, cut anywhere, decoded in place."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare import stack, u8
from bare.testing import implementations
from merlion.serve.http import HttpError

impl = implementations("merlion.serve.body", "merlion.serve.http")
LIMIT = 1000


def chunked(parts: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    out = b"".join(b"%x%s\r\n%s\r\n" % (len(p), extension, p) for p in parts if p)
    return out + b"0\r\n" + trailer + b"\r\n"


def decode(impl: Any, raw: bytes, cuts: list[int], length: int = -1) -> Any:
    """Feed `raw` in pieces; the body and what follows it, or the error."""
    head = impl.Head.zeroed(chunked=length < 0, content_length=max(length, 0))
    decoder = impl.BodyDecoder.zeroed()
    error = decoder.start(head, LIMIT)
    if error is not None:
        return error
    storage = stack(u8, max(len(raw), 1))
    storage[: len(raw)].copy_from(raw)
    at = done = 0
    for end in [*(min(cut, len(raw)) for cut in sorted(cuts)), len(raw)]:
        if decoder.done or end <= at:
            continue
        error = decoder.decode(storage[at:end], storage[done:end])
        if error is not None:
            return error
        at += decoder.consumed
        done += decoder.produced
    return bytes(storage[:done]), raw[at:], decoder.done


CUTS = st.lists(st.integers(1, 60), max_size=6)


@given(parts=st.lists(st.binary(max_size=20), max_size=4), cuts=CUTS)
def test_chunks(impl: Any, parts: list[bytes], cuts: list[int]) -> None:
    raw = chunked(parts, b" ; a=b", b"X: y\r\nZ: \r\n") + b"GET"
    assert decode(impl, raw, cuts) == (b"".join(parts), b"GET", True)


@given(body=st.binary(max_size=50), cuts=CUTS)
def test_length(impl: Any, body: bytes, cuts: list[int]) -> None:
    assert decode(impl, body + b"GET", cuts, len(body)) == (body, b"GET", True)


@given(
    raw=st.binary(max_size=30) | st.text("0123abF\r\n; x", max_size=30).map(str.encode), cuts=CUTS
)
def test_any_bytes_any_cuts(impl: Any, raw: bytes, cuts: list[int]) -> None:
    assert decode(impl, raw, cuts) == decode(impl, raw, [])


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"0x1\r\n",
        b"1\n",
        b"1\r\r",
        b"1 x\r\na\r\n"[:3] + b"\x00",
        b"2\r\nabc",
        b"2\r\nab\n",
        b"2\r\nab\rX",
        b"0\r\nA\x01",
        b"0\r\n\rX",
        b"1;" + b"a" * 300,
    ],
)
def test_bad_chunks(impl: Any, raw: bytes) -> None:
    assert decode(impl, raw, []) == HttpError.BAD_REQUEST
    assert decode(impl, raw, list(range(len(raw)))) == HttpError.BAD_REQUEST


def test_too_large(impl: Any) -> None:
    assert decode(impl, b"", [], LIMIT + 1) == HttpError.TOO_LARGE
    assert decode(impl, b"3e9\r\n", []) == HttpError.TOO_LARGE
    assert decode(impl, b"f" * 15 + b"\r\n", []) == HttpError.TOO_LARGE
    assert decode(impl, b"3e8\r\n" + b"a" * 1000 + b"\r\n1\r\n", []) == HttpError.TOO_LARGE


def test_long_trailer(impl: Any) -> None:
    assert decode(impl, b"0\r\nA: " + b"a" * 9000, []) == HttpError.HEAD_TOO_LARGE
