"""Clock arithmetic and the sources of the TSC's frequency."""

from typing import Any

import pytest

from bare import cpu
from bare.testing import implementations
from merlion.kernel.clock import Clock

impl = implementations("merlion.kernel.arch.x86_64.tsc")


def test_nanoseconds(impl: Any) -> None:
    clock = Clock(0, 2_400_000)
    assert clock.nanoseconds(2_400_000_000) == 1_000_000_000
    assert clock.nanoseconds(12) == 5
    a_century = 100 * 365 * 86400 * 2_400_000_000
    assert clock.nanoseconds(a_century) == 100 * 365 * 86400 * 10**9


def test_kvmclock_scale(impl: Any) -> None:
    # Linux on a 2.0 GHz host: multiplier 0x80000000, shift 0 (ns = ticks / 2).
    assert impl.scale_to_khz(0x8000_0000, 0) == 2_000_000
    # 2.6 GHz: shift -1 (255), multiplier ~ 0xC4EC4EC4.
    assert abs(impl.scale_to_khz(0xC4EC_4EC4, 255) - 2_600_000) <= 1
    assert impl.scale_to_khz(0, 0) == 0


def test_cpuid_15(monkeypatch: pytest.MonkeyPatch) -> None:
    from merlion.kernel.arch.x86_64 import tsc

    monkeypatch.setattr(cpu, "cpuid_leaves", {(0x15, 0): (2, 216, 24_000_000, 0)})
    assert tsc.from_cpuid_15(0x16) == 2_592_000
    assert tsc.from_cpuid_15(0x14) == 0
