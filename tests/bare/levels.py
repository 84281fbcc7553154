"""Levels that tests can run here.

A processor with AVX512-VNNI but without AVX-VNNI (Zen 4) runs the level avxvnni as well when the
same vpdpbusd of 32 bytes is encoded for AVX-512: nothing else of the level is new.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bare.compiler import build_cache, shard
from bare.compiler.host import flags, host_levels
from bare.levels import LEVELS

AVXVNNI = LEVELS.index("avxvnni")


def stands_in() -> bool:
    """Whether AVX-512 encodings are used for AVX-VNNI."""
    return AVXVNNI not in host_levels() and {"avx2", "avx512vl", "avx512_vnni"} <= flags()


def runnable() -> tuple[int, ...]:
    """The levels of code that was compiled with `stand_in`."""
    return tuple(sorted({*host_levels(), AVXVNNI})) if stands_in() else host_levels()


@contextmanager
def stand_in() -> Iterator[None]:
    """Compile so that all of `runnable` can run."""
    if not stands_in():
        yield
        return
    attributes = list(shard.ATTRIBUTES)
    attributes[AVXVNNI] = attributes[AVXVNNI].replace("+avxvnni", "+avx512vl,+avx512vnni")
    with pytest.MonkeyPatch.context() as patch:
        for module in (shard, build_cache):
            patch.setattr(module, "ATTRIBUTES", tuple(attributes))
        yield
