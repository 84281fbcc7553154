"""A modern virtio PCI function (1.2, section 4.1): capabilities and one BAR, as QEMU lays them out.

Common configuration at 0x0000, device configuration at 0x2000, doorbells at 0x3000, 4 bytes apart.
"""

from devices.pci import Function, ModelBar
from devices.virtio import ModelQueue, VirtioModel

COMMON, ISR, DEVICE, NOTIFY = 0x0000, 0x1000, 0x2000, 0x3000
BAR_BYTES = 0x4000


def capability(kind: int, bar: int, offset: int, length: int, extra: bytes = b"") -> bytes:
    """A vendor capability behind its id and link (4.1.4)."""
    return (
        bytes([16 + len(extra), kind, bar, 0, 0, 0])
        + offset.to_bytes(4, "little")
        + length.to_bytes(4, "little")
        + extra
    )


class PciTransport:
    """What answers in the BAR."""

    def __init__(self, model: VirtioModel) -> None:
        self.model = model
        self.select = [0, 0]
        self.queue_index = 0

    def queue(self) -> ModelQueue | None:
        if self.queue_index < len(self.model.queues):
            return self.model.queues[self.queue_index]
        return None

    def read(self, offset: int, size: int) -> int:
        model = self.model
        if DEVICE <= offset < NOTIFY:
            at = offset - DEVICE
            return int.from_bytes(model.config_bytes()[at : at + size], "little")
        queue = self.queue()
        match offset, size:
            case 0x04, 4:
                return model.features >> self.select[0] * 32 & 0xFFFFFFFF
            case 0x12, 2:
                return len(model.queues)
            case 0x14, 1:
                return model.read_status()
            case 0x15, 1:
                return model.generation
            case 0x18, 2:
                if queue is None:
                    return 0
                return queue.size or queue.size_max
            case 0x1E, 2:
                return self.queue_index
        raise AssertionError(f"{size}-byte read at {offset:#x} of the common configuration")

    def write(self, offset: int, size: int, value: int) -> None:
        model = self.model
        if NOTIFY <= offset < BAR_BYTES:
            assert size == 2
            index = (offset - NOTIFY) // 4
            assert value == index, "a doorbell of another queue"
            model.kick(index)
            return
        match offset, size:
            case 0x00, 4:
                self.select[0] = value
            case 0x08, 4:
                self.select[1] = value
            case 0x0C, 4:
                model.set_features(self.select[1], value)
            case 0x14, 1:
                model.write_status(value)
            case 0x16, 2:
                self.queue_index = value
            case _:
                self.write_queue(offset, size, value)

    def write_queue(self, offset: int, size: int, value: int) -> None:
        queue = self.queue()
        assert queue is not None, "a queue that does not exist"
        if (offset, size) == (0x1C, 2):
            assert value == 1
            self.model.enable(self.queue_index)
            return
        assert not queue.enabled, "a queue was changed while enabled"
        if (offset, size) == (0x18, 2):
            queue.size = value
            return
        assert size == 4, "64-bit fields are written in halves (4.1.3.1)"
        names = {0x20: "descriptors", 0x28: "avail", 0x30: "used"}
        name = names.get(offset & ~4)
        assert name is not None, f"write at {offset:#x} of the common configuration"
        old = getattr(queue, name)
        if offset & 4:
            setattr(queue, name, old & 0xFFFFFFFF | value << 32)
        else:
            setattr(queue, name, old & ~0xFFFFFFFF | value)


def virtio_function(model: VirtioModel, *, bar: int = 4) -> Function:
    """Make a function as QEMU's virtio-*-pci has it: MSI-X at BAR 1, registers in 64-bit BAR 4."""
    class_code = {1: 0x020000, 2: 0x010000}[model.kind]
    function = Function(0x1AF4, 0x1040 + model.kind, class_code)
    function.bars[bar] = ModelBar(BAR_BYTES, PciTransport(model), is_64=True, prefetchable=True)
    function.add_capability(0x11, bytes(10))  # MSI-X, not used.
    function.add_capability(0x09, capability(5, 0, 0, 0, bytes(4)))
    multiplier = (4).to_bytes(4, "little")
    function.add_capability(0x09, capability(2, bar, NOTIFY, 0x1000, multiplier))
    function.add_capability(0x09, capability(4, bar, DEVICE, 0x1000))
    function.add_capability(0x09, capability(3, bar, ISR, 0x1000))
    function.add_capability(0x09, capability(1, bar, COMMON, 0x1000))
    return function
