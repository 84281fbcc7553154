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


def test_too_little_memory() -> None:
    with boot(disk=TINY_MODEL, memory=32 << 20) as machine:
        assert "memory" in machine.execute("ai-load")
        assert machine.execute("uptime")
