"""Which instruction set the engine in this process uses."""

import pytest

from bare.compiler import host
from bare.simd import Level
from merlion.hosted.code import host_level
from merlion.hosted.errors import HostedError

ZEN_3 = frozenset(["avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"])
ZEN_4 = ZEN_3 | frozenset(
    ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16"]
)


@pytest.mark.parametrize(
    ("flags", "highest", "level"),
    [
        (frozenset(), "", Level.BASELINE),
        (ZEN_3, "", Level.AVX2),
        (ZEN_3 | {"avx_vnni"}, "", Level.AVXVNNI),
        (ZEN_4, "", Level.AVX512BF16),
        (ZEN_4, "avx512", Level.AVX512),
        (ZEN_4, "avxvnni", Level.AVX2),
        (ZEN_4, "baseline", Level.BASELINE),
        (ZEN_3, "avx512bf16", Level.AVX2),
    ],
)
def test_the_best_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch, flags: frozenset[str], highest: str, level: Level
) -> None:
    monkeypatch.setattr(host, "flags", lambda: flags)
    monkeypatch.setenv("MERLION_SIMD", highest)
    assert host_level() == level


def test_a_level_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERLION_SIMD", "avx10")
    with pytest.raises(HostedError, match="avx10"):
        host_level()
