"""How a device is told that a queue has something new: where the two transports differ most."""

from bare import Array, Struct, array, u16, u32, u64
from bare.unsafe import registers_at
from merlion.kernel.drivers.virtio.registers import CommonRegisters, MmioRegisters, Register16

QUEUES_MAX = 4  # We use one queue of a disk and two of a network device.


class MmioDoorbell(Struct):
    """One register for all queues (virtio 1.2, section 4.2.2)."""

    registers: MmioRegisters

    def find(self, queue: u16) -> None:
        """Nothing to find."""

    def ring(self, queue: u16) -> None:
        """Tell the device."""
        self.registers.queue_notify.write(queue)


class PciDoorbells(Struct):
    """A word for each queue, where the device says (section 4.1.4.4)."""

    registers: CommonRegisters
    start: u64
    stride: u32
    words: Array[Register16] = array(QUEUES_MAX)

    def find(self, queue: u16) -> None:
        """Learn where the doorbell of the queue is that is selected."""
        offset = self.registers.queue_notify_offset.read() * self.stride
        self.words[queue] = registers_at(Register16, self.start + offset)

    def ring(self, queue: u16) -> None:
        """Tell the device."""
        self.words[queue].value.write(queue)
