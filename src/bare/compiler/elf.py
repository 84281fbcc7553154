"""ELF64 as far as the linker and the loader need it: reading objects, writing images.

System V ABI, "Object Files", and its AMD64 supplement, section 4. Only what LLVM emits for one
x86-64 module is understood; anything else is refused by name instead of being ignored.

Invariant: a `Section` keeps the index it has in the object, so symbols and relocations can name it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import ClassVar

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELA = struct.Struct("<QQq")
IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)

ET_REL, ET_EXEC = 1, 2
EM_X86_64 = 62
SHN_UNDEF, SHN_ABS, SHN_COMMON, SHN_XINDEX = 0, 0xFFF1, 0xFFF2, 0xFFFF
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = 0, 1, 2, 3, 4


class SectionType(IntEnum):
    """sh_type, the values that occur."""

    NULL = 0
    PROGBITS = 1
    SYMTAB = 2
    STRTAB = 3
    RELA = 4
    NOTE = 7
    NOBITS = 8
    SYMTAB_SHNDX = 18


class SectionFlags(IntFlag):
    """sh_flags, the values that matter to layout."""

    WRITE = 1
    ALLOC = 2
    EXEC = 4


class SegmentType(IntEnum):
    """p_type."""

    LOAD = 1
    NOTE = 4


class Reloc(IntEnum):
    """The relocations of the small code model, static and position independent."""

    R64 = 1
    PC32 = 2
    PLT32 = 4
    GOTPCREL = 9
    R32 = 10
    R32S = 11
    PC64 = 24
    GOTPCRELX = 41
    REX_GOTPCRELX = 42


class LinkError(Exception):
    """The object cannot become an image: an undefined symbol, a value out of reach."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """At `offset` of its section store S + A (or a variant), S being the value of `symbol`."""

    offset: int
    kind: int
    symbol: int
    addend: int


@dataclass(slots=True)
class Section:
    """One section of an object; `address` is where the linker put it."""

    index: int
    name: str
    kind: int
    flags: int
    size: int
    align: int
    data: bytearray
    link: int = 0
    info: int = 0
    relocations: list[Relocation] = field(default_factory=list)
    address: int = 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """An entry of .symtab. `section` is a section index or one of the SHN_ values."""

    name: str
    value: int
    size: int
    kind: int
    binding: int
    section: int


def _name(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


@dataclass(slots=True)
class ObjectFile:
    """A relocatable object: sections by index, symbols by index."""

    sections: list[Section]
    symbols: list[Symbol]

    MAGIC: ClassVar[bytes] = IDENT[:6]

    @classmethod
    def parse(cls, image: bytes) -> "ObjectFile":
        """Read an ELF64 x86-64 relocatable object."""
        if image[:6] != cls.MAGIC:
            raise LinkError("not an ELF64 little-endian file")
        header = HEADER.unpack_from(image)
        kind, machine, table, count, names_index = (
            header[1], header[2], header[6], header[12], header[13],
        )  # fmt: skip
        if (kind, machine) != (ET_REL, EM_X86_64):
            raise LinkError(f"not an x86-64 object: type {kind}, machine {machine}")
        if count == 0 or names_index == SHN_XINDEX:  # More than 65,279 sections.
            first = SECTION_HEADER.unpack_from(image, table)
            count = count or first[5]
            names_index = first[6] if names_index == SHN_XINDEX else names_index
        raw = [
            SECTION_HEADER.unpack_from(image, table + i * SECTION_HEADER.size) for i in range(count)
        ]
        names = image[raw[names_index][4] :][: raw[names_index][5]]
        sections = []
        for index, (name, sh_type, flags, _, offset, size, link, info, align, _) in enumerate(raw):
            empty = sh_type in (SectionType.NULL, SectionType.NOBITS)
            data = bytearray() if empty else bytearray(image[offset : offset + size])
            sections.append(
                Section(
                    index, _name(names, name), sh_type, flags, size, align or 1, data, link, info
                )
            )
        symbols = cls._symbols(sections)
        for section in sections:
            if section.kind == SectionType.RELA:
                sections[section.info].relocations += [
                    Relocation(offset, info & 0xFFFFFFFF, info >> 32, addend)
                    for offset, info, addend in RELA.iter_unpack(section.data)
                ]
        return cls(sections, symbols)

    @staticmethod
    def _symbols(sections: Sequence[Section]) -> list[Symbol]:
        tables = [s for s in sections if s.kind == SectionType.SYMTAB]
        if not tables:
            return []
        extended: Sequence[int] = ()
        for section in sections:
            if section.kind == SectionType.SYMTAB_SHNDX:
                extended = struct.unpack(f"<{len(section.data) // 4}I", section.data)
        strings = bytes(sections[tables[0].link].data)
        symbols = []
        for i, entry in enumerate(SYMBOL.iter_unpack(tables[0].data)):
            name, info, _, section_index, value, size = entry
            if section_index == SHN_XINDEX:
                section_index = extended[i]
            symbols.append(
                Symbol(_name(strings, name), value, size, info & 15, info >> 4, section_index)
            )
        return symbols


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header and its bytes. `size` beyond `len(data)` is zeroed memory."""

    kind: SegmentType
    flags: int  # PF_X 1, PF_W 2, PF_R 4.
    address: int
    data: bytes
    size: int
    align: int


@dataclass(frozen=True, slots=True)
class OutputSection:
    """A section header of a linked file. Allocated sections point into their segment."""

    name: str
    kind: int
    flags: int
    address: int
    data: bytes
    size: int
    align: int = 1
    link: int = 0
    info: int = 0
    entry_size: int = 0


class _Strings:
    """A string table under construction."""

    def __init__(self) -> None:
        self.data = bytearray(1)
        self.known: dict[str, int] = {"": 0}

    def add(self, text: str) -> int:
        if text not in self.known:
            self.known[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self.known[text]


def symbol_sections(symbols: Sequence[tuple[Symbol, int]], first_index: int) -> list[OutputSection]:
    """.symtab and .strtab for `symbols`, each with its section index in the output."""
    strings = _Strings()
    ordered = sorted(symbols, key=lambda s: s[0].binding != STB_LOCAL)  # Locals come first.
    data = bytearray(SYMBOL.size)
    for symbol, section in ordered:
        info = symbol.binding << 4 | symbol.kind
        name = strings.add(symbol.name)
        data += SYMBOL.pack(name, info, 0, section, symbol.value, symbol.size)
    local_count = 1 + sum(1 for s, _ in ordered if s.binding == STB_LOCAL)
    table = OutputSection(
        ".symtab", SectionType.SYMTAB, 0, 0, bytes(data), len(data), 8,
        link=first_index + 1, info=local_count, entry_size=SYMBOL.size,
    )  # fmt: skip
    text = bytes(strings.data)
    return [table, OutputSection(".strtab", SectionType.STRTAB, 0, 0, text, len(text))]


def write_executable(
    entry: int, segments: Sequence[Segment], sections: Sequence[OutputSection] = ()
) -> bytes:
    """An ELF64 executable. File offsets of loaded segments are congruent to their addresses."""
    out = bytearray(HEADER.size + PROGRAM_HEADER.size * len(segments))
    placed: list[tuple[Segment, int]] = []
    for segment in segments:
        inside = _offset_inside(segment, placed)
        if inside is None:
            out += bytes((segment.address - len(out)) % segment.align)
            inside = len(out)
            out += segment.data
        placed.append((segment, inside))

    names = _Strings()
    headers = [bytes(SECTION_HEADER.size)]
    for section in sections:
        offset = _file_offset(section, placed)
        if offset is None:
            out += bytes(-len(out) % section.align)
            offset = len(out)
            out += section.data
        headers.append(
            SECTION_HEADER.pack(
                names.add(section.name), section.kind, section.flags, section.address, offset,
                section.size, section.link, section.info, section.align, section.entry_size,
            )
        )  # fmt: skip
    table = 0
    if sections:
        name = names.add(".shstrtab")
        where, size = len(out), len(names.data)
        out += names.data + bytes(-(len(out) + size) % 8)
        table = len(out)
        headers.append(SECTION_HEADER.pack(name, SectionType.STRTAB, 0, 0, where, size, 0, 0, 1, 0))
        out += b"".join(headers)

    count = len(headers) if sections else 0
    HEADER.pack_into(
        out, 0, IDENT, ET_EXEC, EM_X86_64, 1, entry, HEADER.size, table, 0, HEADER.size,
        PROGRAM_HEADER.size, len(segments), SECTION_HEADER.size if count else 0, count,
        max(count - 1, 0),
    )  # fmt: skip
    for i, (segment, offset) in enumerate(placed):
        PROGRAM_HEADER.pack_into(
            out, HEADER.size + i * PROGRAM_HEADER.size, segment.kind, segment.flags, offset,
            segment.address, segment.address, len(segment.data), segment.size, segment.align,
        )  # fmt: skip
    return bytes(out)


def _offset_inside(segment: Segment, placed: Sequence[tuple[Segment, int]]) -> int | None:
    """Where a note segment's bytes already lie in the file, as part of a loaded segment."""
    for other, offset in placed:
        end = other.address + len(other.data)
        if other.address <= segment.address and segment.address + len(segment.data) <= end:
            return offset + segment.address - other.address
    return None


def _file_offset(section: OutputSection, placed: Sequence[tuple[Segment, int]]) -> int | None:
    """Where an allocated section's bytes already lie in the file."""
    if not section.flags & SectionFlags.ALLOC:
        return None
    for segment, offset in placed:
        if segment.address <= section.address < segment.address + max(segment.size, 1):
            return offset + section.address - segment.address
    raise LinkError(f"section {section.name} lies in no segment")
