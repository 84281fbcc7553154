"""Driver tests see the device models in tests/devices, and a machine to plug them into."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from devices.machine import Machine  # noqa: E402


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine without devices: physical addresses and ports lead to what the test adds."""
    made = Machine()
    made.install(monkeypatch)
    yield made
    made.check()
