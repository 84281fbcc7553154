"""Everything the machine says on its serial line, in order, sent as the line takes it.

A character takes 87 µs at 115200 baud and 50 µs on a PVM host, so the log of a boot would take as
long as the boot: text is kept in a ring, which main.py and whoever waits for a device empty with
`poll`. When the ring is full, before power-off and in a panic everything is sent at once.
"""

from bare import Bytes, Slice, Struct, static, u8, u64, usize
from merlion.kernel.drivers.uart import COM1, FIFO_BYTES, Uart
from merlion.kernel.limits import SCREEN_BURST, SCREEN_BYTES

uart = Uart(COM1)


class Screen(Struct):
    """A ring of bytes to be sent."""

    ring: Slice[u8]
    written: u64 = 0  # Bytes ever.
    sent: u64 = 0

    def write(self, text: Bytes) -> None:
        """Say something, each newline as CR LF."""
        for byte in text:
            if byte == 0x0A:
                self.add(0x0D)
            self.add(byte)

    def add(self, byte: u8) -> None:
        """Keep one byte; a full ring is emptied first."""
        if self.written - self.sent == len(self.ring):
            self.drain()
        self.ring[usize(self.written % len(self.ring))] = byte
        self.written += 1

    def poll(self) -> bool:
        """Send a few FIFOs' worth, as far as the line takes them at once. False if all is sent."""
        for _ in range(SCREEN_BURST):
            if self.sent == self.written or not uart.is_ready():
                break
            self.send(FIFO_BYTES)
        return self.sent != self.written

    def drain(self) -> None:
        """Send everything. Bounded: an UART that is stuck counts as absent."""
        while self.sent < self.written:
            self.send(FIFO_BYTES)

    def send(self, limit: usize) -> None:
        """Hand up to `limit` bytes to the UART."""
        for _ in range(limit):
            if self.sent == self.written:
                break
            uart.put(self.ring[usize(self.sent % len(self.ring))])
            self.sent += 1
        uart.flush()


screen = Screen(static(u8, SCREEN_BYTES))
