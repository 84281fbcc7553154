"""The Writer against Python's formatting."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare import static, u8
from bare.testing import implementations
from bare.text import Writer

# The Writer class itself runs compiled while the second implementation is in use.
impl = implementations("bare.text")
pytestmark = pytest.mark.usefixtures("impl")


def writer(size: int = 64) -> Writer:
    return Writer(static(u8, size))


@given(st.integers(-(2**63), 2**63 - 1))
def test_decimal(value: int) -> None:
    text = writer()
    text.decimal(value)
    assert text.written() == str(value).encode()


@given(st.integers(0, 2**64 - 1))
def test_unsigned_and_hex(value: int) -> None:
    text = writer()
    text.unsigned(value)
    text.byte(0x20)
    text.hex(value, 16)
    text.hex(value, 2)
    assert text.written() == f"{value} {value:016x}{value & 0xFF:02x}".encode()


def test_hex_wider_than_the_number() -> None:
    text = writer()
    text.hex(2**64 - 1, 18)
    assert text.written() == b"00ffffffffffffffff"


@given(value=st.integers(-(10**9), 10**9), digits=st.integers(0, 6))
def test_fixed_of_representable_values(value: int, digits: int) -> None:
    text = writer()
    text.fixed(value / 8, digits)
    written = bytes(text.written())
    error = abs(Decimal(written.decode()) - Decimal(value) / 8)
    assert error <= Decimal(5).scaleb(-digits - 1)
    assert len(written.partition(b".")[2]) == digits


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (0.0, 2, b"0.00"),
        (-0.5, 0, b"-1"),
        (3.999, 2, b"4.00"),
        (0.007, 2, b"0.01"),
        (float("nan"), 2, b"nan"),
        (float("-inf"), 2, b"-inf"),
        (1e17, 5, b"100000000000000000.0"),
    ],
)
def test_fixed(value: float, digits: int, expected: bytes) -> None:
    text = writer()
    text.fixed(value, digits)
    assert text.written() == expected


def test_overflow_truncates_and_is_remembered() -> None:
    text = writer(4)
    text.text(b"abc")
    assert not text.truncated
    text.text(b"def")
    assert text.written() == b"abcd"
    assert text.truncated
    text.byte(0x21)
    assert text.length == 4
    text.clear()
    assert text.written() == b""
    assert not text.truncated
