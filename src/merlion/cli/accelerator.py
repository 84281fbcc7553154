"""What QEMU can run the machine with here: hardware KVM, PVM, or emulation.

PVM (kernel module kvm_pvm) offers /dev/kvm without hardware virtualisation; a guest that knows runs
at native speed there (docs/hardware/pvm.md), one that does not is interpreted. So the flags of the
CPU decide, not the presence of /dev/kvm.
"""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from merlion.cli.errors import UserError

KVM_DEVICE = Path("/dev/kvm")
PVM_MODULE = Path("/sys/module/kvm_pvm")
CPU_INFO = Path("/proc/cpuinfo")
HARDWARE_FLAGS = {"vmx", "svm"}


class Accelerator(StrEnum):
    """How guest instructions are executed."""

    KVM = "kvm"
    PVM = "pvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class Choice:
    """An accelerator and why it was taken."""

    accelerator: Accelerator
    reason: str


def cpu_flags() -> set[str]:
    """The flags of the first CPU."""
    for line in CPU_INFO.read_text().splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def is_kvm_usable() -> bool:
    """Whether this user may open /dev/kvm."""
    return os.access(KVM_DEVICE, os.R_OK | os.W_OK)


def detect() -> Choice:
    """The fastest accelerator that works here."""
    if not KVM_DEVICE.exists():
        return Choice(Accelerator.TCG, "there is no /dev/kvm: emulated")
    if not is_kvm_usable():
        return Choice(Accelerator.TCG, "/dev/kvm is not ours to open (group kvm): emulated")
    if cpu_flags() & HARDWARE_FLAGS:
        return Choice(Accelerator.KVM, "hardware virtualisation")
    if PVM_MODULE.exists():
        return Choice(Accelerator.PVM, "/dev/kvm is PVM: native speed")
    return Choice(Accelerator.TCG, "/dev/kvm without vmx, svm or PVM: emulated")


def choose(name: str) -> Choice:
    """What `--accel` asks for."""
    if name == "auto":
        return detect()
    try:
        wanted = Accelerator(name)
    except ValueError:
        raise UserError(f"--accel {name}: no such accelerator", "auto, kvm, pvm or tcg") from None
    if wanted is not Accelerator.TCG and not is_kvm_usable():
        raise UserError(f"--accel {name}: /dev/kvm cannot be opened", "--accel tcg")
    if wanted is Accelerator.KVM and not cpu_flags() & HARDWARE_FLAGS and PVM_MODULE.exists():
        # A guest that is not told would be interpreted, or hang.
        raise UserError("--accel kvm: /dev/kvm is PVM on this host", "--accel pvm or --accel auto")
    return Choice(wanted, "as asked")
