"""QEMU command lines for the machine.

microvm is the default: the kernel is entered 50 ms after QEMU starts. q35 is for what needs PCI; it
gets qboot as firmware, which starts PVH kernels without SeaBIOS's seconds.
"""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from merlion.cli.accelerator import Accelerator
from merlion.cli.errors import UserError

PROGRAM = "qemu-system-x86_64"
MACHINES = ("microvm", "q35")
GUEST_PORT = 8080
EXIT_PORT = 0xF4
FIRMWARE = Path("/usr/share/qemu/qboot.rom")
# What QEMU's DHCP server would say. A connection made before the machine has its address is tried
# again only after 6 s; with a fixed one the machine answers from its first moment.
USER_NETWORK = "ip=10.0.2.15/24,10.0.2.2"
MEBIBYTE = 1 << 20
MEMORY_MIN = 512 * MEBIBYTE
MEMORY_STEP = 256 * MEBIBYTE
SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def find_qemu() -> str:
    """QEMU's path."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise UserError(
            f"{PROGRAM} is not installed",
            "on Debian and Ubuntu: sudo apt-get install qemu-system-x86",
        )
    return found


def parse_size(text: str) -> int:
    """`2G`, `512M`, or a number of MiB."""
    number, scale = text, MEBIBYTE
    if text[-1:].upper() in SUFFIXES:
        number, scale = text[:-1], SUFFIXES[text[-1:].upper()]
    try:
        size = int(number) * scale
    except ValueError:
        raise UserError(f"--memory {text}: not a size", "for example 2G or 512M") from None
    if size < 64 * MEBIBYTE:
        raise UserError(f"--memory {text}: too little to boot", "at least 64M")
    return size


def memory_for(disk: Path | None) -> int:
    """Room for the file, its repacked weights, and the cache."""
    if disk is None:
        return MEMORY_MIN
    wanted = max(2 * MEMORY_MIN, 3 * disk.stat().st_size + MEMORY_MIN)
    return -(-wanted // MEMORY_STEP) * MEMORY_STEP


@dataclass(slots=True)
class Machine:
    """One virtual machine."""

    kernel: Path
    accelerator: Accelerator
    machine: str = "microvm"
    cores: int = 1
    memory: int = MEMORY_MIN
    disk: Path | None = None
    network: bool = True
    host_port: int | None = None  # Forwarded to GUEST_PORT.
    words: list[str] = field(default_factory=list)  # Of the kernel command line.
    cpu: str = ""  # Instead of the accelerator's usual one.
    disk_device: str = ""  # The same for -device; `{drive}` names the drive.
    nic_device: str = ""
    extra: list[str] = field(default_factory=list)

    def command(self) -> list[str]:
        """The command line."""
        line = [find_qemu(), *self.machine_options(), *self.cpu_options()]
        line += ["-m", f"{self.memory // MEBIBYTE}M", "-smp", str(self.cores)]
        line += ["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"]
        line += ["-no-reboot", "-serial", "stdio"]
        line += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04"]
        line += self.disk_options() + self.network_options()
        line += ["-kernel", str(self.kernel)]
        words = list(self.words)
        if self.network and not any(word.startswith("ip=") for word in words):
            words.append(USER_NETWORK)
        # Not every machine has a clock that keeps the date; this costs nothing.
        words.append(f"time={int(time.time())}")
        if self.accelerator is Accelerator.PVM:
            words.insert(0, "pvm")
        return [*line, "-append", " ".join(words), *self.extra]

    @property
    def is_microvm(self) -> bool:
        """Devices are on virtio-mmio, not on PCI."""
        return self.machine == "microvm"

    def machine_options(self) -> list[str]:
        """-M, and what belongs to it."""
        if self.is_microvm:
            return ["-M", "microvm", "-global", "virtio-mmio.force-legacy=false"]
        # qboot leaves all of PCI to the kernel, and is the only firmware that is quick under PVM.
        firmware = ["-bios", str(FIRMWARE)] if FIRMWARE.exists() else []
        return ["-M", self.machine, *firmware]

    def cpu_options(self) -> list[str]:
        """-accel and -cpu."""
        if self.accelerator is Accelerator.TCG:
            return ["-accel", "tcg,thread=multi", "-cpu", self.cpu or "max"]
        # Under PVM, QEMU aborts when it tries to set arch-capabilities; elsewhere we need none.
        return ["-enable-kvm", "-cpu", self.cpu or "host,-arch-capabilities"]

    def disk_options(self) -> list[str]:
        """The model file as a disk, read-only, with a thread of its own."""
        if self.disk is None:
            return []
        # In QEMU's options a comma is written twice.
        file = str(self.disk).replace(",", ",,")
        # Not io_uring: QEMU 7.2 never submits the rest of a short read (docs/hardware/virtio.md).
        drive = f"if=none,id=disk0,file={file},format=raw,readonly=on,aio=threads"
        options = ["-drive", drive]
        device = "virtio-blk-device" if self.is_microvm else "virtio-blk-pci,disable-legacy=on"
        # Requests are large already; merged ones are copied by fewer threads.
        usual = device + ",request-merging=off,drive={drive}"
        if self.accelerator is not Accelerator.TCG:  # Needs KVM's ioeventfd on virtio-mmio.
            options += ["-object", "iothread,id=io0"]
            usual += ",iothread=io0"
        return [*options, "-device", (self.disk_device or usual).format(drive="disk0")]

    def network_options(self) -> list[str]:
        """User networking, with one port forwarded."""
        if not self.network:
            return []
        forward = ""
        if self.host_port is not None:
            forward = f",hostfwd=tcp:127.0.0.1:{self.host_port}-:{GUEST_PORT}"
        usual = "virtio-net-device,netdev={net}"
        if not self.is_microvm:
            usual = "virtio-net-pci,disable-legacy=on,netdev={net}"
        device = (self.nic_device or usual).format(net="net0")
        return ["-netdev", f"user,id=net0{forward}", "-device", device]
