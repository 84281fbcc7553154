"""Names of PCI classes and of the vendors a machine of ours is likely to have, for `lspci`."""

from bare import Bytes, u8, u16, u32

CLASS_NAMES = {
    0x0100: b"SCSI controller",
    0x0101: b"IDE controller",
    0x0106: b"SATA controller",
    0x0108: b"NVMe controller",
    0x0200: b"Ethernet controller",
    0x0300: b"VGA controller",
    0x0302: b"3D controller",
    0x0380: b"Display controller",
    0x0403: b"Audio device",
    0x0600: b"Host bridge",
    0x0601: b"ISA bridge",
    0x0604: b"PCI bridge",
    0x0680: b"Bridge",
    0x0700: b"Serial controller",
    0x0880: b"System peripheral",
    0x0C03: b"USB controller",
    0x0C05: b"SMBus",
    0x1200: b"Processing accelerator",
}

VENDOR_NAMES = {
    0x1002: b"AMD",
    0x1022: b"AMD",
    0x10DE: b"NVIDIA",
    0x10EC: b"Realtek",
    0x144D: b"Samsung",
    0x15B7: b"SanDisk",
    0x1AF4: b"Red Hat (virtio)",
    0x1B36: b"Red Hat (QEMU)",
    0x1234: b"QEMU",
    0x8086: b"Intel",
}

CLASS_CODES = tuple(CLASS_NAMES)
CLASS_TEXTS = tuple(CLASS_NAMES.values())
VENDOR_IDS = tuple(VENDOR_NAMES)
VENDOR_TEXTS = tuple(VENDOR_NAMES.values())


def class_name(class_code: u8, subclass: u8) -> Bytes:
    """Name a class, e.g. `Ethernet controller`."""
    code: u32 = class_code << 8 | subclass
    for i in range(len(CLASS_CODES)):
        if CLASS_CODES[i] == code:
            return CLASS_TEXTS[i]
    return b"Device"


def vendor_name(vendor_id: u16) -> Bytes:
    """Name a vendor, or return nothing."""
    for i in range(len(VENDOR_IDS)):
        if VENDOR_IDS[i] == vendor_id:
            return VENDOR_TEXTS[i]
    return b""
