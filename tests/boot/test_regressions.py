"""Failures that an earlier system of this name had, each as one test."""

import http.client
import json
import re
import time
from pathlib import Path

import pytest

from merlion.cli.accelerator import Accelerator
from tests.boot.machines import HTTP_SECONDS, TINY_MODEL, Booted, boot, serving

pytestmark = pytest.mark.qemu
MEBIBYTE = 1 << 20


def test_boots_with_disk_and_network() -> None:
    """It panicked with both attached."""
    with boot(disk=TINY_MODEL, network=True) as machine:
        assert "disk 1 MiB" in machine.boot_text
        assert "network 52:54:00" in machine.boot_text


@pytest.mark.parametrize("queue", [4, 16, 256])
def test_reads_more_requests_than_the_ring_holds(tmp_path: Path, queue: int) -> None:
    """It panicked at the 17th request."""
    disk = tmp_path / "large.gguf"
    disk.write_bytes(TINY_MODEL.read_bytes())
    with disk.open("r+b") as file:
        file.truncate(100 * MEBIBYTE)  # A hole, so it costs no space.
    device = f"virtio-blk-device,drive={{drive}},queue-size={queue},request-merging=off"
    with boot(disk=disk, disk_device=device, memory=1 << 30) as machine:
        assert "100 MiB" in machine.execute("ai-load")
        assert "tok/s" in machine.execute("ai-bench 4 8")


def test_large_vocabulary_is_read(fast: Booted) -> None:
    """A vocabulary of 49 k could not be read, and a random model answered silently."""
    assert "vocabulary 49152" in fast.execute("ai-info")
    reply = fast.request("/tokenize", {"content": "the capital of France"}).json
    assert reply["count"] == 4
    assert "Paris" in fast.chat("What is the capital of France?", 16)


@pytest.mark.parametrize("firmware", ["qboot", "seabios"])
def test_bar_above_4_gib(firmware: str) -> None:
    """A 64-bit BAR above 4 GiB was not mapped."""
    # A device this large leaves the firmware no room below 4 GiB for any 64-bit BAR.
    extra = ["-device", "pci-testdev,membar=8G"]
    if firmware == "seabios":
        extra += ["-bios", "bios-256k.bin"]
    with boot(machine="q35", disk=TINY_MODEL, network=True, extra=extra) as machine:
        text = machine.execute("lspci")
        virtio = [line for line in text.splitlines() if " 1af4:10" in line]
        assert len(virtio) == 2, text
        if firmware == "seabios":
            addresses = [int(a, 16) for line in virtio for a in re.findall(r"\[(\w+)\]", line)]
            assert max(addresses) >= 1 << 32, text
        assert "model" in machine.execute("ai-load")


def test_port_forwarding_answers(tiny: Booted) -> None:
    """curl through the forwarded port timed out: no ARP."""
    assert tiny.request("/v1/models").status == 200


def test_avx2_is_switched_on_before_it_is_used(tiny: Booted) -> None:
    """The first AVX instruction was an invalid opcode: XCR0 had not been set."""
    text = tiny.execute("cpuid")
    assert "AVX2" in text
    xcr0 = re.search(r"XCR0\s+(\w+)", text)
    assert xcr0 is not None
    assert int(xcr0[1], 16) & 0b111 == 0b111
    assert "AVX2" in tiny.execute("ai-bench 4 8")


def test_time_to_first_token_is_measured(tiny: Booted) -> None:
    """It was printed as 0.0 ms: the clock ticked every 10 ms."""
    found = re.search(r"first token (\d+\.\d+) ms", tiny.execute("ai-bench 4 8"))
    assert found is not None
    assert float(found[1]) > 0


def test_stream_is_not_one_chunk_at_the_end() -> None:
    """All of the answer came at once, when it was complete."""
    with serving(Accelerator.TCG, TINY_MODEL) as machine:
        connection = http.client.HTTPConnection("127.0.0.1", machine.port, timeout=HTTP_SECONDS)
        body = {"prompt": "Once", "max_tokens": 200, "stream": True, "ignore_eos": True}
        connection.request("POST", "/v1/completions", json.dumps(body))
        reply = connection.getresponse()
        times = []
        while line := reply.readline():
            if line.startswith(b"data: {"):
                times.append(time.monotonic())
        connection.close()
    assert len(times) > 100
    # Between the first and the last chunk lies the time of 199 tokens.
    assert times[-1] - times[0] > 0.02
    assert times[len(times) // 2] < times[-1]
