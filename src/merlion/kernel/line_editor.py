"""Line editor: keys in, a line and the terminal's view of it out.

Keys are bytes as terminals send them (ECMA-48 control sequences, xterm's `CSI n ~`). The editor
holds the line as UTF-8 and moves by whole characters. It draws into a `Writer`, so it can be tested
without a terminal. Invariant: `cursor` is at the start of a character or at the end of the line.
"""

from enum import IntEnum

from bare import Array, Bytes, Ref, Struct, array, u8, usize
from bare.text import Writer

LINE_MAX = 1024
HISTORY_MAX = 32

CTRL_C = 0x03
NEWLINE = 0x0A
RETURN = 0x0D
DELETE = 0x7F


class Move(IntEnum):
    """Where a key goes."""

    NONE = 0
    UP = 1
    DOWN = 2
    RIGHT = 3
    LEFT = 4
    HOME = 5
    END = 6


# `CSI A` to `CSI H`; `CSI 0 ~` to `CSI 9 ~`; Ctrl-A, B, E, F, N, P.
ARROW_MOVES = (Move.UP, Move.DOWN, Move.RIGHT, Move.LEFT, Move.NONE, Move.END, Move.NONE, Move.HOME)
_TILDE = {1: Move.HOME, 7: Move.HOME, 4: Move.END, 8: Move.END}
TILDE_MOVES = tuple(_TILDE.get(n, Move.NONE) for n in range(10))
_CONTROL = {1: Move.HOME, 2: Move.LEFT, 5: Move.END, 6: Move.RIGHT, 14: Move.DOWN, 16: Move.UP}
CONTROL_MOVES = tuple(_CONTROL.get(n, Move.NONE) for n in range(32))


class Event(IntEnum):
    """What a key did."""

    NONE = 0
    LINE = 1  # The line is complete: read `line()`, then call `start`.
    CANCEL = 2  # Ctrl-C.
    COMPLETE = 3  # Tab: the caller completes and calls `insert_text`.
    CLEAR = 4  # Ctrl-L: the caller clears the screen and calls `redraw`.
    END = 5  # Ctrl-D on an empty line.


class Escape(IntEnum):
    """Where in a control sequence the input is."""

    NONE = 0
    ESCAPE = 1  # After ESC.
    SEQUENCE = 2  # After ESC [ or ESC O.


class HistoryLine(Struct):
    """One remembered line."""

    length: usize
    text: Array[u8] = array(LINE_MAX)


class LineEditor(Struct):
    """State of one input line and the lines before it."""

    out: Ref[Writer]
    typed: HistoryLine  # The line being typed, while the user looks at older ones.
    length: usize = 0
    cursor: usize = 0
    escape: Escape = Escape.NONE
    parameter: u8 = 0
    history_count: usize = 0  # Lines ever remembered; the newest HISTORY_MAX are kept.
    history_at: usize = 0  # How far back the user is: 0 is the line being typed.
    pending: u8 = 0  # Bytes still to come of the character being typed.
    swallow_newline: bool = False  # The LF of a CR LF pair.
    text: Array[u8] = array(LINE_MAX)
    history: Array[HistoryLine] = array(HISTORY_MAX)

    def line(self) -> Bytes:
        """Return the current line."""
        return self.text[: self.length]

    def start(self) -> None:
        """Begin an empty line."""
        self.length = 0
        self.cursor = 0
        self.history_at = 0
        self.escape = Escape.NONE

    def feed(self, byte: u8) -> Event:
        """Take one byte of input."""
        if self.escape != Escape.NONE:
            self.feed_escape(byte)
            return Event.NONE
        was_return = self.swallow_newline
        self.swallow_newline = byte == RETURN
        if byte == NEWLINE and was_return:
            return Event.NONE
        if byte >= 0x20 and byte != DELETE:
            self.insert(byte)
            return Event.NONE
        return self.feed_control(byte)

    def feed_control(self, byte: u8) -> Event:
        """Take a control character."""
        match byte:
            case 0x0D | 0x0A:
                self.move_to(self.length)
                self.out.byte(0x0A)
                self.remember()
                return Event.LINE
            case 0x03:
                self.out.text(b"^C\n")
                self.start()
                return Event.CANCEL
            case 0x04:
                if self.length == 0:
                    return Event.END
                self.delete_at_cursor()
            case 0x09:
                return Event.COMPLETE
            case 0x0C:
                return Event.CLEAR
            case 0x1B:
                self.escape = Escape.ESCAPE
            case _:
                self.edit(byte)
        return Event.NONE

    def edit(self, byte: u8) -> None:
        """Take a control character that only moves or deletes."""
        match byte:
            case 0x08 | 0x7F:
                self.erase(self.previous(self.cursor), self.cursor)
            case 0x0B:
                self.erase(self.cursor, self.length)
            case 0x15:
                self.erase(0, self.cursor)
            case 0x17:
                self.erase(self.word_start(), self.cursor)
            case _:
                self.navigate(CONTROL_MOVES[byte & 0x1F])

    def navigate(self, move: Move) -> None:
        """Move in the line or in the history."""
        match move:
            case Move.UP:
                self.recall(self.history_at + 1)
            case Move.DOWN:
                if self.history_at > 0:
                    self.recall(self.history_at - 1)
            case Move.RIGHT:
                self.move_to(self.next(self.cursor))
            case Move.LEFT:
                self.move_to(self.previous(self.cursor))
            case Move.HOME:
                self.move_to(0)
            case Move.END:
                self.move_to(self.length)
            case Move.NONE:
                pass

    def feed_escape(self, byte: u8) -> None:
        """Take a byte inside a control sequence."""
        if self.escape == Escape.ESCAPE:
            self.parameter = 0
            follows = byte == 0x5B or byte == 0x4F
            self.escape = Escape.SEQUENCE if follows else Escape.NONE
            return
        if 0x30 <= byte <= 0x39:
            self.parameter = byte - 0x30
            return
        if byte == 0x3B:
            return
        self.escape = Escape.NONE
        if byte == 0x7E and self.parameter == 3:
            self.delete_at_cursor()
        elif byte == 0x7E and self.parameter < 10:
            self.navigate(TILDE_MOVES[self.parameter])
        elif 0x41 <= byte <= 0x48:
            self.navigate(ARROW_MOVES[byte - 0x41])

    def delete_at_cursor(self) -> None:
        """Delete the character under the cursor."""
        self.erase(self.cursor, self.next(self.cursor))

    def previous(self, at: usize) -> usize:
        """Return the start of the character before `at`."""
        while at > 0:
            at -= 1
            if not is_continuation(self.text[at]):
                break
        return at

    def next(self, at: usize) -> usize:
        """Return the end of the character at `at`."""
        while at < self.length:
            at += 1
            if at == self.length or not is_continuation(self.text[at]):
                break
        return at

    def word_start(self) -> usize:
        """Return where the word before the cursor begins."""
        at = self.cursor
        while at > 0 and self.text[at - 1] == 0x20:
            at -= 1
        while at > 0 and self.text[at - 1] != 0x20:
            at -= 1
        return at

    def insert(self, byte: u8) -> None:
        """Insert one byte at the cursor. A full line takes no more."""
        if self.length == LINE_MAX:
            return
        at = self.cursor
        self.text[at + 1 : self.length + 1].copy_from(self.text[at : self.length])
        self.text[at] = byte
        self.length += 1
        self.cursor += 1
        self.out.byte(byte)
        if byte >= 0xC0:
            self.pending = 3 if byte >= 0xF0 else 2 if byte >= 0xE0 else 1
        elif self.pending > 0:
            self.pending -= 1
        if self.pending == 0:  # A control sequence inside a character would tear it.
            self.draw_tail()

    def insert_text(self, text: Bytes) -> None:
        """Insert `text` at the cursor."""
        for byte in text:
            self.insert(byte)

    def erase(self, start: usize, end: usize) -> None:
        """Delete the bytes [start, end); the cursor goes to `start`."""
        if start >= end:
            return
        self.move_to(start)
        self.text[start : self.length - (end - start)].copy_from(self.text[end : self.length])
        self.length -= end - start
        self.out.text(b"\x1b[K")
        self.draw_tail()

    def draw_tail(self) -> None:
        """Draw what follows the cursor and go back."""
        if self.cursor == self.length:
            return
        self.out.text(self.text[self.cursor : self.length])
        self.out.text(b"\x1b[K")
        self.step(self.width(self.cursor, self.length), 0x44)

    def move_to(self, at: usize) -> None:
        """Move the cursor to byte `at`."""
        if at < self.cursor:
            self.step(self.width(at, self.cursor), 0x44)
        elif at > self.cursor:
            self.step(self.width(self.cursor, at), 0x43)
        self.cursor = at

    def step(self, columns: usize, direction: u8) -> None:
        """Emit a cursor movement: direction 'C' is right, 'D' is left."""
        if columns == 0:
            return
        self.out.text(b"\x1b[")
        self.out.unsigned(columns)
        self.out.byte(direction)

    def width(self, start: usize, end: usize) -> usize:
        """Return the number of characters in [start, end), taken as one column each."""
        columns: usize = 0
        for byte in self.text[start:end]:
            if not is_continuation(byte):
                columns += 1
        return columns

    def redraw(self, prompt: Bytes) -> None:
        """Draw the prompt and the line from column 0."""
        self.out.text(b"\r\x1b[K")
        self.out.text(prompt)
        self.out.text(self.text[: self.length])
        self.step(self.width(self.cursor, self.length), 0x44)

    def remember(self) -> None:
        """Put the line into the history, unless it is empty or the same as the last."""
        if self.length == 0:
            return
        if self.history_count > 0:
            last = self.history[(self.history_count - 1) % HISTORY_MAX]
            if last.text[: last.length] == self.text[: self.length]:
                return
        slot = self.history[self.history_count % HISTORY_MAX]
        slot.text[: self.length].copy_from(self.text[: self.length])
        slot.length = self.length
        self.history_count += 1

    def recall(self, back: usize) -> None:
        """Show the line `back` steps ago; 0 is the line that was being typed."""
        if back > min(self.history_count, HISTORY_MAX):
            return
        if self.history_at == 0:
            self.typed.text[: self.length].copy_from(self.text[: self.length])
            self.typed.length = self.length
        source = self.typed
        if back > 0:
            source = self.history[(self.history_count - back) % HISTORY_MAX]
        self.move_to(0)
        self.out.text(b"\x1b[K")
        self.length = source.length
        self.text[: self.length].copy_from(source.text[: source.length])
        self.out.text(self.text[: self.length])
        self.cursor = self.length
        self.history_at = back


def is_continuation(byte: u8) -> bool:
    """Whether `byte` continues a UTF-8 character."""
    return byte & 0xC0 == 0x80
