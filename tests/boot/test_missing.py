"""What is not there, or is not what it should be, is named."""

from pathlib import Path

import pytest

from tests.boot.machines import TINY_MODEL, Booted, boot

pytestmark = pytest.mark.qemu


def write(folder: Path, data: bytes) -> Path:
    path = folder / "disk.img"
    path.write_bytes(data)
    return path


def test_no_disk(plain: Booted) -> None:
    assert "no disk" in plain.boot_text
    assert "no disk" in plain.execute("ai-load")
    assert plain.execute("lsblk") == "no disk"
    assert "no disk" in plain.execute("ai Hello")


def test_no_network(plain: Booted) -> None:
    assert "no network device" in plain.execute("ip")
    assert "no network device" in plain.execute("ai-serve 8080")


def test_disk_without_gguf(tmp_path: Path) -> None:
    with boot(disk=write(tmp_path, bytes(1 << 20))) as machine:
        assert machine.execute("ai-load") == "the disk holds no GGUF file"
        assert "no GGUF" in machine.execute("ai Hello")


def test_short_disk(tmp_path: Path) -> None:
    data = TINY_MODEL.read_bytes()
    with boot(disk=write(tmp_path, data[: len(data) // 2])) as machine:
        text = machine.execute("ai-load")
        assert text.startswith("cannot load: "), text
        assert "model" not in machine.execute("ai-info") or "no model" in machine.execute("ai-info")


def test_tiny_disk(tmp_path: Path) -> None:
    with boot(disk=write(tmp_path, b"GGUF" * 128)) as machine:
        assert "too small" in machine.execute("ai-load")


def test_empty_disk(tmp_path: Path) -> None:
    with boot(disk=write(tmp_path, b"")) as machine:
        assert "disk" in machine.boot_text
        assert "no disk" in machine.execute("ai-load")


def test_legacy_disk() -> None:
    legacy = ["-global", "virtio-mmio.force-legacy=true"]
    with boot(disk=TINY_MODEL, extra=legacy) as machine:
        assert "legacy" in machine.boot_text


def test_disk_that_fails(tmp_path: Path) -> None:
    rules = tmp_path / "blkdebug.conf"
    rules.write_text('[inject-error]\nevent = "read_aio"\nerrno = "5"\nsector = "8"\n')
    drive = f"if=none,id=bad,format=raw,readonly=on,file=blkdebug:{rules}:{TINY_MODEL}"
    extra = ["-drive", drive, "-device", "virtio-blk-device,drive=bad"]
    with boot(extra=extra) as machine:
        assert "I/O error" in machine.execute("ai-load")


def large(folder: Path, data: bytes) -> Path:
    """A model's file made so large, by a hole, that the disk takes many turns to read it."""
    path = write(folder, data)
    with path.open("r+b") as file:
        file.truncate(192 << 20)
    return path


def test_disk_that_fails_when_weights_are_there_already(tmp_path: Path) -> None:
    """All is given back: the next load, of the same disk, succeeds."""
    disk = large(tmp_path, TINY_MODEL.read_bytes())
    rules = tmp_path / "blkdebug.conf"
    sector = (180 << 20) // 512
    rules.write_text(
        f'[inject-error]\nevent = "read_aio"\nerrno = "5"\nsector = "{sector}"\nonce = "on"\n'
    )
    drive = f"if=none,id=bad,format=raw,readonly=on,file=blkdebug:{rules}:{disk}"
    extra = ["-drive", drive, "-device", "virtio-blk-device,drive=bad"]
    with boot(extra=extra, memory=1 << 30) as machine:
        assert "I/O error" in machine.execute("ai-load")
        assert "header read" in machine.execute("boot")
        assert "no model" in machine.execute("ai-info")
        assert "192 MiB" in machine.execute("ai-load")
        assert "tok/s" in machine.execute("ai-bench 4 8")


def test_model_refused_while_the_disk_reads(tmp_path: Path) -> None:
    """What the disk is still writing to is not given away, and it reads again."""
    data = TINY_MODEL.read_bytes().replace(b"blk.0.attn_q.weight", b"blk.0.attn_z.weight")
    with boot(disk=large(tmp_path, data), memory=1 << 30) as machine:
        for _ in range(2):
            text = machine.execute("ai-load")
            assert text.startswith("cannot load: "), text
            assert "attn_q" in text
        assert machine.execute("uptime")


def test_too_little_memory() -> None:
    with boot(disk=TINY_MODEL, memory=32 << 20) as machine:
        assert "memory" in machine.execute("ai-load")
        assert machine.execute("uptime")
