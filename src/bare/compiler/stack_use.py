"""The deepest stack of every entry, from the machine code itself.

Calls name their target and recursion is refused, so the deepest path through the calls is known. A
frame is read off the assembler text: the return address, pushes, what is subtracted from %rsp, and
the most that aligning %rsp can cost. Inlined functions are part of their caller's frame already.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

WORD = 8
LABEL = re.compile(r'^("[^"]+"|[\w.$@-]+):')
SUBTRACT = re.compile(r"^subq\s+\$(\d+), %rsp")
ALIGN = re.compile(r"^andq\s+\$-(\d+), %rsp")
PUSH = re.compile(r"^pushq\s+%")
CALL = re.compile(r'^(?:callq?|jmpq?|j\w+)\s+\*?("[^"]+"|[\w.$-]+)(?:@\w+)?')


@dataclass(slots=True)
class Frame:
    """One function of the assembler text."""

    size: int = WORD  # The return address.
    calls: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Depth:
    """Bytes of stack that a call of a function needs at most, and the calls it needs them for."""

    size: int
    path: tuple[str, ...]


def frames(text: str) -> dict[str, Frame]:
    """Every function of the assembler text, by symbol."""
    found: dict[str, Frame] = {}
    current: Frame | None = None
    for raw in text.splitlines():
        label = LABEL.match(raw)
        if label and not raw.startswith((".L", '".L')):
            current = found.setdefault(label.group(1).strip('"'), Frame())
            continue
        line = raw.strip()
        if current is None:
            continue
        if line.startswith(".size"):
            current = None
        elif PUSH.match(line):
            current.size += WORD
        elif match := SUBTRACT.match(line):
            current.size += int(match.group(1))
        elif match := ALIGN.match(line):
            current.size += int(match.group(1)) - WORD
        elif match := CALL.match(line):
            target = match.group(1).strip('"')
            if not target.startswith(".L"):
                current.calls.add(target)
    return found


def depths(texts: Iterable[str], last: str = "") -> dict[str, Depth]:
    """The deepest stack of every function in the modules of a program.

    Nothing comes back from a call of `last` (the trap handler of an image, which may itself trap):
    such calls count as nothing.
    """
    known: dict[str, Frame] = {}
    for text in texts:
        known |= frames(text)
    for frame in known.values():
        frame.calls.discard(last)
    found: dict[str, Depth] = {}
    for symbol in known:
        _measure(symbol, known, found)
    return found


def _measure(symbol: str, known: dict[str, Frame], found: dict[str, Depth]) -> Depth:
    """Depth first; functions outside the program (assembly, the trap handler) count as nothing."""
    if symbol in found:
        return found[symbol]
    frame = known.get(symbol)
    if frame is None:
        return Depth(0, ())
    below = [_measure(call, known, found) for call in frame.calls if call != symbol]
    deepest = max(below, key=lambda d: d.size, default=Depth(0, ()))
    found[symbol] = Depth(frame.size + deepest.size, (symbol, *deepest.path))
    return found[symbol]


def without_red_zone(ir: str) -> str:
    """The IR of a loaded module as it is in an image, where nothing lies below %rsp."""
    return re.sub(r"^(attributes #\d+ = \{ )", r"\1noredzone ", ir, flags=re.MULTILINE)
