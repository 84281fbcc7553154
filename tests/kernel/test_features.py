"""Which level of `bare.simd` the kernel chooses for which processor."""

from collections.abc import Callable
from typing import Any

import pytest

from bare import cpu, simd
from bare.compiler.host import levels_of
from bare.simd import Level
from bare.testing import PYTHON, implementations
from merlion.kernel.arch.x86_64.features import (
    AVX512VNNI,
    LZCNT,
    NEED_AVX2_1,
    NEED_AVX2_7,
    NEED_AVX512_7,
    STATE_AVX,
    STATE_AVX512,
    Features,
    Leaf7Sub1,
)

impl = implementations("merlion.kernel.arch.x86_64.features")

ALL = len(Level) - 1


def haswell() -> Features:
    found = Features.zeroed()
    found.xcr0 = STATE_AVX
    found.leaf1_ecx = NEED_AVX2_1
    found.leaf7_ebx = NEED_AVX2_7
    found.extended_ecx = LZCNT
    return found


def alder_lake() -> Features:
    found = haswell()
    found.leaf7_1_eax = Leaf7Sub1.AVX_VNNI
    return found


def cascade_lake() -> Features:
    found = haswell()
    found.xcr0 = STATE_AVX512
    found.leaf7_ebx = NEED_AVX2_7 | NEED_AVX512_7
    found.leaf7_ecx = AVX512VNNI
    return found


def zen_4() -> Features:
    found = cascade_lake()
    found.leaf7_1_eax = Leaf7Sub1.AVX512_BF16
    return found


def sapphire_rapids() -> Features:
    found = zen_4()
    found.leaf7_1_eax = Leaf7Sub1.AVX512_BF16 | Leaf7Sub1.AVX_VNNI
    return found


@pytest.mark.parametrize(
    ("processor", "levels"),
    [
        (Features.zeroed, [0, 0, 0, 0, 0]),
        (haswell, [0, 1, 1, 1, 1]),
        (alder_lake, [0, 1, 2, 2, 2]),
        (cascade_lake, [0, 1, 1, 3, 3]),
        (zen_4, [0, 1, 1, 3, 4]),
        (sapphire_rapids, [0, 1, 2, 3, 4]),
    ],
)
def test_the_best_level_that_is_allowed(
    impl: Any, processor: Callable[[], Features], levels: list[int]
) -> None:
    assert [processor().best_level(highest) for highest in range(ALL + 1)] == levels


@pytest.mark.parametrize(
    ("field", "level"),
    [
        ("leaf1_ecx", Level.BASELINE),
        ("extended_ecx", Level.BASELINE),
        ("leaf7_ebx", Level.BASELINE),
        ("xcr0", Level.BASELINE),
        ("leaf7_ecx", Level.AVXVNNI),
        ("leaf7_1_eax", Level.AVX512),
    ],
)
def test_without_one_leaf(impl: Any, field: str, level: Level) -> None:
    processor = sapphire_rapids()
    setattr(processor, field, 0)
    assert processor.best_level(ALL) == level


def test_vector_state_that_is_off(impl: Any) -> None:
    processor = sapphire_rapids()
    processor.xcr0 = STATE_AVX
    assert processor.best_level(ALL) == Level.AVXVNNI


@pytest.mark.parametrize("impl", [PYTHON], indirect=True)  # Compiled, cpuid is the real one.
@pytest.mark.parametrize(("sub_max", "level"), [(0, Level.AVX512), (1, Level.AVX512BF16)])
def test_leaf_7_has_a_second_part(
    impl: Any, monkeypatch: pytest.MonkeyPatch, sub_max: int, level: Level
) -> None:
    leaves = {
        (0, 0): (7, 0, 0, 0),
        (1, 0): (0, 0, NEED_AVX2_1, 0),
        (7, 0): (sub_max, NEED_AVX2_7 | NEED_AVX512_7, AVX512VNNI, 0),
        (7, 1): (Leaf7Sub1.AVX512_BF16, 0, 0, 0),
        (0x8000_0000, 0): (0x8000_0001, 0, 0, 0),
        (0x8000_0001, 0): (0, 0, LZCNT, 0),
    }
    monkeypatch.setattr(cpu, "cpuid_leaves", leaves)
    processor = Features.zeroed()
    processor.detect()
    processor.xcr0 = STATE_AVX512
    assert processor.best_level(ALL) == level


def test_the_level_is_named(impl: Any) -> None:
    texts = [impl.level_text(level) for level in Level]
    assert [bytes(text) for text in texts] == [
        b"SSE4.2",
        b"AVX2",
        b"AVX-VNNI",
        b"AVX-512",
        b"AVX-512 BF16",
    ]
    assert len(simd.LEVEL_NAMES) == len(texts)


ZEN_3 = "avx2 fma f16c bmi1 bmi2 movbe abm"
ICE_LAKE = f"{ZEN_3} avx512f avx512bw avx512cd avx512dq avx512vl avx512_vnni"


@pytest.mark.parametrize(
    ("words", "levels"),
    [
        ("", (0,)),
        ("avx2 fma", (0,)),
        (ZEN_3, (0, 1)),
        (f"{ZEN_3} avx_vnni", (0, 1, 2)),
        (ICE_LAKE, (0, 1, 3)),
        (f"{ICE_LAKE} avx512_bf16", (0, 1, 3, 4)),
        (f"{ZEN_3} avx_vnni avx512_bf16", (0, 1, 2)),
    ],
)
def test_levels_by_the_words_of_linux(words: str, levels: tuple[int, ...]) -> None:
    assert levels_of(frozenset(words.split())) == levels
