"""Request heads: what is accepted, what is refused, and that nothing traps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare.testing import implementations
from merlion.serve.http import Head, HttpError, Method

impl = implementations("merlion.serve.http")


def parse(impl: Any, data: bytes) -> Head | HttpError:
    found = impl.find_head(data, 0)
    if isinstance(found, HttpError):
        return found
    head = impl.Head.zeroed()
    error = head.parse(data[:found])
    return error if error is not None else head


def test_simple_get(impl: Any) -> None:
    head = parse(impl, b"GET /v1/models?a=b HTTP/1.1\r\nHost: x\r\n\r\nrest")
    assert isinstance(head, Head)
    assert head.method == Method.GET
    assert bytes(head.target) == b"/v1/models"
    assert bytes(head.query) == b"a=b"
    assert head.keep_alive
    assert not head.has_body


def test_post_with_all_fields(impl: Any) -> None:
    head = parse(
        impl,
        b"POST /x HTTP/1.1\r\nhost:x\r\nCONTENT-LENGTH: 12 \r\nExpect: 100-Continue\r\n"
        b"authorization: Bearer k\r\nx-api-key:\tq\t\r\nConnection: foo, Close\r\n"
        b"Upgrade: h2c\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n",
    )
    assert isinstance(head, Head)
    assert head.content_length == 12
    assert head.expect_continue
    assert not head.keep_alive
    assert bytes(head.authorization) == b"Bearer k"
    assert bytes(head.api_key) == b"q"


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n", True),
    ],
)
def test_keep_alive(impl: Any, head: bytes, keeps: bool) -> None:
    parsed = parse(impl, head)
    assert isinstance(parsed, Head)
    assert parsed.keep_alive == keeps


def test_absolute_form(impl: Any) -> None:
    head = parse(impl, b"GET http://merlion:8080/health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert isinstance(head, Head)
    assert bytes(head.target) == b"/health"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length:\r\n",
        b"Content-Length : 5\r\n",
        b" Content-Length: 5\r\n",
        b"A: b\r\n folded\r\n",
        b"A: b\rc\r\n",
        b"A: b\nc\r\n",
        b"A: b\x00c\r\n",
        b"A\r\n",
        b": b\r\n",
        b"Host: y\r\n",
    ],
)
def test_smuggling_is_refused(impl: Any, fields: bytes) -> None:
    data = b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"
    assert parse(impl, data) == HttpError.BAD_REQUEST


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", HttpError.BAD_REQUEST),  # No Host.
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", HttpError.VERSION_NOT_SUPPORTED),
        (b"GET / HTTP/1.9\r\nHost: x\r\n\r\n", HttpError.BAD_REQUEST),
        (b"GET / http/1.1\r\nHost: x\r\n\r\n", HttpError.BAD_REQUEST),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", HttpError.BAD_REQUEST),
        (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", HttpError.BAD_REQUEST),
        (b"GET x HTTP/1.1\r\nHost: x\r\n\r\n", HttpError.BAD_REQUEST),
        (b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", HttpError.BAD_REQUEST),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", HttpError.BAD_REQUEST),
        (b"GET\r\n\r\n", HttpError.BAD_REQUEST),
        (b"\x16\x03\x01", HttpError.BAD_REQUEST),  # A TLS hello.
        (b"GET /", HttpError.NEED_MORE),
        (b"", HttpError.NEED_MORE),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n", HttpError.EXPECTATION_FAILED),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", HttpError.URI_TOO_LONG),
        (b"G" * 17000, HttpError.URI_TOO_LONG),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 17000, HttpError.HEAD_TOO_LARGE),
        (
            b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            HttpError.TOO_LARGE,
        ),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HttpError.BAD_REQUEST),
    ],
)
def test_refused(impl: Any, data: bytes, error: HttpError) -> None:
    assert parse(impl, data) == error


def test_a_hundred_fields_and_not_one_more(impl: Any) -> None:
    fields = b"".join(b"x-%d: y\r\n" % i for i in range(99))
    data = b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"
    assert isinstance(parse(impl, data), Head)
    data = b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"y: z\r\n\r\n"
    assert parse(impl, data) == HttpError.HEAD_TOO_LARGE


@given(data=st.binary(max_size=60), tail=st.sampled_from([b"", b"\r\n\r\n"]))
def test_never_traps(impl: Any, data: bytes, tail: bytes) -> None:
    parse(impl, data + tail)
    parse(impl, b"GET / HTTP/1.1\r\n" + data + tail)


TOKEN = st.text("abcXYZ-_!0", min_size=1, max_size=8)


@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PATCH"]),
    path=st.text("abc/%._-", max_size=20),
    fields=st.lists(st.tuples(TOKEN, st.text("ab c\t,é", max_size=10)), max_size=5),
    length=st.none() | st.integers(0, 10**12),
)
def test_parse_of_emit(
    impl: Any, method: str, path: str, fields: list[tuple[str, str]], length: int | None
) -> None:
    lines = [f"{method} /{path} HTTP/1.1", "host: x", *(f"x{k}: {v}" for k, v in fields)]
    if length is not None:
        lines.append(f"Content-length: {length}")
    data = "\r\n".join(lines).encode() + b"\r\n\r\n"
    head = parse(impl, data)
    assert isinstance(head, Head)
    assert head.method == {"PATCH": Method.OTHER}.get(method, getattr(Method, method, None))
    assert bytes(head.target) == f"/{path}".encode()
    assert head.content_length == (length or 0)


@given(data=st.binary(max_size=40), cut=st.integers(1, 7))
def test_the_end_of_a_head_is_found_wherever_it_is_cut(impl: Any, data: bytes, cut: int) -> None:
    whole = b"GET / HTTP/1.1\r\nA: " + data.replace(b"\r", b"") + b"\r\n\r\nbody"
    expected = impl.find_head(whole, 0)
    seen = 0
    for end in range(cut, len(whole) + cut, cut):
        found = impl.find_head(whole[:end], seen)
        seen = min(end, len(whole))
        if found != HttpError.NEED_MORE:
            break
    assert found == expected
