"""16550 UART: the console of last resort.

Polled, so it works before interrupts and after a panic. Registers: TI PC16550D datasheet,
section 8. On a PVM host every port access costs about 25 µs: the transmitter is asked once for
each FIFO load of 16 bytes, and the receiver only as often as main.py wants.
"""

from enum import IntEnum, IntFlag

from bare import Bytes, Struct, u8, u16
from bare.cpu import inb, outb

COM1 = 0x3F8
BAUD_DIVISOR = 1  # 115200 baud.
FIFO_BYTES = 16
# A byte at 115200 baud takes 87 µs; a port read takes at least 1 µs. Ten FIFOs' worth.
TRANSMIT_POLL_MAX = 20_000


class Reg(IntEnum):
    """Offsets from the port base. DLL and DLM replace THR and IER while LCR.DLAB is set."""

    THR = 0
    IER = 1
    FCR = 2
    LCR = 3
    MCR = 4
    LSR = 5
    SCRATCH = 7


class Lcr(IntFlag):
    """Line control."""

    WORD_8_BITS = 0b11
    DLAB = 1 << 7


class Lsr(IntFlag):
    """Line status."""

    DATA_READY = 1 << 0
    THR_EMPTY = 1 << 5


class Uart(Struct):
    """One UART. Output to one that is absent or stuck is dropped after a bounded wait."""

    base: u16
    present: bool = False
    room: u8 = 0  # Bytes that may be written before the FIFO must be asked again.

    def init(self) -> None:
        """Set 115200 8N1 with FIFOs; find out whether there is a UART at all."""
        outb(self.base + Reg.SCRATCH, 0x5A)
        self.present = inb(self.base + Reg.SCRATCH) == 0x5A
        if not self.present:
            return
        outb(self.base + Reg.IER, 0)
        outb(self.base + Reg.LCR, Lcr.DLAB)
        outb(self.base + Reg.THR, BAUD_DIVISOR & 0xFF)
        outb(self.base + Reg.IER, BAUD_DIVISOR >> 8)
        outb(self.base + Reg.LCR, Lcr.WORD_8_BITS)
        outb(self.base + Reg.FCR, 0x07)  # FIFOs on and emptied.
        outb(self.base + Reg.MCR, 0x03)  # DTR, RTS.

    def wait_for_room(self) -> None:
        """Wait until the transmit FIFO is empty; a stuck one counts as absent from then on."""
        for _ in range(TRANSMIT_POLL_MAX):
            if inb(self.base + Reg.LSR) & Lsr.THR_EMPTY:
                self.room = FIFO_BYTES
                return
        self.present = False

    def write_byte(self, byte: u8) -> None:
        """Send one byte."""
        if not self.present:
            return
        if self.room == 0:
            self.wait_for_room()
            if self.room == 0:
                return
        outb(self.base + Reg.THR, byte)
        self.room -= 1

    def write(self, text: Bytes) -> None:
        """Send `text`."""
        for byte in text:
            self.write_byte(byte)

    def receive(self) -> u8 | None:
        """Return the next byte that has arrived, or None."""
        if not self.present or not inb(self.base + Reg.LSR) & Lsr.DATA_READY:
            return None
        return inb(self.base + Reg.THR)
