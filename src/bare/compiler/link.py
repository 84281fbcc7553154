"""From relocatable objects to a bootable image, without a linker.

The image is a static ELF64 executable at 2 MiB with three page-aligned segments: text R-X, rodata
R--, data and bss RW-. Two files come out: the stripped image that boots, and a debug file with the
same bytes, every symbol and the DWARF sections, for gdb and the host-side symboliser.

- PVH note (Xen type 18, `xen/include/public/elfnote.h` PHYS32_ENTRY): when the object defines
  `pvh_start`, the 32-bit entry that QEMU, Firecracker and Cloud Hypervisor jump to.
- Linker symbols: see `_linker_symbols`.
- `bare_symbol_table`: u32 count, count × {u32 address, u32 name offset} sorted by address, then
  NUL-terminated names (offsets from the start of the table). It lets a panic print names.

Invariant: every address of the image is below 2 GiB (code model small).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bare.compiler.codegen import compile_objects
from bare.compiler.elf import (
    SHN_ABS,
    SHN_UNDEF,
    STB_GLOBAL,
    STT_FILE,
    STT_FUNC,
    STT_OBJECT,
    STT_SECTION,
    LinkError,
    ObjectFile,
    OutputSection,
    Section,
    SectionFlags,
    SectionType,
    Segment,
    SegmentType,
    Symbol,
    symbol_sections,
    write_executable,
)
from bare.compiler.merge import merge
from bare.compiler.relocate import GROUPS, Linkage, align_up
from bare.compiler.runtime_ir import runtime_ir

IMAGE_BASE = 0x200000
PAGE = 0x1000
PVH_SYMBOL = "pvh_start"
SYMBOL_TABLE = "bare_symbol_table"
XEN_ELFNOTE_PHYS32_ENTRY = 18
ADDRESS_LIMIT = 1 << 31
PF_X, PF_W, PF_R = 1, 2, 4

_GROUP_SECTIONS = {
    "text": (".text", SectionType.PROGBITS, SectionFlags.ALLOC | SectionFlags.EXEC),
    "rodata": (".rodata", SectionType.PROGBITS, SectionFlags.ALLOC),
    "data": (".data", SectionType.PROGBITS, SectionFlags.ALLOC | SectionFlags.WRITE),
    "bss": (".bss", SectionType.NOBITS, SectionFlags.ALLOC | SectionFlags.WRITE),
}


@dataclass(frozen=True, slots=True)
class Image:
    """A linked program."""

    stripped: bytes  # What boots.
    debug: bytes  # The same, with symbols and DWARF.
    symbols: dict[str, int]  # Every defined symbol, linker symbols included.
    spans: dict[str, tuple[int, int]]  # Address range of text, rodata, data, bss.
    entry: int


class UnitLike(Protocol):
    """What the compiler hands over; `bare.compiler.unit.Unit` in the build."""

    @property
    def shards(self) -> Mapping[str, str]:
        """LLVM IR text by name of the module."""


def build_image(unit: UnitLike | str, entry: str = PVH_SYMBOL) -> Image:
    """Compile an image unit (or one IR text), with the C functions LLVM relies on, and link it."""
    texts = [unit] if isinstance(unit, str) else list(unit.shards.values())
    texts[-1] += "\n" + runtime_ir()
    return link(compile_objects(texts, "image"), entry)


def link(data: bytes | Sequence[bytes], entry: str = PVH_SYMBOL, base: int = IMAGE_BASE) -> Image:
    """Link the object(s) `data` at `base`. Raises `LinkError`, naming every undefined symbol."""
    objects = [data] if isinstance(data, bytes) else data
    linkage = Linkage.prepare(merge([ObjectFile.parse(item) for item in objects]), stubs=False)
    note = _reserve_note(linkage)
    table = _reserve_symbol_table(linkage)
    end = linkage.place(base, PAGE)
    if end > ADDRESS_LIMIT:
        raise LinkError(f"the image ends at {end:#x}, above the 2 GiB the code can address")

    outside = _linker_symbols(linkage, base, end) | {SYMBOL_TABLE: table.address}
    linkage.resolve(outside)
    names = outside | linkage.defined()
    if entry not in names:
        raise LinkError(f"the entry symbol {entry} is not defined")
    if note is not None:
        note.data[-8:] = struct.pack("<Q", names[PVH_SYMBOL])
    blob = _symbol_table(linkage)
    assert len(blob) == table.size, "the table was sized from the same symbols"
    table.data[:] = blob

    linkage.relocate(s for group in GROUPS for s in linkage.groups[group])
    debug_sections = [s for s in linkage.object.sections if s.name.startswith(".debug_")]
    linkage.relocate(debug_sections)  # Their addresses are offsets into the section written.
    segments = _segments(linkage, note)
    stripped = write_executable(names[entry], segments)
    debug = write_executable(
        names[entry], segments, _debug_sections(linkage, debug_sections, outside)
    )
    return Image(stripped, debug, names, dict(linkage.spans), names[entry])


def _add_rodata(linkage: Linkage, name: str, size: int, align: int) -> Section:
    sections = linkage.object.sections
    section = Section(
        len(sections), name, SectionType.PROGBITS, SectionFlags.ALLOC, size, align, bytearray(size)
    )
    sections.append(section)
    linkage.groups["rodata"].append(section)
    return section


def _reserve_note(linkage: Linkage) -> Section | None:
    """The PVH note with its address still zero; None without a PVH entry."""
    defined = {s.name for s in linkage.object.symbols if s.section != SHN_UNDEF}
    if PVH_SYMBOL not in defined:
        return None
    # Eight bytes of descriptor: QEMU reads a 64-bit value from the note of an ELF64 file.
    note = struct.pack("<III4sQ", 4, 8, XEN_ELFNOTE_PHYS32_ENTRY, b"Xen", 0)
    section = _add_rodata(linkage, ".note.pvh", len(note), 4)
    section.data[:] = note
    return section


def _functions(linkage: Linkage) -> list[tuple[int, Symbol]]:
    """The functions of the program with their symbol indices."""
    return [
        (index, symbol)
        for index, symbol in enumerate(linkage.object.symbols)
        if symbol.kind == STT_FUNC and symbol.section not in (SHN_UNDEF, SHN_ABS)
    ]


def _reserve_symbol_table(linkage: Linkage) -> Section:
    functions = _functions(linkage)
    size = 4 + 8 * len(functions) + sum(len(s.name.encode()) + 1 for _, s in functions)
    return _add_rodata(linkage, f".rodata.{SYMBOL_TABLE}", size, 8)


def _symbol_table(linkage: Linkage) -> bytes:
    """The table the panic backtrace reads; layout in the module docstring."""
    functions = sorted((linkage.values[i], symbol.name) for i, symbol in _functions(linkage))
    index, names = bytearray(struct.pack("<I", len(functions))), bytearray()
    start = 4 + 8 * len(functions)
    for address, name in functions:
        index += struct.pack("<II", address, start + len(names))
        names += name.encode() + b"\0"
    return bytes(index + names)


def _linker_symbols(linkage: Linkage, base: int, end: int) -> dict[str, int]:
    spans = linkage.spans
    return {
        "image_start": base,
        "text_start": spans["text"][0],
        "text_end": spans["text"][1],
        "rodata_start": spans["rodata"][0],
        "rodata_end": spans["rodata"][1],
        "data_start": spans["data"][0],
        "data_end": spans["data"][1],
        "bss_start": spans["bss"][0],
        "bss_end": end,
        "image_end": end,
    }


def _segments(linkage: Linkage, note: Section | None) -> list[Segment]:
    segments = []
    for group, flags in (("text", PF_R | PF_X), ("rodata", PF_R)):
        start, end = linkage.spans[group]
        data = linkage.contents([group], start)
        if data:
            segments.append(Segment(SegmentType.LOAD, flags, start, data, end - start, PAGE))
    start, end = linkage.spans["data"][0], linkage.spans["bss"][1]
    if end > start:
        data = linkage.contents(["data"], start)
        segments.append(Segment(SegmentType.LOAD, PF_R | PF_W, start, data, end - start, PAGE))
    if note is not None:
        data = bytes(note.data)
        segments.append(Segment(SegmentType.NOTE, PF_R, note.address, data, len(data), 4))
    return segments


def _debug_sections(
    linkage: Linkage, debug: list[Section], outside: dict[str, int]
) -> list[OutputSection]:
    """Section headers of the debug file: one a group, the DWARF, the symbols."""
    out: list[OutputSection] = []
    numbers: dict[str, int] = {}
    for group, (name, kind, flags) in _GROUP_SECTIONS.items():
        start, end = linkage.spans[group]
        if end > start:
            numbers[group] = len(out) + 1
            out.append(OutputSection(name, kind, flags, start, b"", end - start, 16))
    for name in dict.fromkeys(section.name for section in debug):
        same = [section for section in debug if section.name == name]
        joined = bytearray()
        for section in same:
            joined += bytes(section.address - len(joined))
            joined += section.data
        align = max(section.align for section in same)
        data = bytes(joined)
        out.append(OutputSection(name, same[0].kind, 0, 0, data, len(data), align))

    group_at = {
        section.index: numbers[group]
        for group, sections in linkage.groups.items()
        for section in sections
        if group in numbers
    }
    symbols: list[tuple[Symbol, int]] = []
    for index, symbol in enumerate(linkage.object.symbols):
        named = symbol.name and symbol.kind not in (STT_SECTION, STT_FILE)
        if named and symbol.section in group_at:
            value = linkage.values[index]
            moved = Symbol(symbol.name, value, symbol.size, symbol.kind, symbol.binding, 0)
            symbols.append((moved, group_at[symbol.section]))
    for name, value in outside.items():
        symbols.append((Symbol(name, value, 0, STT_OBJECT, STB_GLOBAL, 0), SHN_ABS))
    return out + symbol_sections(symbols, len(out) + 1)


def memory_size(image: Image) -> int:
    """Bytes from the first to the last address of the image, whole pages."""
    return align_up(image.spans["bss"][1], PAGE) - image.spans["text"][0]
