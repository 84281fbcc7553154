"""16550 UART: the console of last resort.

Polled, so it works before interrupts and after a panic. Registers: TI PC16550D datasheet,
section 8. On a PVM host every exit costs about 25 µs: a FIFO load of 16 bytes goes out with one
question to the transmitter and one string instruction, and the receiver is asked only as often as
main.py wants.
"""

from enum import IntEnum, IntFlag

from bare import Array, Struct, array, u8, u16, usize
from bare.cpu import inb, outb
from bare.unsafe import address_of
from merlion.kernel.arch.x86_64.stubs import write_port

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
    """One UART. Output to one that is absent or stuck is dropped after a bounded wait.

    Bytes are gathered in `fifo`, which goes out when it is full and with `flush`.
    """

    base: u16
    present: bool = False
    count: usize = 0  # Bytes in `fifo`.
    room: usize = 0  # Bytes that the device takes before it must be asked again.
    fifo: Array[u8] = array(FIFO_BYTES)

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

    def is_ready(self) -> bool:
        """Whether a FIFO's worth is taken at once; an absent UART takes anything."""
        if self.room < FIFO_BYTES and inb(self.base + Reg.LSR) & Lsr.THR_EMPTY:
            self.room = FIFO_BYTES
        return self.room >= FIFO_BYTES or not self.present

    def put(self, byte: u8) -> None:
        """Send one byte, at the latest with `flush`."""
        self.fifo[self.count] = byte
        self.count += 1
        if self.count == FIFO_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what has been gathered."""
        count = self.count
        self.count = 0
        if count == 0 or not self.present:
            return
        if self.room < count:
            self.wait_for_room()
            if self.room < count:
                return
        write_port(self.base + Reg.THR, address_of(self.fifo[:]), count)
        self.room -= count

    def receive(self) -> u8 | None:
        """Return the next byte that has arrived, or None."""
        if not self.present or not inb(self.base + Reg.LSR) & Lsr.DATA_READY:
            return None
        return inb(self.base + Reg.THR)
