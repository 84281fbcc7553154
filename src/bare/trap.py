"""What happens when a check fails: a `Trap`, with the place in the source and the reason.

Compiled code traps with a site number; under CPython the same failure raises the same exception.
A trap is a bug in the program, never bad input: bad input is an error value in a return type.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from bare.descriptors import Bytes as _Bytes

if TYPE_CHECKING:
    from bare.ints import u32
    from bare.memory import Bytes
else:
    from bare.ints import u32

    Bytes = _Bytes

_PACKAGE = str(Path(__file__).parent)
# Library modules written in the language itself: a trap there is reported there.
_LANGUAGE_MODULES = ("arena.py", "text.py", "runtime.py")


class Trap(Exception):  # noqa: N818 - it is not an error to handle, it is the program's end
    """A failed check."""

    def __init__(self, reason: str, file: str = "", line: int = 0, column: int = 0) -> None:
        """Record where the check stands; `column` counts from 1, 0 where it is not known."""
        super().__init__(f"{file}:{line}:{column}: trap: {reason}" if file else reason)
        self.reason = reason
        self.file = file
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class TrapSite:
    """One check in compiled code, as the panic handler prints it."""

    file: Bytes
    line: u32
    column: u32
    reason: Bytes


def trap(reason: str) -> NoReturn:
    """Raise a `Trap` placed at the nearest caller outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE) or file.endswith(_LANGUAGE_MODULES):
            break
        frame = frame.f_back
    if frame is None:
        raise Trap(reason)
    column = 0
    for index, position in enumerate(frame.f_code.co_positions()):
        if index == frame.f_lasti // 2:
            column = (position[2] or 0) + 1
            break
    raise Trap(reason, frame.f_code.co_filename, frame.f_lineno, column)


def panic(message: Bytes) -> NoReturn:
    """Stop with `message`."""
    trap(bytes(message).decode("utf-8", "replace"))


def trap_site(index: int) -> TrapSite:
    """Look a compiled check up by the number its trap passes on. Compiled code only."""
    trap(f"there is no trap site {index} under CPython")
