"""The energy counter, by maker."""

from collections.abc import Iterator
from typing import Any

import pytest

from bare import cpu
from merlion.kernel.arch.x86_64.energy import Energy


@pytest.fixture
def registers() -> Iterator[dict[int, int]]:
    cpu.msrs.clear()
    yield cpu.msrs
    cpu.msrs.clear()


@pytest.mark.parametrize(
    ("vendor", "unit", "package"),
    [
        (b"GenuineIntel", 0x606, 0x611),
        (b"AuthenticAMD", 0xC001_0299, 0xC001_029B),
        (b"HygonGenuine", 0xC001_0299, 0xC001_029B),
    ],
)
def test_counter(registers: dict[int, int], vendor: bytes, unit: int, package: int) -> None:
    registers[unit] = 0xA_0E_03  # Joules in units of 2 to the -14.
    registers[package] = 5
    energy: Any = Energy()
    energy.find(vendor)
    assert energy.read() == 5
    assert energy.joules(5, 5 + (3 << 14)) == 3.0


def test_counter_wraps(registers: dict[int, int]) -> None:
    energy: Any = Energy(register=0x611, unit=1)
    assert energy.joules(0xFFFF_FFFF, 1) == 1.0


def test_no_counter(registers: dict[int, int]) -> None:
    for vendor in (b"GenuineIntel", b"AuthenticAMD", b"SomebodyElse"):
        energy: Any = Energy()
        energy.find(vendor)
        assert energy.read() == 0
        assert energy.joules(0, 0) == 0
