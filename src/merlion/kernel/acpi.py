"""ACPI: the few facts this machine needs, read from its tables (ACPI 6.5, chapter 5).

Not an interpreter. The tables are static data, except the DSDT, which is a program; the three
things we want of it stand in it as byte patterns that every compiler of it emits alike: the `_S5_`
package, virtio-mmio devices (`LNRO0005` with a Memory32Fixed resource), a PCI Express root
(`PNP0A08`).

The pointer to the tables comes from PVH's start_info. Where it is 0 the BIOS area is searched, in
steps of 16 and with the checksum: QEMU's firmware also has the signature as a plain string there.

Tables are the firmware's: every length in them is checked before it is followed, and what lies
behind the end of an older, shorter table reads as 0.
"""

from bare import Array, Bytes, Struct, array, u8, u32, u64, usize
from bare.unsafe import slice_at

BIOS_AREA = 0xE_0000
BIOS_AREA_BYTES = 0x2_0000
RSDP_STEP = 16
RSDP_BYTES_1 = 20
RSDP_BYTES_2 = 36
TABLE_HEADER_BYTES = 36
TABLE_BYTES_MAX = 4 << 20
TABLES_MAX = 64
CORES_MAX = 256
MMIO_SLOTS_MAX = 32

# RSDP (5.2.5.3).
RSDP_REVISION = 15
RSDP_RSDT = 16
RSDP_XSDT = 24

# FADT (5.2.9).
FADT_DSDT = 40
FADT_SMI_COMMAND = 48
FADT_ACPI_ENABLE = 52  # u8
FADT_PM1A_CONTROL = 64
FADT_PM1B_CONTROL = 68
FADT_FLAGS = 112
FADT_RESET_REGISTER = 116  # Generic address
FADT_RESET_VALUE = 128  # u8
FADT_X_DSDT = 140
FADT_X_PM1A_CONTROL = 172  # Generic address
FADT_SLEEP_CONTROL = 244  # Generic address
FLAG_RESET_REGISTER = 1 << 10
FLAG_HARDWARE_REDUCED = 1 << 20

# Generic address structure (5.2.3.2): space, width, offset, access size, address.
SPACE_MEMORY = 0
SPACE_PORT = 1
GENERIC_ADDRESS = 4

# MADT (5.2.12).
MADT_LAPIC = 36
MADT_ENTRIES = 44
MADT_LOCAL_APIC = 0
MADT_LAPIC_OVERRIDE = 5
MADT_LOCAL_X2APIC = 9
MADT_ENABLED = 0b01
MADT_ONLINE_CAPABLE = 0b10

# MCFG (PCI Firmware 3.3, table 4-2).
MCFG_ENTRY = 44
MCFG_START_BUS = 10

# AML (20.2).
AML_NAME = 0x08
AML_PACKAGE = 0x12
AML_BYTE = 0x0A
AML_FIXED_MEMORY = b"\x86\x09\x00"  # Memory32Fixed descriptor (6.4.3.4), then writable, base.
AML_FIXED_MEMORY_BASE = 4
AML_DEVICE_BYTES_MAX = 128  # From a device's _HID to its _CRS.


def read_u32(table: Bytes, at: usize) -> u32:
    """Read 32 bits of a table; 0 behind its end."""
    if at + 4 > len(table):
        return 0
    return table[at] | table[at + 1] << 8 | table[at + 2] << 16 | table[at + 3] << 24


def read_u64(table: Bytes, at: usize) -> u64:
    """Read 64 bits of a table; 0 behind its end."""
    if at + 8 > len(table):
        return 0
    return u64(read_u32(table, at + 4)) << 32 | read_u32(table, at)


def read_u8(table: Bytes, at: usize) -> u8:
    """Read a byte of a table; 0 behind its end."""
    if at >= len(table):
        return 0
    return table[at]


def sums_to_zero(table: Bytes) -> bool:
    """Check a table's checksum."""
    total: u32 = 0
    for byte in table:
        total = (total + byte) & 0xFF
    return total == 0


def find_rsdp() -> u64:
    """Search the BIOS area for the root pointer. Returns its address, or 0."""
    area: Bytes = slice_at(u8, BIOS_AREA, BIOS_AREA_BYTES)
    for at in range(0, BIOS_AREA_BYTES - RSDP_BYTES_1, RSDP_STEP):
        if area[at : at + 8] == b"RSD PTR " and sums_to_zero(area[at : at + RSDP_BYTES_1]):
            return BIOS_AREA + at
    return 0


def table_at(address: u64) -> Bytes:
    """Return a table whose length and checksum are right, else nothing."""
    if address == 0:
        return b""
    length = read_u32(slice_at(u8, address, TABLE_HEADER_BYTES), 4)
    if length < TABLE_HEADER_BYTES or length > TABLE_BYTES_MAX:
        return b""
    table = slice_at(u8, address, length)
    if not sums_to_zero(table):
        return b""
    return table


class Place(Struct):
    """A register named by a generic address structure. `address` 0: there is none."""

    address: u64
    is_port: bool

    def take(self, table: Bytes, at: usize) -> None:
        """Read the structure at `at`; spaces other than memory and ports are left out."""
        space = read_u8(table, at)
        self.address = 0
        if space in (SPACE_MEMORY, SPACE_PORT):
            self.address = read_u64(table, at + GENERIC_ADDRESS)
        self.is_port = space == SPACE_PORT


class Acpi(Struct):
    """What the tables said."""

    present: bool
    table_count: u32
    hardware_reduced: bool  # No PM1 registers: sleep goes through `sleep_control`.

    # Power.
    smi_command: u32
    acpi_enable: u8
    pm1a_control: u64
    pm1b_control: u64
    sleep_control: Place
    reset: Place
    reset_value: u8
    has_s5: bool
    s5_kind_a: u8
    s5_kind_b: u8

    # Cores.
    lapic_address: u64
    cpu_count: u32
    apic_ids: Array[u32] = array(CORES_MAX)

    # Buses.
    ecam: u64
    ecam_start_bus: u8
    has_pcie_root: bool  # The namespace has one, whether MCFG tells where or not.
    mmio_slot_count: u32
    mmio_slots: Array[u64] = array(MMIO_SLOTS_MAX)

    def read(self, rsdp: u64) -> bool:
        """Read all tables. `rsdp` 0 means to search for it. False when there are none."""
        self.present = False
        self.table_count = 0
        self.cpu_count = 0
        self.mmio_slot_count = 0
        self.ecam = 0
        address = rsdp
        if address == 0:
            address = find_rsdp()
        if address == 0:
            return False
        pointer: Bytes = slice_at(u8, address, RSDP_BYTES_1)
        if pointer[:8] != b"RSD PTR " or not sums_to_zero(pointer):
            return False
        if pointer[RSDP_REVISION] >= 2:
            pointer = slice_at(u8, address, RSDP_BYTES_2)
            xsdt = read_u64(pointer, RSDP_XSDT)
            if self.read_root(table_at(xsdt), 8):
                return True
        return self.read_root(table_at(read_u32(pointer, RSDP_RSDT)), 4)

    def read_root(self, root: Bytes, pointer_bytes: usize) -> bool:
        """Read every table that an RSDT (4) or an XSDT (8) points at."""
        if len(root) == 0:
            return False
        self.present = True
        at: usize = TABLE_HEADER_BYTES
        for _ in range(TABLES_MAX):
            if at + pointer_bytes > len(root):
                break
            address: u64 = read_u32(root, at)
            if pointer_bytes == 8:
                address = read_u64(root, at)
            at += pointer_bytes
            table = table_at(address)
            if len(table) == 0:
                continue
            self.table_count += 1
            if table.startswith(b"FACP"):
                self.read_fadt(table)
            elif table.startswith(b"APIC"):
                self.read_madt(table)
            elif table.startswith(b"MCFG"):
                self.ecam = read_u64(table, MCFG_ENTRY)
                self.ecam_start_bus = read_u8(table, MCFG_ENTRY + MCFG_START_BUS)
        return True

    def read_fadt(self, fadt: Bytes) -> None:
        """Take the power registers, and go on with the DSDT."""
        flags = read_u32(fadt, FADT_FLAGS)
        self.hardware_reduced = flags & FLAG_HARDWARE_REDUCED != 0
        self.smi_command = read_u32(fadt, FADT_SMI_COMMAND)
        self.acpi_enable = read_u8(fadt, FADT_ACPI_ENABLE)
        self.pm1a_control = read_u32(fadt, FADT_PM1A_CONTROL)
        self.pm1b_control = read_u32(fadt, FADT_PM1B_CONTROL)
        extended = read_u64(fadt, FADT_X_PM1A_CONTROL + GENERIC_ADDRESS)
        if self.pm1a_control == 0 and extended != 0:
            self.pm1a_control = extended
        self.sleep_control.take(fadt, FADT_SLEEP_CONTROL)
        self.reset.address = 0
        if flags & FLAG_RESET_REGISTER:
            self.reset.take(fadt, FADT_RESET_REGISTER)
            self.reset_value = read_u8(fadt, FADT_RESET_VALUE)
        dsdt = read_u64(fadt, FADT_X_DSDT)
        if dsdt == 0:
            dsdt = read_u32(fadt, FADT_DSDT)
        self.read_dsdt(table_at(dsdt))

    def read_dsdt(self, dsdt: Bytes) -> None:
        """Find the patterns this page names."""
        self.has_s5 = False
        at = dsdt.find(b"_S5_")
        while at >= 0 and not self.has_s5:
            self.read_s5(dsdt, usize(at))
            at = dsdt.find(b"_S5_", usize(at) + 4)
        self.has_pcie_root = dsdt.find(b"PNP0A08") >= 0
        at = dsdt.find(b"LNRO0005")
        while at >= 0 and self.mmio_slot_count < MMIO_SLOTS_MAX:
            self.read_mmio_slot(dsdt, usize(at))
            at = dsdt.find(b"LNRO0005", usize(at) + 8)

    def read_s5(self, dsdt: Bytes, name: usize) -> None:
        """Read `Name (_S5_, Package () {a, b, ...})`: the sleep types for power-off (7.4.2).

        One byte of package length is enough for four small numbers; a longer length or another
        element than a small integer means that this is not the package.
        """
        if name == 0 or dsdt[name - 1] != AML_NAME or read_u8(dsdt, name + 4) != AML_PACKAGE:
            return
        if read_u8(dsdt, name + 5) >= 0x40:  # A length of several bytes.
            return
        at = name + 7  # Behind package, length, count.
        first = read_u8(dsdt, at)
        at += 1
        if first == AML_BYTE:
            first = read_u8(dsdt, at)
            at += 1
        second = read_u8(dsdt, at)
        if second == AML_BYTE:
            second = read_u8(dsdt, at + 1)
        self.s5_kind_a = first & 7
        self.s5_kind_b = second & 7
        self.has_s5 = True

    def read_mmio_slot(self, dsdt: Bytes, hid: usize) -> None:
        """Take the address of a virtio-mmio device from the resources behind its _HID."""
        end = min(hid + AML_DEVICE_BYTES_MAX, len(dsdt))
        near = dsdt[hid:end]
        at = near.find(AML_FIXED_MEMORY)
        if at < 0:
            return
        base = read_u32(near, usize(at) + AML_FIXED_MEMORY_BASE)
        if base != 0:
            self.mmio_slots[self.mmio_slot_count] = base
            self.mmio_slot_count += 1

    def read_madt(self, madt: Bytes) -> None:
        """List the cores that can be started."""
        self.lapic_address = read_u32(madt, MADT_LAPIC)
        at: usize = MADT_ENTRIES
        while at + 2 <= len(madt):
            length = madt[at + 1]
            if length < 2 or at + length > len(madt):
                return
            entry = madt[at : at + length]
            kind = entry[0]
            if kind == MADT_LOCAL_APIC and length >= 8:
                self.add_core(entry[3], read_u32(entry, 4))
            elif kind == MADT_LOCAL_X2APIC and length >= 16:
                self.add_core(read_u32(entry, 4), read_u32(entry, 8))
            elif kind == MADT_LAPIC_OVERRIDE and length >= 12:
                self.lapic_address = read_u64(entry, 4)
            at += length

    def add_core(self, apic_id: u32, flags: u32) -> None:
        """Note a core unless it is disabled or already known by its other kind of entry."""
        if not flags & (MADT_ENABLED | MADT_ONLINE_CAPABLE) or self.cpu_count >= CORES_MAX:
            return
        for i in range(self.cpu_count):
            if self.apic_ids[i] == apic_id:
                return
        self.apic_ids[self.cpu_count] = apic_id
        self.cpu_count += 1
