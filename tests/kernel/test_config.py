"""The kernel command line."""

from typing import Any

import pytest

from bare import static, u8
from bare.simd import Level
from bare.testing import implementations
from merlion.kernel.config import Config, PageSize, PanicAction

impl = implementations("merlion.kernel.config")


def parsed(text: bytes) -> Config:
    config = Config()
    line = static(u8, max(len(text), 1))[: len(text)]
    line.copy_from(text)
    config.parse(line)
    return config


def test_words_and_pairs(impl: Any) -> None:
    config = parsed(
        b" pvm  pages=4k panic=exit simd=avx2 cores=3 serve=8080 ctx=2k time=7 quiet load "
    )
    assert config.pvm
    assert config.quiet
    assert config.load
    assert config.page_size == PageSize.PAGES_4K
    assert config.panic == PanicAction.EXIT
    assert config.simd == Level.AVX2
    assert (config.cores, config.serve_port, config.context) == (3, 8080, 2048)
    assert config.boot_unix_s == 7
    assert config.unknown_count == 0
    assert parsed(b"parallel=64").parallel == 64


def test_defaults(impl: Any) -> None:
    config = parsed(b"")
    assert config.dhcp
    assert config.network
    assert not config.pvm
    assert config.page_size == PageSize.LARGEST
    assert config.simd == Level.AVX512BF16
    assert (config.context, config.parallel) == (2048, 4)
    assert parsed(b"ctx=0").context == 2048


def test_unknown_words_are_kept(impl: Any) -> None:
    config = parsed(b"pvmm pages=3k serve=0 serve=65536 cores= hello=1 pvm")
    assert config.unknown_count == 6
    words = [bytes(config.unknown_word(index)) for index in range(6)]
    assert words == [b"pvmm", b"pages=3k", b"serve=0", b"serve=65536", b"cores=", b"hello=1"]
    assert config.pvm


def test_a_wrong_value_is_told_what_is_right(impl: Any) -> None:
    config = parsed(b"pages=3m simd=avx9 parallel=0 parallel=65 frobnicate=1 api-key=")
    wanted = [bytes(config.wanted(index)) for index in range(config.unknown_count)]
    levels = b"baseline, avx2, avxvnni, avx512, avx512bf16"
    assert wanted == [b"4k, 2m or 1g", levels, b"1 to 64", b"1 to 64", b"", b"1 to 256 bytes"]
    assert config.parallel == 4


def test_unknown_words_beyond_those_kept_are_counted(impl: Any) -> None:
    config = parsed(b" ".join(b"w%d" % i for i in range(11)))
    assert config.unknown_count == 11
    assert config.unknown_kept == 8
    assert bytes(config.unknown_word(7)) == b"w7"


def test_a_secret_leaves_the_line(impl: Any) -> None:
    config = parsed(b"pvm api-key=sesame/open= quiet")
    assert bytes(config.api_key) == b"sesame/open="
    assert bytes(config.command_line) == b"pvm api-key=************ quiet"
    assert config.unknown_count == 0
    assert bytes(parsed(b"api-key=one api-key=other").api_key) == b"other"
    assert bytes(parsed(b"pvm").api_key) == b""
    for wrong in (b"", b"x" * 257):
        config = parsed(b"api-key=" + wrong)
        assert bytes(config.api_key) == b""
        assert bytes(config.unknown_word(0)) == b"api-key=" + b"*" * len(wrong)
    assert len(parsed(b"api-key=" + b"x" * 256).api_key) == 256


def test_static_address(impl: Any) -> None:
    config = parsed(b"ip=10.0.2.15/24,10.0.2.2")
    assert not config.dhcp
    assert config.address == 0x0A00020F
    assert config.netmask == 0xFFFFFF00
    assert config.gateway == 0x0A000202
    assert parsed(b"ip=10.0.2.15/0").netmask == 0
    assert parsed(b"ip=10.0.2.15/32").netmask == 0xFFFFFFFF


@pytest.mark.parametrize("value", [b"1.2.3/8", b"1.2.3.4", b"1.2.3.4/33", b"1.2.3.4/8,x", b"/8"])
def test_bad_addresses(impl: Any, value: bytes) -> None:
    config = parsed(b"ip=" + value)
    assert config.unknown_count == 1
    assert config.dhcp


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"12", 12),
        (b"0x1F", 31),
        (b"4K", 4096),
        (b"3g", 3 << 30),
        (b"", None),
        (b"k", None),
        (b"0x", None),
        (b"12x", None),
        (b"9" * 30, None),
    ],
)
def test_numbers(impl: Any, text: bytes, value: int | None) -> None:
    assert impl.parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1.2.3.4", 0x01020304),
        (b"255.255.255.255", 0xFFFFFFFF),
        (b"256.0.0.1", None),
        (b"1..2.3", None),
        (b"1.2.3.4.5", None),
        (b"1.2.3.", None),
        (b"0001.2.3.4", None),
    ],
)
def test_ipv4(impl: Any, text: bytes, value: int | None) -> None:
    assert impl.parse_ipv4(text) == value
