"""The console: bytes in from the serial line, text out to it.

Output goes through one writer (`out`), which is handed to the screen when it fills and at `flush`.
A look for input costs 25 µs on a PVM host, so there is one in INPUT_POLL_NS, and while tokens are
made one in INPUT_POLL_BUSY_NS.
"""

from bare import Bytes, Ref, Struct, static, u8, u64
from bare.text import Writer
from merlion.kernel.limits import CONSOLE_OUTPUT_BYTES, INPUT_POLL_BUSY_NS, INPUT_POLL_NS
from merlion.kernel.screen import screen, uart


class Console(Struct):
    """Buffered output and paced input."""

    out: Ref[Writer]
    next_poll_ns: u64 = 0

    def flush(self) -> None:
        """Hand what has been written to the screen."""
        screen.write(self.out.written())
        self.out.clear()

    def write(self, text: Bytes) -> None:
        """Write text, however long."""
        if self.out.length + len(text) > CONSOLE_OUTPUT_BYTES:
            self.flush()
            screen.write(text)
            return
        self.out.text(text)

    def line(self, text: Bytes) -> None:
        """Write one line and hand it to the screen."""
        self.write(text)
        self.out.byte(0x0A)
        self.flush()

    def receive(self, now_ns: u64, computing: bool) -> u8 | None:
        """Return the next key, or None. After a key the next look may be at once."""
        if now_ns < self.next_poll_ns:
            return None
        byte = uart.receive()
        if byte is None:
            self.next_poll_ns = now_ns + (INPUT_POLL_BUSY_NS if computing else INPUT_POLL_NS)
        return byte


console = Console(Writer(static(u8, CONSOLE_OUTPUT_BYTES)))
