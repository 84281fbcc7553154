"""Machines of other shapes: cores, processors, buses, pages, memory."""

import re

import pytest

from bare.compiler.host import host_levels
from bare.simd import LEVEL_NAMES, Level
from merlion.cli.accelerator import Accelerator
from merlion.kernel.arch.x86_64.features import level_text
from tests.boot.machines import TINY_MODEL, boot, hosted_text, serving

pytestmark = pytest.mark.qemu
PROMPT = "Once upon a time"
TOKENS = 6
GIB = 1 << 30


def check_text(machine: object, **fields: object) -> str:
    """Boot, and compare what the model says; gives `info`."""
    with serving(Accelerator.TCG, TINY_MODEL, machine=machine, **fields) as booted:
        assert booted.complete(PROMPT, TOKENS) == hosted_text(TINY_MODEL, PROMPT, TOKENS)
        return booted.execute("info") + booted.boot_text


@pytest.mark.parametrize("machine", ["microvm", "q35", "microvm,pcie=on", "microvm,acpi=off"])
def test_machine(machine: str) -> None:
    if machine == "microvm":
        pytest.skip("every other test uses it")
    microvm = machine.startswith("microvm")
    fields: dict[str, object] = {}
    if microvm:
        fields["extra"] = ["-machine", machine.partition(",")[2]]
    text = check_text("microvm" if microvm else machine, **fields)
    assert "1 core" in text


@pytest.mark.parametrize("cores", [2, 4])
def test_cores(cores: int) -> None:
    text = check_text("microvm", cores=cores)
    assert f"cores {cores} of {cores}" in text
    assert f"{cores} cores" in text


def test_cores_word() -> None:
    assert "cores 1 of 3" in check_text("microvm", cores=3, words=["cores=1"])


@pytest.mark.parametrize(
    ("cpu", "level"),
    [("max,-avx2", "SSE4.2"), ("max,-xsave", "SSE4.2"), ("max,-fma", "SSE4.2"), ("max", "AVX2")],
)
def test_processor(cpu: str, level: str) -> None:
    text = check_text("microvm", cpu=cpu)
    assert level in text, text


@pytest.mark.parametrize("level", Level)
def test_level_by_word(accelerator: Accelerator, level: Level) -> None:
    """PVM shows the processor as it is: only a word gives a lower level there."""
    name = LEVEL_NAMES[level].decode()
    has = [known for known in host_levels() if known <= level]
    with serving(accelerator, TINY_MODEL, words=[f"simd={name}"]) as booted:
        assert booted.complete(PROMPT, TOKENS) == hosted_text(TINY_MODEL, PROMPT, TOKENS)
        kernels = re.search(r"kernels +(.*\S)", booted.execute("cpuid"))
        assert kernels is not None
        assert kernels[1] == level_text(has[-1]).decode()
        assert "unknown" not in booted.execute("config")


@pytest.mark.parametrize("word", ["simd=baseline", "pages=4k", "pages=2m", "pages=1g"])
def test_word(word: str) -> None:
    check_text("microvm", words=[word])


@pytest.mark.parametrize("cpu", ["max,-pdpe1gb", "max,-x2apic"])
def test_missing_feature(cpu: str) -> None:
    check_text("microvm", cpu=cpu)


def test_weak_random_numbers_are_announced() -> None:
    with boot(cpu="max,-rdrand", network=True) as machine:
        assert machine.boot_text.count("no RDRAND") == 1


@pytest.mark.parametrize("machine", ["microvm", "q35"])
@pytest.mark.parametrize("memory", [GIB // 4, 5 * GIB])
def test_memory_is_what_qemu_was_given(machine: str, memory: int) -> None:
    with boot(machine=machine, memory=memory) as booted:
        total = re.search(r"total\s+(\d+) MiB", booted.execute("free"))
        assert total is not None
        # Less: the first MiB, the image, what the firmware keeps.
        assert 0 <= memory // (1 << 20) - int(total[1]) <= 6


def test_static_address() -> None:
    words = ["ip=10.0.2.99/24,10.0.2.2"]
    with boot(network=True, words=words) as booted:
        text = booted.execute("ip")
        assert "10.0.2.99" in text
        assert "static" in text
        assert "answer 1" in booted.execute("ping 10.0.2.2")


def test_dhcp() -> None:
    with boot(network=True, words=["ip=dhcp"]) as booted:
        booted.wait_for(lambda: "10.0.2.15" in booted.execute("ip"), 10)
        assert "DHCP" in booted.execute("ip")


def test_unknown_word_is_reported() -> None:
    with boot(words=["frobnicate=1", "pages=3m"]) as booted:
        assert "unknown word: frobnicate=1" in booted.boot_text
        assert "pages=3m is not understood: 4k, 2m or 1g" in booted.boot_text


def test_as_many_together_as_the_command_line_says() -> None:
    with serving(Accelerator.TCG, TINY_MODEL, words=["parallel=20"]) as booted:
        assert "sequences 20" in booted.execute("ai-info")
        assert "20 answers" in booted.execute("ai-bench 4 8 20")
