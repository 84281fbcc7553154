"""The line editor, against a small terminal that draws what it is told."""

from typing import Any

from bare import static, u8
from bare.testing import implementations
from bare.text import Writer
from merlion.kernel.line_editor import Event, LineEditor

impl = implementations("merlion.kernel.line_editor")

UP, DOWN, RIGHT, LEFT = b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D"


class Terminal:
    """One line of a terminal: enough of ECMA-48 to see whether the editor draws the truth."""

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.column = 0

    def write(self, data: bytes) -> None:
        text = data.decode()
        at = 0
        while at < len(text):
            character = text[at]
            at += 1
            if character == "\x1b":
                end = at + 1
                while not text[end].isalpha():
                    end += 1
                count = int(text[at + 1 : end] or 1)
                match text[end]:
                    case "K":
                        del self.cells[self.column :]
                    case "C":
                        self.column += count
                    case "D":
                        self.column -= count
                at = end + 1
            elif character == "\r":
                self.column = 0
            elif character == "\n":
                self.cells, self.column = [], 0
            else:
                self.cells[self.column : self.column + 1] = [character]
                self.column += 1


class Session:
    def __init__(self) -> None:
        self.out = Writer(static(u8, 8192))
        self.editor = LineEditor.zeroed(self.out)
        self.terminal = Terminal()
        self.lines: list[bytes] = []

    def type(self, keys: bytes) -> list[Event]:
        events: list[Event] = []
        for key in keys:
            event = self.editor.feed(key)
            if event == Event.LINE:
                self.lines.append(bytes(self.editor.line()))
                self.editor.start()
            if event != Event.NONE:
                events.append(event)
        self.terminal.write(bytes(self.out.written()))
        self.out.clear()
        line = bytes(self.editor.line()).decode()
        assert "".join(self.terminal.cells) == line
        assert self.terminal.column == len(bytes(self.editor.text[: self.editor.cursor]).decode())
        return events


def test_typing_and_editing(impl: Any) -> None:
    s = Session()
    s.type(b"helo" + LEFT + b"l")
    assert bytes(s.editor.line()) == b"hello"
    s.type(b"\x01>" + b"\x05!" + b"\x7f\x08")
    assert bytes(s.editor.line()) == b">hell"
    s.type(b"\x1b[H\x1b[3~" + b"\x1b[4~o")
    assert bytes(s.editor.line()) == b"hello"
    assert s.type(b"\r\n") == [Event.LINE]
    assert s.lines == [b"hello"]


def test_kill_keys(impl: Any) -> None:
    s = Session()
    s.type(b"one two  three" + LEFT * 5 + b"\x17")
    assert bytes(s.editor.line()) == b"one three"
    s.type(b"\x0b")
    assert bytes(s.editor.line()) == b"one "
    s.type(b"xy" + LEFT + b"\x15")
    assert bytes(s.editor.line()) == b"y"


def test_utf8_moves_by_characters(impl: Any) -> None:
    s = Session()
    s.type("aé漢b".encode() + LEFT * 2 + "ü".encode())
    assert bytes(s.editor.line()).decode() == "aéü漢b"
    s.type(b"\x7f\x1b[3~")
    assert bytes(s.editor.line()).decode() == "aéb"


def test_history(impl: Any) -> None:
    s = Session()
    s.type(b"first\rsecond\rsecond\rdraft" + UP)
    assert bytes(s.editor.line()) == b"second"
    s.type(UP + UP)
    assert bytes(s.editor.line()) == b"first"
    s.type(DOWN + DOWN + DOWN)
    assert bytes(s.editor.line()) == b"draft"
    s.type(UP + b"x\r")
    assert s.lines[-1] == b"secondx"


def test_events(impl: Any) -> None:
    s = Session()
    assert s.type(b"ab\t\x0c\x03") == [Event.COMPLETE, Event.CLEAR, Event.CANCEL]
    assert bytes(s.editor.line()) == b""
    assert s.type(b"\x04") == [Event.END]


def test_a_full_line_takes_no_more(impl: Any) -> None:
    s = Session()
    for _ in range(11):
        s.type(b"x" * 100)
    assert len(s.editor.line()) == 1024


def test_unknown_sequences_do_nothing(impl: Any) -> None:
    s = Session()
    s.type(b"a\x1b[1;5C\x1bOC\x1b[200~\x1b[Z\x00\x1dz")
    assert bytes(s.editor.line()) == b"az"
