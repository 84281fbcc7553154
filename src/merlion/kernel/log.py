"""Kernel log: the last 64 KiB of lines, each with its time, for `dmesg`.

Use: `line = log.begin()`, write into the writer, `log.end()`. Only the boot core logs. A line is
`[    0.012] text`; unless the word `quiet` is on the command line it also goes to the console.
"""

from bare import Bytes, Ref, Slice, Struct, static, u8, u64, usize
from bare.text import Writer
from merlion.kernel.clock import now_ns
from merlion.kernel.screen import screen

LOG_BYTES = 64 * 1024
LINE_MAX = 256


class KernelLog(Struct):
    """A ring of bytes; `written` counts every byte ever logged."""

    ring: Slice[u8]
    line: Ref[Writer]
    written: u64 = 0
    quiet: bool = False
    over_prompt: bool = False  # The shell's line is on the screen: write over it.
    held: bool = False  # An answer is being streamed: the line is for dmesg only.
    covered: bool = False  # It has been written over, and must be drawn again.

    def put(self, text: Bytes) -> None:
        """Append bytes to the ring, over the oldest."""
        for byte in text:
            self.ring[usize(self.written % len(self.ring))] = byte
            self.written += 1

    def begin(self) -> Writer:
        """Start a line."""
        line = self.line
        line.clear()
        milliseconds = now_ns() // 1_000_000
        seconds = milliseconds // 1000
        line.text(b"[")
        limit: u64 = 1000
        for _ in range(3):
            if seconds < limit // 10:
                line.byte(0x20)
            limit //= 10
        line.unsigned(seconds)
        line.byte(0x2E)
        line.unsigned(milliseconds // 100 % 10)
        line.unsigned(milliseconds // 10 % 10)
        line.unsigned(milliseconds % 10)
        line.text(b"] ")
        return line

    def end(self) -> None:
        """Finish the line: keep it and show it."""
        self.line.byte(0x0A)
        text = self.line.written()
        self.put(text)
        if self.quiet or self.held:
            return
        if self.over_prompt:
            screen.write(b"\r\x1b[K")
            self.covered = True
        screen.write(text)

    def say(self, text: Bytes) -> None:
        """Log one line of fixed text."""
        self.begin().text(text)
        self.end()

    def oldest(self) -> u64:
        """Return the position of the oldest byte still kept."""
        size = u64(len(self.ring))
        return self.written - size if self.written > size else 0

    def byte_at(self, position: u64) -> u8:
        """Return the byte at `position`, which is between oldest() and `written`."""
        return self.ring[usize(position % len(self.ring))]


log = KernelLog(static(u8, LOG_BYTES), Writer(static(u8, LINE_MAX)))
