"""PCI configuration space: functions, BARs that size as they must, bridges that route.

Reached through ECAM (`EcamWindow`) or the ports 0xCF8/0xCFC (`PortWindow`). BARs answer only where
they are decoded: memory enabled, address assigned, and forwarded by every bridge on the way.
"""

from dataclasses import dataclass

from devices.machine import Window


@dataclass
class ModelBar:
    """A BAR: its size, kind, and what answers there."""

    size: int
    window: Window | None = None
    is_64: bool = False
    is_io: bool = False
    prefetchable: bool = False
    value: int = 0  # As last written, of the full width.

    def flags(self) -> int:
        if self.is_io:
            return 1
        return (4 if self.is_64 else 0) | (8 if self.prefetchable else 0)

    @property
    def address(self) -> int:
        return self.value & -self.size & (2**64 - 1)


class Function:
    """One function with its 256 bytes."""

    is_bridge = False

    def __init__(
        self, vendor: int, device: int, class_code: int, *, multifunction: bool = False
    ) -> None:
        self.bytes = bytearray(256)
        self.put(0x00, 2, vendor)
        self.put(0x02, 2, device)
        self.put(0x09, 3, class_code)
        self.bytes[0x0E] = 0x80 if multifunction else 0
        self.bars: dict[int, ModelBar] = {}
        self.next_capability = 0x40
        self.last_link = 0x34

    def put(self, offset: int, size: int, value: int) -> None:
        self.bytes[offset : offset + size] = value.to_bytes(size, "little")

    def get(self, offset: int, size: int) -> int:
        return int.from_bytes(self.bytes[offset : offset + size], "little")

    def add_capability(self, id: int, body: bytes) -> None:
        """Append to the capability list. `body` begins behind id and link."""
        at = self.next_capability
        self.bytes[0x06] |= 0x10
        self.bytes[self.last_link] = at
        self.bytes[at : at + 2 + len(body)] = bytes([id, 0]) + body
        self.last_link = at + 1
        self.next_capability = (at + 2 + len(body) + 3) // 4 * 4

    @property
    def command(self) -> int:
        return self.get(0x04, 2)

    def read_u32(self, offset: int) -> int:
        index = (offset - 0x10) // 4
        if 0x10 <= offset < (0x18 if self.is_bridge else 0x28):
            if index in self.bars:
                bar = self.bars[index]
                return bar.value & -bar.size & 0xFFFFFFFF | bar.flags()
            if index - 1 in self.bars and self.bars[index - 1].is_64:
                bar = self.bars[index - 1]
                return (bar.value & -bar.size & (2**64 - 1)) >> 32
            return 0
        return self.get(offset, 4)

    def write_u32(self, offset: int, value: int) -> None:
        index = (offset - 0x10) // 4
        if 0x10 <= offset < (0x18 if self.is_bridge else 0x28):
            assert not self.command & 3, "a BAR was written while it is decoded"
            if index in self.bars:
                bar = self.bars[index]
                bar.value = bar.value & ~0xFFFFFFFF | value
            elif index - 1 in self.bars and self.bars[index - 1].is_64:
                bar = self.bars[index - 1]
                bar.value = bar.value & 0xFFFFFFFF | value << 32
        elif offset == 0x04:
            assert value >> 16 == 0, "writing 1 to a status bit clears it"
            self.put(0x04, 2, value)
        elif self.is_bridge and 0x18 <= offset <= 0x2C:
            self.put(offset, 4, value)


class Bridge(Function):
    """A PCI-to-PCI bridge. With bus numbers if a firmware gave it some."""

    is_bridge = True

    def __init__(self, *, secondary: int = 0, subordinate: int = 0) -> None:
        super().__init__(0x1B36, 0x000C, 0x060400)
        self.bytes[0x0E] |= 1
        self.bytes[0x19] = secondary
        self.bytes[0x1A] = subordinate
        self.children: dict[int, Function] = {}

    def forwards(self, address: int) -> bool:
        base = (self.get(0x20, 2) & 0xFFF0) << 16
        limit = (self.get(0x22, 2) & 0xFFF0) << 16 | 0xFFFFF
        return bool(self.command & 2) and base <= address <= limit


class PciModel:
    """The root bus: slot * 8 + function -> what is there."""

    def __init__(self) -> None:
        self.root: dict[int, Function] = {}

    def find(self, address: int) -> Function | None:
        """Route a configuration access, by the bus numbers that the bridges have now."""
        bus, slot = address >> 8, address & 0xFF
        children = self.root
        here = 0
        while here != bus:
            for child in children.values():
                if isinstance(child, Bridge):
                    secondary, subordinate = child.bytes[0x19], child.bytes[0x1A]
                    if secondary != 0 and secondary <= bus <= subordinate:
                        here = secondary
                        children = child.children
                        break
            else:
                return None
        return children.get(slot)

    def read_config(self, address: int, offset: int) -> int:
        function = self.find(address)
        return 0xFFFFFFFF if function is None else function.read_u32(offset)

    def write_config(self, address: int, offset: int, value: int) -> None:
        function = self.find(address)
        if function is not None:
            function.write_u32(offset, value)

    def claim(self, address: int) -> tuple[int, Window] | None:
        """Find the BAR that answers at an address; two of them are a driver's mistake."""
        found = list(claim_below(self.root, address))
        assert len(found) <= 1, f"two BARs answer at {address:#x}"
        return found[0] if found else None


def claim_below(children: dict[int, Function], address: int) -> list[tuple[int, Window]]:
    found = []
    for function in children.values():
        if function.command & 2:
            for bar in function.bars.values():
                if not bar.is_io and bar.address <= address < bar.address + bar.size:
                    assert bar.window is not None
                    found.append((address - bar.address, bar.window))
        if isinstance(function, Bridge) and function.forwards(address):
            found += claim_below(function.children, address)
    return found


class MemoryWindow:
    """Everything that PCI decodes, from `base` on."""

    def __init__(self, pci: PciModel, base: int) -> None:
        self.pci = pci
        self.base = base

    def read(self, offset: int, size: int) -> int:
        found = self.pci.claim(self.base + offset)
        assert found is not None, f"nothing decodes {self.base + offset:#x}"
        return found[1].read(found[0], size)

    def write(self, offset: int, size: int, value: int) -> None:
        found = self.pci.claim(self.base + offset)
        assert found is not None, f"nothing decodes {self.base + offset:#x}"
        found[1].write(found[0], size, value)


class EcamWindow:
    """4 KiB a function."""

    def __init__(self, pci: PciModel) -> None:
        self.pci = pci

    def read(self, offset: int, size: int) -> int:
        assert size == 4
        return self.pci.read_config(offset >> 12, offset & 0xFFF)

    def write(self, offset: int, size: int, value: int) -> None:
        assert size == 4
        self.pci.write_config(offset >> 12, offset & 0xFFF, value)


class PortWindow:
    """0xCF8 to 0xCFF."""

    def __init__(self, pci: PciModel) -> None:
        self.pci = pci
        self.address = 0

    def read(self, offset: int, size: int) -> int:
        assert size == 4
        if offset == 0:
            return self.address
        if not self.address & 1 << 31:
            return 0xFFFFFFFF
        return self.pci.read_config(self.address >> 8 & 0xFFFF, self.address & 0xFC)

    def write(self, offset: int, size: int, value: int) -> None:
        assert size == 4
        if offset == 0:
            assert value & 3 == 0
            self.address = value
        elif self.address & 1 << 31:
            self.pci.write_config(self.address >> 8 & 0xFFFF, self.address & 0xFC, value)


class Scratch:
    """A BAR of plain memory."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def read(self, offset: int, size: int) -> int:
        return self.bytes.get(offset, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        self.bytes[offset] = value
