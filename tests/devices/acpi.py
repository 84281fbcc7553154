"""ACPI tables, built as a firmware builds them, in memory below 4 GiB of this process.

The DSDT fragments are byte for byte what QEMU 7.2 emits for microvm and q35.
"""

import ctypes
import mmap

from devices.machine import store

MAP_32BIT = 0x40
AREA_BYTES = 1 << 16
AREAS: list[mmap.mmap] = []  # Tables are reached by address: they must stay.

# Device (VR23) {_HID "LNRO0005", _UID, _CCA 1, _CRS {Memory32Fixed (0xFEB02E00, 0x200), Interrupt}}
MICROVM_SLOT_23 = bytes.fromhex(
    "5b82420456523233085f4849440d4c4e524f3030303500085f5549440a17085f43434101"
    "085f435253111a0a1786090001002eb0fe000200008906000101" + "2f0000007900"
)
MICROVM_SLOT_22 = MICROVM_SLOT_23.replace(b"VR23", b"VR22").replace(b"\x2e\xb0", b"\x2c\xb0")
MICROVM_S5 = bytes.fromhex("085f53355f1207040a05000000")
Q35_S5 = bytes.fromhex("085f53355f12060400000000")
PCIE_ROOT = bytes.fromhex("085f4849440c41d00a08") + b"\x08_CID\x0dPNP0A08\x00"


def little(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def with_checksum(table: bytes, at: int) -> bytes:
    made = bytearray(table)
    made[at] = 0
    made[at] = -sum(made) & 0xFF
    return bytes(made)


def table(signature: bytes, body: bytes, revision: int = 1) -> bytes:
    """A table with its header (5.2.6)."""
    header = signature + little(36 + len(body), 4) + bytes([revision, 0]) + b"BOCHS BXPC    "
    header += little(1, 4) + b"BXPC" + little(1, 4)
    return with_checksum(header + body, 9)


def generic(space: int, address: int, width: int = 8) -> bytes:
    return bytes([space, width, 0, 0]) + little(address, 8)


def fadt(
    *,
    dsdt: int,
    extended: bool = True,
    flags: int = 0,
    pm1a: int = 0,
    reset: tuple[int, int, int] | None = None,
    sleep_control: int = 0,
    smi: tuple[int, int] = (0, 0),
) -> bytes:
    """A FADT of revision 5, or with `extended` False the 116 bytes of revision 1."""
    made = bytearray(268)
    made[40:44] = little(dsdt, 4)
    made[48:52] = little(smi[0], 4)
    made[52] = smi[1]
    made[64:68] = little(pm1a, 4)
    made[112:116] = little(flags, 4)
    if reset is not None:
        made[116:128] = generic(reset[0], reset[1])
        made[128] = reset[2]
    made[140:148] = little(dsdt, 8)
    if pm1a:
        made[172:184] = generic(1, pm1a, 16)
    if sleep_control:
        made[244:256] = generic(0, sleep_control)
    return table(b"FACP", bytes(made[36 : 268 if extended else 116]), 5 if extended else 1)


def madt(entries: list[bytes], lapic: int = 0xFEE0_0000) -> bytes:
    return table(b"APIC", little(lapic, 4) + little(1, 4) + b"".join(entries))


def local_apic(uid: int, id: int, flags: int = 1) -> bytes:
    return bytes([0, 8, uid, id]) + little(flags, 4)


def local_x2apic(id: int, flags: int = 1) -> bytes:
    return bytes([9, 16, 0, 0]) + little(id, 4) + little(flags, 4) + little(id, 4)


def lapic_override(address: int) -> bytes:
    return bytes([5, 12, 0, 0]) + little(address, 8)


def mcfg(base: int) -> bytes:
    return table(b"MCFG", bytes(8) + little(base, 8) + little(0, 2) + bytes([0, 255]) + bytes(4))


class Firmware:
    """Puts tables into memory that 32-bit pointers reach."""

    def __init__(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT
        self.area = mmap.mmap(-1, AREA_BYTES, flags=flags)
        AREAS.append(self.area)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.area))
        assert self.address < 1 << 32
        self.used = 0

    def put(self, data: bytes) -> int:
        address = self.address + self.used
        store(address, data)
        self.used += (len(data) + 63) // 64 * 64
        assert self.used <= AREA_BYTES
        return address

    def root(self, tables: list[int], *, revision: int = 2) -> int:
        """An RSDP (5.2.5.3) with an XSDT, or with an RSDT only for revision 0."""
        pointer = b"RSD PTR \0BOCHS " + bytes([revision])
        if revision < 2:
            rsdt = self.put(table(b"RSDT", b"".join(little(a, 4) for a in tables)))
            return self.put(with_checksum(pointer + little(rsdt, 4), 8))
        xsdt = self.put(table(b"XSDT", b"".join(little(a, 8) for a in tables)))
        whole = with_checksum(pointer + little(0, 4), 8)
        whole += little(36, 4) + little(xsdt, 8) + bytes(4)
        return self.put(with_checksum(whole, 32))

    def microvm(self, *, pcie: bool = False, cores: int = 2) -> int:
        """The tables of QEMU 7.2's microvm with devices in slots 22 and 23."""
        program = b"\x10\x20" + MICROVM_SLOT_23 + MICROVM_SLOT_22
        if pcie:
            program += PCIE_ROOT
        dsdt = self.put(table(b"DSDT", program + MICROVM_S5))
        return self.root(
            [
                self.put(
                    fadt(
                        dsdt=dsdt,
                        flags=1 << 20 | 1 << 10,
                        reset=(0, 0xFEA0_0202, 0x42),
                        sleep_control=0xFEA0_0200,
                    )
                ),
                self.put(madt([local_apic(i, i) for i in range(cores)])),
            ]
        )

    def q35(self, *, cores: int = 2) -> int:
        """The tables of QEMU 7.2's q35: revision 0, so an RSDT."""
        dsdt = self.put(table(b"DSDT", PCIE_ROOT + Q35_S5))
        return self.root(
            [
                self.put(
                    fadt(dsdt=dsdt, flags=1 << 10, pm1a=0x604, reset=(1, 0xCF9, 0xF), smi=(0xB2, 2))
                ),
                self.put(madt([local_apic(i, i) for i in range(cores)])),
                self.put(mcfg(0xB000_0000)),
            ],
            revision=0,
        )
