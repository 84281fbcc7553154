"""Laying out an object's sections and applying its relocations.

Shared by the image linker (link.py) and the in-process loader (loader.py): both give every
allocated section an address, every symbol a value, and then patch the bytes. AMD64 ABI, table 4.9.

A symbol that lies out of reach of a 32-bit displacement is reached through a *slot* (its address in
read-only data, for GOTPCREL) or a *stub* (a jump through such a slot, for calls). Slots and stubs
are appended to the object as two ordinary sections before layout.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bare.compiler.elf import (
    SHN_ABS,
    SHN_COMMON,
    SHN_UNDEF,
    STB_WEAK,
    LinkError,
    ObjectFile,
    Reloc,
    Relocation,
    Section,
    SectionFlags,
    SectionType,
)

GROUPS = ("text", "rodata", "data", "bss")
DROPPED = (".eh_frame", ".note.GNU-stack", ".llvm_addrsig", ".comment")
SLOT_SIZE = 8
STUB_SIZE = 8
STUB = b"\xff\x25\0\0\0\0\x66\x90"  # jmp *slot(%rip), padded.
VIA_SLOT = (Reloc.GOTPCREL, Reloc.GOTPCRELX, Reloc.REX_GOTPCRELX)

_PACKERS = {
    Reloc.R64: struct.Struct("<q"),
    Reloc.PC64: struct.Struct("<q"),
    Reloc.PC32: struct.Struct("<i"),
    Reloc.PLT32: struct.Struct("<i"),
    Reloc.GOTPCREL: struct.Struct("<i"),
    Reloc.R32: struct.Struct("<I"),
    Reloc.R32S: struct.Struct("<i"),
    Reloc.GOTPCRELX: struct.Struct("<i"),
    Reloc.REX_GOTPCRELX: struct.Struct("<i"),
}
_U64 = struct.Struct("<Q")
_SIGN = 1 << 63


def group_of(section: Section) -> str | None:
    """Which group an allocated section belongs to, or None when it is not loaded."""
    if not section.flags & SectionFlags.ALLOC or section.name.startswith(DROPPED):
        return None
    if section.flags & SectionFlags.EXEC:
        return "text"
    if not section.flags & SectionFlags.WRITE or section.name.startswith(".data.rel.ro"):
        return "rodata"
    return "bss" if section.kind == SectionType.NOBITS else "data"


def _order(section: Section) -> tuple[int, int]:
    """Hot code first, cold code last: the trap calls stay out of the way of the loops."""
    ranks = {".text.hot": 0, ".text.unlikely": 2, ".text.split": 2}
    rank = next((r for name, r in ranks.items() if section.name.startswith(name)), 1)
    return rank, section.index


def align_up(value: int, align: int) -> int:
    """The first multiple of `align` at or above `value`."""
    return -(-value // align) * align


@dataclass(slots=True)
class Linkage:
    """An object on its way to having addresses: groups of sections, slots, symbol values."""

    object: ObjectFile
    groups: dict[str, list[Section]] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)  # Start and end of a group.
    slots: dict[int, int] = field(default_factory=dict)  # Symbol index to offset in `slot_section`.
    stubs: dict[int, int] = field(default_factory=dict)
    values: list[int] = field(default_factory=list)
    slot_section: Section | None = None
    stub_section: Section | None = None

    @classmethod
    def prepare(cls, parsed: ObjectFile, stubs: bool) -> "Linkage":
        """Group the sections, place common symbols and make room for slots (and stubs)."""
        linkage = cls(parsed, {name: [] for name in GROUPS})
        linkage._place_commons()
        linkage._reserve(stubs)
        for section in parsed.sections:
            group = group_of(section)
            if group is not None:
                linkage.groups[group].append(section)
        for sections in linkage.groups.values():
            sections.sort(key=_order)
        return linkage

    def _add_section(self, name: str, kind: int, flags: int, size: int, align: int) -> Section:
        data = bytearray() if kind == SectionType.NOBITS else bytearray(size)
        section = Section(len(self.object.sections), name, kind, flags, size, align, data)
        self.object.sections.append(section)
        return section

    def _place_commons(self) -> None:
        """Turn common symbols (value = alignment) into zeroed storage of their own section."""
        flags = SectionFlags.ALLOC | SectionFlags.WRITE
        for i, symbol in enumerate(self.object.symbols):
            if symbol.section == SHN_COMMON:
                where = self._add_section(
                    f".bss.{symbol.name}", SectionType.NOBITS, flags, symbol.size, symbol.value
                )
                self.object.symbols[i] = type(symbol)(
                    symbol.name, 0, symbol.size, symbol.kind, symbol.binding, where.index
                )

    def _reserve(self, stubs: bool) -> None:
        """Count the slots and stubs the relocations ask for."""
        symbols = self.object.symbols
        for section in self.object.sections:
            if group_of(section) is None:
                continue
            for relocation in section.relocations:
                called = relocation.kind == Reloc.PLT32 and stubs
                via_stub = called and symbols[relocation.symbol].section == SHN_UNDEF
                if relocation.kind in VIA_SLOT or via_stub:
                    self.slots.setdefault(relocation.symbol, SLOT_SIZE * len(self.slots))
                if via_stub:
                    self.stubs.setdefault(relocation.symbol, STUB_SIZE * len(self.stubs))
        if self.slots:
            size, kind = SLOT_SIZE * len(self.slots), SectionType.PROGBITS
            self.slot_section = self._add_section(
                ".rodata.slots", kind, SectionFlags.ALLOC, size, 8
            )
        if self.stubs:
            flags = SectionFlags.ALLOC | SectionFlags.EXEC
            size, kind = STUB_SIZE * len(self.stubs), SectionType.PROGBITS
            self.stub_section = self._add_section(".text.stubs", kind, flags, size, 16)

    def place(self, base: int, page: int) -> int:
        """Give every loaded section an address from `base` on; groups start on a page.

        Data and bss are neighbours in one segment. Returns the end address.
        """
        at = base
        for group in GROUPS:
            at = align_up(at, 64 if group == "bss" else page)
            start = at
            for section in self.groups[group]:
                at = align_up(at, section.align)
                section.address = at
                at += section.size
            self.spans[group] = start, at
        return at

    def resolve(self, outside: Mapping[str, int]) -> None:
        """Compute the value of every symbol; `outside` gives the undefined ones."""
        missing: set[str] = set()
        sections = self.object.sections
        for symbol in self.object.symbols:
            if symbol.section == SHN_ABS:
                value = symbol.value
            elif symbol.section != SHN_UNDEF:
                value = sections[symbol.section].address + symbol.value
            elif symbol.name in outside or symbol.binding == STB_WEAK or not symbol.name:
                value = outside.get(symbol.name, 0)
            else:
                missing.add(symbol.name)
                value = 0
            self.values.append(value)
        if missing:
            raise LinkError("undefined: " + ", ".join(sorted(missing)))
        self._fill_slots()

    def _fill_slots(self) -> None:
        if self.slot_section is not None:
            for symbol, offset in self.slots.items():
                _U64.pack_into(self.slot_section.data, offset, self.values[symbol])
        if self.stub_section is not None and self.slot_section is not None:
            for symbol, offset in self.stubs.items():
                after = self.stub_section.address + offset + 6
                slot = self.slot_section.address + self.slots[symbol]
                self.stub_section.data[offset : offset + STUB_SIZE] = STUB
                struct.pack_into("<i", self.stub_section.data, offset + 2, slot - after)

    def relocate(self, sections: Iterable[Section]) -> None:
        """Patch `sections` with the final values."""
        slot_base = self.slot_section.address if self.slot_section is not None else 0
        stub_base = self.stub_section.address if self.stub_section is not None else 0
        for section in sections:
            for item in section.relocations:
                value = self.values[item.symbol]
                if item.kind in VIA_SLOT:
                    value = slot_base + self.slots[item.symbol]
                elif item.kind == Reloc.PLT32 and item.symbol in self.stubs:
                    value = stub_base + self.stubs[item.symbol]
                self._patch(section, item, value + item.addend)

    def _patch(self, section: Section, item: Relocation, value: int) -> None:
        if item.kind == Reloc.R64:
            _U64.pack_into(section.data, item.offset, value & (2 * _SIGN - 1))
            return
        packer = _PACKERS.get(item.kind)  # type: ignore[call-overload]
        if packer is None:
            raise LinkError(f"relocation type {item.kind} in {section.name} is not supported")
        if item.kind not in (Reloc.R32, Reloc.R32S):
            value -= section.address + item.offset
        try:
            packer.pack_into(section.data, item.offset, value)
        except struct.error:
            name = self.object.symbols[item.symbol].name or "a section"
            place = f"{section.name}+{item.offset:#x}"
            raise LinkError(f"{name} is out of reach from {place} ({value:#x})") from None

    def defined(self) -> dict[str, int]:
        """Every defined, named symbol and its value."""
        return {
            symbol.name: value
            for symbol, value in zip(self.object.symbols, self.values, strict=True)
            if symbol.section != SHN_UNDEF and symbol.name
        }

    def contents(self, groups: Iterable[str], start: int) -> bytes:
        """The bytes of `groups` from address `start` on, gaps zeroed."""
        out = bytearray()
        for group in groups:
            for section in self.groups[group]:
                out += bytes(section.address - start - len(out))
                out += section.data
        return bytes(out)
