"""Several relocatable objects as one, for the linker and the loader.

Sections and local symbols are put one after the other; a symbol that one object defines and another
only names becomes one. Debug sections of the same name follow each other: `Section.address` of each
is its offset, to which references between them are relative.
"""

from collections.abc import Sequence

from bare.compiler.elf import (
    SHN_ABS,
    SHN_COMMON,
    SHN_UNDEF,
    SHN_XINDEX,
    STB_LOCAL,
    STB_WEAK,
    LinkError,
    ObjectFile,
    Relocation,
    Section,
    Symbol,
)


def merge(objects: Sequence[ObjectFile]) -> ObjectFile:
    """One object with everything in `objects`, whose sections move into it."""
    if len(objects) == 1:
        return objects[0]
    merged = ObjectFile([], [])
    definitions = _definitions(objects)
    numbers: dict[str, int] = {}  # The index of each global symbol in the merged object.
    ends: dict[str, int] = {}  # Sizes of the debug sections so far.
    for number, found in enumerate(objects):
        base = len(merged.sections)
        indices = [
            _symbol_index(merged, symbol, base, numbers, definitions, number)
            for symbol in found.symbols
        ]
        for section in found.sections:
            section.index += base
            section.relocations = [
                Relocation(r.offset, r.kind, indices[r.symbol], r.addend)
                for r in section.relocations
            ]
            if section.name.startswith(".debug_"):
                _place_debug(section, ends)
            merged.sections.append(section)
    return merged


def _definitions(objects: Sequence[ObjectFile]) -> dict[str, tuple[int, Symbol]]:
    """Which object defines each global symbol. A weak definition gives way."""
    found: dict[str, tuple[int, Symbol]] = {}
    for number, item in enumerate(objects):
        for symbol in item.symbols:
            if symbol.binding == STB_LOCAL or symbol.section == SHN_UNDEF:
                continue
            other = found.get(symbol.name)
            if other is None or (other[1].binding == STB_WEAK != symbol.binding):
                found[symbol.name] = number, symbol
            elif symbol.binding != STB_WEAK:
                raise LinkError(f"{symbol.name} is defined twice")
    return found


def _symbol_index(
    merged: ObjectFile,
    symbol: Symbol,
    base: int,
    numbers: dict[str, int],
    definitions: dict[str, tuple[int, Symbol]],
    number: int,
) -> int:
    """The index in `merged` of a symbol of object `number`, which is added if it is new."""
    if symbol.binding != STB_LOCAL:
        if symbol.name in numbers:
            known = numbers[symbol.name]
            if definitions.get(symbol.name, (-1, None))[0] == number:
                merged.symbols[known] = _moved(symbol, base)
            return known
        numbers[symbol.name] = len(merged.symbols)
    merged.symbols.append(_moved(symbol, base))
    return len(merged.symbols) - 1


def _moved(symbol: Symbol, base: int) -> Symbol:
    if symbol.section in (SHN_UNDEF, SHN_ABS, SHN_COMMON, SHN_XINDEX):
        return symbol
    section = symbol.section + base
    return Symbol(symbol.name, symbol.value, symbol.size, symbol.kind, symbol.binding, section)


def _place_debug(section: Section, ends: dict[str, int]) -> None:
    start = -(-ends.get(section.name, 0) // section.align) * section.align
    section.address = start
    ends[section.name] = start + section.size
