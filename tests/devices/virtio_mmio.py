"""The virtio-mmio register block (1.2, section 4.2.2) around a device."""

from devices.virtio import ModelQueue, VirtioModel


class MmioTransport:
    """One slot; `model` None is an empty one."""

    def __init__(self, model: VirtioModel | None, *, version: int = 2) -> None:
        self.model = model
        self.version = version
        self.feature_half = [0, 0]
        self.queue_index = 0

    def queue(self) -> ModelQueue | None:
        assert self.model is not None
        if self.queue_index < len(self.model.queues):
            return self.model.queues[self.queue_index]
        return None

    def read(self, offset: int, size: int) -> int:
        model = self.model
        if offset >= 0x100:
            assert model is not None
            at = offset - 0x100
            return int.from_bytes(model.config_bytes()[at : at + size], "little")
        assert size == 4, "registers are 32 bits wide (4.2.2.2)"
        match offset:
            case 0x000:
                return 0x74726976
            case 0x004:
                return self.version
            case 0x008:
                return model.kind if model else 0
        assert model is not None
        assert self.version == 2, "a legacy device was driven"
        match offset:
            case 0x010:
                half = self.feature_half[0]
                return model.features >> half * 32 & 0xFFFFFFFF if half < 2 else 0
            case 0x034:
                queue = self.queue()
                return queue.size_max if queue else 0
            case 0x044:
                queue = self.queue()
                return int(queue.enabled) if queue else 0
            case 0x070:
                return model.read_status()
            case 0x0FC:
                return model.generation
        raise AssertionError(f"read of write-only or unknown register {offset:#x}")

    def write(self, offset: int, size: int, value: int) -> None:
        model = self.model
        assert model is not None
        assert size == 4, "registers are 32 bits wide (4.2.2.2)"
        if offset == 0x050:
            model.kick(value)
            return
        match offset:
            case 0x014:
                self.feature_half[0] = value
            case 0x020:
                model.set_features(self.feature_half[1], value)
            case 0x024:
                self.feature_half[1] = value
            case 0x030:
                self.queue_index = value
            case 0x070:
                model.write_status(value)
            case _:
                self.write_queue(offset, value)

    def write_queue(self, offset: int, value: int) -> None:
        queue = self.queue()
        assert queue is not None, "a queue that does not exist"
        assert self.model is not None
        if offset == 0x044:
            assert value == 1
            self.model.enable(self.queue_index)
            return
        assert not queue.enabled, "a queue was changed while enabled"
        match offset:
            case 0x038:
                queue.size = value
            case 0x080:
                queue.descriptors = queue.descriptors & ~0xFFFFFFFF | value
            case 0x084:
                queue.descriptors = queue.descriptors & 0xFFFFFFFF | value << 32
            case 0x090:
                queue.avail = queue.avail & ~0xFFFFFFFF | value
            case 0x094:
                queue.avail = queue.avail & 0xFFFFFFFF | value << 32
            case 0x0A0:
                queue.used = queue.used & ~0xFFFFFFFF | value
            case 0x0A4:
                queue.used = queue.used & 0xFFFFFFFF | value << 32
            case _:
                raise AssertionError(f"write of read-only or unknown register {offset:#x}")
