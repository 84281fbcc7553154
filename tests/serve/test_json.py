"""JSON in and out against Python's json module."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare import Slice, stack, u8
from bare.testing import implementations
from bare.text import Writer
from merlion.serve.json_reader import Token

impl = implementations("merlion.serve.json_reader", "merlion.serve.json_writer")


class RefusedError(Exception):
    """The reader said ERROR."""


def buffer(data: bytes) -> Slice[u8]:
    storage = stack(u8, len(data))
    storage.copy_from(data)
    return storage


def read(impl: Any, data: bytes) -> Any:
    """Build a tree from the tokens; Refused where the reader refuses."""
    reader = impl.JsonReader.zeroed(data=buffer(data))
    value = read_value(impl, reader, reader.next())
    if reader.next() != Token.END:
        raise RefusedError
    return value


def read_value(impl: Any, reader: Any, token: Token) -> Any:
    match token:
        case Token.OBJECT:
            result = {}
            while (inner := reader.next()) != Token.OBJECT_END:
                if inner != Token.KEY:
                    raise RefusedError
                key = bytes(reader.text()).decode()
                result[key] = read_value(impl, reader, reader.next())
            return result
        case Token.ARRAY:
            items = []
            while (inner := reader.next()) != Token.ARRAY_END:
                items.append(read_value(impl, reader, inner))
            return items
        case Token.STRING:
            return bytes(reader.text()).decode()
        case Token.NUMBER:
            raw = bytes(reader.raw)
            whole = impl.parse_integer(raw)
            return whole if whole is not None else impl.parse_number(raw)
        case Token.TRUE | Token.FALSE:
            return token == Token.TRUE
        case Token.NULL:
            return None
        case _:
            raise RefusedError


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=12)
    | st.integers(-(10**6), 10**6).map(lambda n: n / 1024)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_reads_what_json_writes(impl: Any, value: Any, ascii_only: bool, indent: Any) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert read(impl, text.encode()) == value


@given(value=VALUES, ascii_only=st.booleans())
def test_skips_what_json_writes(impl: Any, value: Any, ascii_only: bool) -> None:
    text = json.dumps([value, 7], ensure_ascii=ascii_only).encode()
    reader = impl.JsonReader.zeroed(data=buffer(text))
    assert reader.next() == Token.ARRAY
    outside = reader.depth
    assert reader.next() != Token.ERROR
    assert reader.leave(outside)
    assert reader.next() == Token.NUMBER
    assert bytes(reader.raw) == b"7"


@given(
    data=st.binary(max_size=24) | st.text('{}[]",:\\u0123dce-.tfn ', max_size=24).map(str.encode)
)
def test_agrees_with_python_on_any_bytes(impl: Any, data: bytes) -> None:
    try:
        expected = json.loads(data.decode(), parse_constant=lambda _: 1 / 0)
        json.dumps(expected, ensure_ascii=False).encode()  # Refuses lone surrogates.
    except (ValueError, ArithmeticError):
        with pytest.raises(RefusedError):
            read(impl, data)
    else:
        assert read(impl, data) == pytest.approx(expected) or expected == {}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b'{"a"}',
        b"{1:2}",
        b"01",
        b"-",
        b"1.",
        b".5",
        b"1e",
        b"+1",
        b"NaN",
        b"tru",
        b"nulll",
        b"[1 2]",
        b'"\x01"',
        b'"\\x"',
        b'"\\u12g4"',
        b'"\\ud800"',
        b'"\\ud800\\u0041"',
        b'"\\udc00"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\xf5\x80\x80\x80"',
        b'"\xe2\x82"',
        b'"abc',
        b"[]]",
        b"{}x",
        b"[}",
    ],
)
def test_refuses(impl: Any, text: bytes) -> None:
    with pytest.raises(RefusedError):
        read(impl, text)


def test_depth_is_bounded(impl: Any) -> None:
    assert read(impl, b"[" * 64 + b"]" * 64) is not None
    with pytest.raises(RefusedError):
        read(impl, b"[" * 65 + b"]" * 65)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0.0),
        (b"-0.5", -0.5),
        (b"0.95", 0.95),
        (b"1e3", 1000.0),
        (b"2.5E-3", 0.0025),
        (b"1e999", float("inf")),
        (b"1e-999", 0.0),
        (b"0e999", 0.0),
        (b"123456789012345678901234567890", 123456789012345678901234567890.0),
    ],
)
def test_numbers(impl: Any, text: bytes, value: float) -> None:
    assert impl.parse_number(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"12", 12),
        (b"-1", -1),
        (b"1.0", 1),
        (b"1e2", 100),
        (b"1.5", None),
        (b"99999999999999999999", None),
        (b"1e300", None),
    ],
)
def test_integers(impl: Any, text: bytes, value: int | None) -> None:
    assert impl.parse_integer(text) == value


@given(text=st.text(max_size=40))
def test_writes_what_json_reads(impl: Any, text: str) -> None:
    out = Writer(stack(u8, 400))
    impl.write_string(out, text.encode())
    assert json.loads(bytes(out.written())) == text


@given(data=st.binary(max_size=40))
def test_writes_valid_json_for_any_bytes(impl: Any, data: bytes) -> None:
    out = Writer(stack(u8, 400))
    impl.write_string(out, data)
    written = json.loads(bytes(out.written()))
    assert written.replace("�", "") == data.decode(errors="replace").replace("�", "")
