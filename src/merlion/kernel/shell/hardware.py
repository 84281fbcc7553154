"""Shell commands about devices: lspci, lsblk."""

from bare import Bytes, usize
from merlion.kernel.console import console
from merlion.kernel.hardware import hardware
from merlion.kernel.pci.names import class_name, vendor_name
from merlion.kernel.storage import byte_count, storage

MEBIBYTE = 1 << 20


def lspci(arguments: Bytes) -> bool:
    """List PCI devices: address, ids, what they are, where their registers lie."""
    out = console.out
    if not hardware.has_pci:
        console.line(b"no PCI on this machine")
        return True
    for device in hardware.pci.devices[: usize(hardware.pci.count)]:
        out.hex(device.address >> 8, 2)
        out.byte(0x3A)
        out.hex(device.address >> 3 & 31, 2)
        out.byte(0x2E)
        out.unsigned(device.address & 7)
        out.byte(0x20)
        out.hex(device.vendor_id, 4)
        out.byte(0x3A)
        out.hex(device.device_id, 4)
        out.byte(0x20)
        out.text(class_name(device.class_code, device.subclass))
        out.text(b", ")
        out.text(vendor_name(device.vendor_id))
        for bar in device.bars:
            if bar.byte_count > 0 and bar.is_memory:
                out.text(b" [")
                out.hex(bar.address, 9)
                out.byte(0x5D)
        console.line(b"")
    return True


def lsblk(arguments: Bytes) -> bool:
    """List disks."""
    disk = storage.disk
    if disk is None:
        console.line(b"no disk")
        return True
    console.write(b"disk0  ")
    console.out.unsigned(byte_count(disk) // MEBIBYTE)
    console.line(b" MiB")
    return True
