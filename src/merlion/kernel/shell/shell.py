"""The shell's loop: keys to a line, the line to a command, one command at a time.

A command either finishes at once or leaves something running (`ai`, `ping`), which `poll` then
drives; keys typed meanwhile wait, except Ctrl-C.

Whether a command succeeded is told by a mark before the next prompt: `OSC 133 ; D ; status BEL`,
which terminals take for the end of a command (FinalTerm's semantic prompts) and do not show. Every
line that was entered is followed by exactly one.
"""

from bare import Array, Bytes, Struct, array, u8, u64, usize
from merlion.kernel.console import console
from merlion.kernel.line_editor import CTRL_C, Event, LineEditor
from merlion.kernel.log import log
from merlion.kernel.shell import running
from merlion.kernel.shell.refuse import refuse
from merlion.kernel.shell.table import COMMANDS

PROMPT = b"merlion> "
SUCCEEDED = b"\x1b]133;D;0\x07"
FAILED = b"\x1b]133;D;1\x07"
KEYS_PER_POLL = 64
AHEAD_MAX = 1024


class Shell(Struct):
    """Where the user is."""

    editor: LineEditor
    busy: bool = False
    ahead_count: usize = 0
    ahead: Array[u8] = array(AHEAD_MAX)  # Keys typed while a command runs.

    def start(self) -> None:
        """Show the first prompt."""
        console.line(b"Type help for the commands.")
        self.prompt()

    def prompt(self) -> None:
        """Begin a new line."""
        self.busy = False
        log.over_prompt = True
        log.held = False
        log.covered = False
        self.editor.start()
        console.write(PROMPT)
        console.flush()

    def end_command(self, succeeded: bool) -> None:
        """Tell whoever listens how the command ended; begin a new line."""
        console.write(SUCCEEDED if succeeded else FAILED)
        self.prompt()

    def poll(self, now_ns: u64, computing: bool) -> bool:
        """Take the keys that have come; drive what is running. False when idle."""
        active = self.busy
        self.uncover()  # Before the echo of the next key.
        for _ in range(KEYS_PER_POLL):
            key = console.receive(now_ns, computing)
            if key is None:
                break
            self.take_key(key)
            active = True
        if self.busy:
            succeeded = running.poll()
            if succeeded is not None:
                self.end_command(succeeded)
                self.replay()
        self.uncover()
        return active

    def uncover(self) -> None:
        """Draw the line again if a log line has been written over it."""
        if log.covered:
            log.covered = False
            if not self.busy:
                self.editor.redraw(PROMPT)
                console.flush()

    def replay(self) -> None:
        """Take the keys that were typed ahead, until one of them starts something again."""
        taken: usize = 0
        while taken < self.ahead_count and not self.busy:
            taken += 1
            self.take_key(self.ahead[taken - 1])
        rest = self.ahead_count - taken
        self.ahead[:rest].copy_from(self.ahead[taken : self.ahead_count])
        self.ahead_count = rest

    def take_key(self, key: u8) -> None:
        """Take one key."""
        if self.busy:
            if key == CTRL_C:
                self.ahead_count = 0
                running.cancel()
            elif self.ahead_count < AHEAD_MAX:
                self.ahead[self.ahead_count] = key
                self.ahead_count += 1
            return
        match self.editor.feed(key):
            case Event.LINE:
                console.flush()
                log.over_prompt = False
                succeeded = self.execute(trim(self.editor.line()))
                if running.is_active():
                    self.busy = True
                    log.held = True
                else:
                    self.end_command(succeeded)
            case Event.CANCEL:
                self.prompt()
            case Event.COMPLETE:
                self.complete()
            case Event.CLEAR:
                console.write(b"\x1b[2J\x1b[H")
                self.editor.redraw(PROMPT)
            case Event.END | Event.NONE:
                pass
        console.flush()

    def execute(self, line: Bytes) -> bool:
        """Run one command line. False, after saying why, if it failed at once."""
        if len(line) == 0:
            return True
        end = line.find(b" ")
        name = line if end < 0 else line[: usize(end)]
        arguments = line[len(name) :]
        for command in COMMANDS:
            if name == command.name:
                if len(command.usage) == 0 and len(arguments) > 0:
                    console.write(name)
                    return refuse(b" takes no arguments")
                return command.run(trim(arguments))
        console.write(b"unknown command: ")
        console.write(name)
        return refuse(b" (try help)")

    def complete(self) -> None:
        """Complete the command name before the cursor, or list what it could be."""
        typed = self.editor.line()
        if self.editor.cursor != len(typed) or typed.find(b" ") >= 0:
            return
        matches: usize = 0
        common: Bytes = b""
        for command in COMMANDS:
            name: Bytes = command.name
            if name.startswith(typed):
                common = name if matches == 0 else common[: common_length(common, name)]
                matches += 1
        if matches == 0:
            return
        if len(common) > len(typed):
            self.editor.insert_text(common[len(typed) :])
            if matches == 1:
                self.editor.insert(0x20)
            return
        if matches == 1:
            self.editor.insert(0x20)
            return
        console.out.byte(0x0A)
        for command in COMMANDS:
            candidate: Bytes = command.name
            if candidate.startswith(typed):
                console.write(candidate)
                console.write(b"  ")
        console.out.byte(0x0A)
        self.editor.redraw(PROMPT)


def common_length(a: Bytes, b: Bytes) -> usize:
    """Return how many first bytes are equal."""
    length: usize = 0
    while length < len(a) and length < len(b) and a[length] == b[length]:
        length += 1
    return length


def trim(text: Bytes) -> Bytes:
    """Cut spaces at both ends."""
    start: usize = 0
    end = len(text)
    while start < end and text[start] == 0x20:
        start += 1
    while end > start and text[end - 1] == 0x20:
        end -= 1
    return text[start:end]


shell = Shell.zeroed(LineEditor.zeroed(console.out))
