"""Machines that many tests share; the image is built once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from merlion.cli.accelerator import Accelerator
from merlion.cli.build import build_image
from merlion.cli.qemu import PROGRAM
from tests.boot.machines import TINY_MODEL, Booted, boot, native, serving
from tests.models import find_smollm2


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: of the boots, those that `make check` has time for")


@pytest.fixture(scope="session", autouse=True)
def image() -> None:
    """Build it."""
    import shutil

    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed")
    build_image()


@pytest.fixture(scope="session")
def plain(image: None) -> Iterator[Booted]:
    """Emulated, without disk and network."""
    with boot(words=["panic=exit"]) as booted:
        yield booted


@pytest.fixture(scope="session")
def tiny(image: None) -> Iterator[Booted]:
    """Emulated, with disk and network, serving stories260K."""
    if not TINY_MODEL.exists():
        pytest.skip("no reference data")
    with serving(Accelerator.TCG, TINY_MODEL) as booted:
        yield booted


@pytest.fixture(scope="session")
def accelerator() -> Accelerator:
    """The native one."""
    found = native()
    if found is None:
        pytest.skip("neither KVM nor PVM here")
    return found


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Any SmolLM2, the smallest first."""
    for kind in ("Q4_0", "Q4_1", "Q8_0"):
        path = find_smollm2(kind)
        if path is not None:
            return path
    pytest.skip("no SmolLM2: merlion model get smollm2-135m")


@pytest.fixture(scope="session")
def fast(image: None, accelerator: Accelerator, smollm2: Path) -> Iterator[Booted]:
    """Native, serving SmolLM2."""
    with serving(accelerator, smollm2) as booted:
        yield booted
