"""merlion run: which accelerator, which command line, and the console's protocol."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from merlion.cli import accelerator, qemu
from merlion.cli.accelerator import Accelerator
from merlion.cli.errors import UserError
from merlion.cli.guest import Guest, GuestError
from merlion.cli.run import check_port, execute_all, key_words


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without /dev/kvm."""
    monkeypatch.setattr(accelerator, "KVM_DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(accelerator, "PVM_MODULE", tmp_path / "kvm_pvm")
    monkeypatch.setattr(accelerator, "CPU_INFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu sse2 avx2\n")
    monkeypatch.setattr(qemu, "find_qemu", lambda: "qemu")
    return tmp_path


def test_emulation_where_there_is_no_kvm(host: Path) -> None:
    assert accelerator.detect().accelerator is Accelerator.TCG
    with pytest.raises(UserError, match="cannot be opened"):
        accelerator.choose("kvm")


def test_pvm_is_told_from_kvm_by_the_flags(host: Path) -> None:
    (host / "kvm").touch()
    assert accelerator.detect().accelerator is Accelerator.TCG
    (host / "kvm_pvm").mkdir()
    assert accelerator.detect().accelerator is Accelerator.PVM
    (host / "cpuinfo").write_text("flags : fpu svm\n")
    assert accelerator.detect().accelerator is Accelerator.KVM


def test_kvm_is_refused_where_the_device_is_pvm(host: Path) -> None:
    (host / "kvm").touch()
    (host / "kvm_pvm").mkdir()
    with pytest.raises(UserError, match="PVM") as refused:
        accelerator.choose("kvm")
    assert "--accel pvm" in refused.value.fix
    assert accelerator.choose("pvm").accelerator is Accelerator.PVM
    (host / "cpuinfo").write_text("flags : fpu vmx\n")
    assert accelerator.choose("kvm").accelerator is Accelerator.KVM


def test_an_unknown_accelerator_is_refused(host: Path) -> None:
    with pytest.raises(UserError, match="no such accelerator"):
        accelerator.choose("hvf")


def machine(accelerator: Accelerator, **settings: object) -> list[str]:
    made = qemu.Machine(kernel=Path("k.elf"), accelerator=accelerator, **settings)  # type: ignore[arg-type]
    return made.command()


def test_pvm_guests_are_told_and_spared_arch_capabilities(host: Path) -> None:
    line = " ".join(machine(Accelerator.PVM, words=["quiet"]))
    assert "-cpu host,-arch-capabilities" in line
    assert "-append pvm quiet" in line
    assert "virtio-mmio.force-legacy=false" in line


def test_emulated_guests_are_not(host: Path) -> None:
    line = machine(Accelerator.TCG, network=False)
    assert "pvm" not in line[line.index("-append") + 1]
    assert line[line.index("-cpu") + 1] == "max"


@pytest.mark.parametrize("kind", qemu.MACHINES)
def test_disk_and_network_suit_the_machine(host: Path, kind: str) -> None:
    disk = host / "with,comma.gguf"
    disk.write_bytes(b"")
    line = " ".join(machine(Accelerator.TCG, machine=kind, disk=disk, host_port=8081))
    suffix = "device" if kind == "microvm" else "pci"
    assert f"-device virtio-blk-{suffix}," in line
    assert f"-device virtio-net-{suffix}," in line
    assert "with,,comma.gguf,format=raw,readonly=on" in line
    # An iothread needs KVM's ioeventfd.
    assert "iothread" not in line
    native = machine(Accelerator.PVM, machine=kind, disk=disk)
    assert "iothread=io0" in " ".join(native)
    assert "hostfwd=tcp:127.0.0.1:8081-:8080" in line


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 << 20), ("2G", 2 << 30), ("300", 300 << 20), ("2g", 2 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert qemu.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "2T", "1M", "-1G"])
def test_wrong_sizes_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--memory"):
        qemu.parse_size(text)


# A stand-in for QEMU: a prompt, echo, and a log line that makes it draw the prompt again.
SHELL = """
import sys
out = sys.stdout
out.write("booting\\r\\nmerlion> ")
out.flush()
line = b""
while True:
    key = sys.stdin.buffer.read(1)
    if not key:
        break
    if key != b"\\r":
        line += key
        out.write(key.decode())
        if len(line) == 3:
            out.write("\\r\\x1b[K[ 1.000] a log line\\r\\nmerlion> " + line.decode())
        out.flush()
        continue
    text, line = line.decode(), b""
    if text == "shutdown":
        print("\\r\\npower off\\r")
        break
    if text == "die":
        sys.exit(33)
    status = int(text == "fail")
    out.write(f"\\r\\nyou said {text}\\r\\n\\x1b]133;D;{status}\\x07merlion> ")
    out.flush()
"""


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Guest([sys.executable, "-c", SHELL]) as found:
        yield found


def test_commands_give_their_output(guest: Guest) -> None:
    assert "booting" in guest.wait_for_prompt(20)
    assert guest.execute("hello", 20) == "you said hello\n"
    assert guest.execute("ai What is it?", 20) == "you said ai What is it?\n"
    guest.type(b"shutdown\r")
    assert guest.wait(20) == 0


def test_commands_tell_whether_they_succeeded(guest: Guest) -> None:
    guest.wait_for_prompt(20)
    assert execute_all(guest, ["hello", "fail", "merlion> ", "fail"], 20) == ["fail", "fail"]
    assert guest.execute("merlion> !", 20) == "you said merlion> !\n"
    assert guest.succeeded


def test_a_machine_that_stops_is_reported_with_its_last_words(guest: Guest) -> None:
    guest.wait_for_prompt(20)
    with pytest.raises(GuestError, match="exit status 33"):
        guest.execute("die", 20)


def test_a_machine_that_says_nothing_is_not_waited_for(guest: Guest) -> None:
    guest.wait_for_prompt(20)
    with pytest.raises(GuestError, match="did not print"):
        guest.wait_for(b"never", 0.2)


@pytest.mark.parametrize(("end", "status"), [("0", 0), ("33", 33)])
def test_an_end_of_the_guests_own_is_its_status(end: str, status: int) -> None:
    with Guest([sys.executable, "-c", f"import sys; sys.exit({end})"]) as guest:
        assert guest.own_status(20) == status


def test_qemu_that_cannot_start_is_reported_with_its_words() -> None:
    with (
        Guest([sys.executable, "-c", "import sys; sys.exit('no such device')"]) as guest,
        pytest.raises(GuestError, match="no such device"),
    ):
        guest.own_status(20)


def test_a_port_that_is_taken_is_refused_before_booting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}"):
            check_port(port)
    check_port(port)


def test_an_api_key_is_one_word() -> None:
    assert key_words("") == []
    assert key_words("sesame/7=") == ["api-key=sesame/7="]
    for wrong in ("two words", "schlüssel", "new\nline", "x" * 257):
        with pytest.raises(UserError, match="not a word") as refused:
            key_words(wrong)
        assert wrong not in str(refused.value)


def test_the_version_is_the_packages() -> None:
    command = [sys.executable, "-m", "merlion.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"merlion {version('merlionos-inference')}\n"
