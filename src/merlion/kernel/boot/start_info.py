"""What the boot loader left in memory: Xen's `hvm_start_info`, version 1.

Layout: `xen/include/public/arch-x86/hvm/start_info.h`. The structure, the command line and the
memory map lie in low memory which is ours to overwrite later, so what is needed is copied.
"""

from enum import IntEnum

from bare import Array, Bytes, Slice, Struct, Wire, array, u8, u32, u64, usize

START_INFO_MAGIC = 0x336E_C578
START_INFO_BYTES = 56
REGION_MAX = 64  # QEMU passes about 8; real firmware up to 40.
COMMAND_LINE_MAX = 2048  # Linux's COMMAND_LINE_SIZE.


class RegionKind(IntEnum):
    """E820 types (ACPI 6.5, table 15.3). Types we do not know count as RESERVED."""

    RAM = 1
    RESERVED = 2
    ACPI_RECLAIMABLE = 3
    ACPI_NVS = 4
    UNUSABLE = 5


class StartInfo(Wire):
    """hvm_start_info."""

    magic: u32
    version: u32
    flags: u32
    module_count: u32
    modules: u64
    command_line: u64
    rsdp: u64
    memory_map: u64  # From version 1 on.
    memory_map_count: u32
    reserved: u32


class MemoryMapEntry(Wire):
    """hvm_memmap_table_entry."""

    address: u64
    byte_count: u64
    kind: u32
    reserved: u32


assert StartInfo._size_ == START_INFO_BYTES  # The size in version 1 of the header.
MEMORY_MAP_ENTRY_BYTES = MemoryMapEntry._size_


class Region(Struct):
    """One stretch of physical addresses."""

    start: u64
    end: u64
    kind: RegionKind = RegionKind.RESERVED


class BootInfo(Struct):
    """Our copy of everything the loader said."""

    rsdp: u64
    region_count: usize
    regions: Array[Region] = array(REGION_MAX)
    command_line_length: usize
    command_line: Array[u8] = array(COMMAND_LINE_MAX)

    def command(self) -> Slice[u8]:
        """Return the command line."""
        return self.command_line[: self.command_line_length]

    def set_command_line(self, text: Bytes) -> None:
        """Copy `text` up to its NUL; what is longer than COMMAND_LINE_MAX is cut."""
        length = text.find(b"\0")
        if length < 0:
            length = len(text)
        taken = usize(min(length, COMMAND_LINE_MAX))
        self.command_line[:taken].copy_from(text[:taken])
        self.command_line_length = taken

    def add_region(self, start: u64, byte_count: u64, kind: u32) -> None:
        """Insert one memory map entry by address. What is too many is dropped (RAM lost)."""
        if byte_count == 0 or self.region_count == REGION_MAX or start >= 1 << 52:
            return
        at = self.region_count
        while at > 0 and self.regions[at - 1].start > start:
            self.regions[at].assign(self.regions[at - 1])
            at -= 1
        region = self.regions[at]
        region.start = start
        region.end = min(start + min(byte_count, 1 << 52), 1 << 52)
        region.kind = kind_of(kind)
        self.region_count += 1

    def add_map(self, table: Slice[u8], count: u32) -> None:
        """Add `count` entries of the loader's memory map."""
        for index in range(count):
            entry = MemoryMapEntry.view(table[index * MEMORY_MAP_ENTRY_BYTES :])
            if entry is None:
                return
            self.add_region(entry.address, entry.byte_count, entry.kind)

    def ram_bytes(self) -> u64:
        """Return how much RAM the map lists."""
        total: u64 = 0
        for region in self.regions[: self.region_count]:
            if region.kind == RegionKind.RAM:
                total += region.end - region.start
        return total


def kind_of(kind: u32) -> RegionKind:
    """Return the region kind of an E820 type number."""
    match kind:
        case 1:
            return RegionKind.RAM
        case 3:
            return RegionKind.ACPI_RECLAIMABLE
        case 4:
            return RegionKind.ACPI_NVS
        case 5:
            return RegionKind.UNUSABLE
        case _:
            return RegionKind.RESERVED


boot_info = BootInfo.zeroed()
