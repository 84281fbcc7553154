"""Enumeration: every function behind every bridge, its BARs sized, and assigned if nobody did.

A PVH kernel may be the first software to touch the machine's PCI: bridges then have no bus numbers
and BARs no addresses. What a firmware has assigned is kept. What it has not gets the next free
address of a window below 4 GiB, aligned to its size; a bridge that we number gets the window that
the functions behind it used, in MiB.

Depth first without recursion: a stack of the buses under way. Cost: one read for each of 32 devices
of a bus, and about 20 accesses for each function found.
"""

from bare import Array, Struct, array, u8, u16, u32, u64, wrap
from merlion.kernel.pci.config import ConfigSpace
from merlion.kernel.pci.registers import (
    BAR_0,
    BAR_COUNT,
    BAR_COUNT_BRIDGE,
    BAR_IO_MASK,
    BAR_IS_IO,
    BAR_KIND_64,
    BAR_KIND_MASK,
    BAR_MEMORY_MASK,
    BAR_PREFETCHABLE,
    BRIDGE_BUSES,
    BRIDGE_MEMORY,
    BRIDGE_PREFETCHABLE,
    CLASS_BRIDGE,
    COMMAND,
    COMMAND_BUS_MASTER,
    COMMAND_BUS_MASTER_OFF,
    COMMAND_DECODE_OFF,
    COMMAND_IO,
    COMMAND_MEMORY,
    COMMAND_NO_INTERRUPT,
    HEADER_BRIDGE,
    HEADER_KIND,
    HEADER_KIND_MASK,
    HEADER_MULTIFUNCTION,
    NO_VENDOR,
    REVISION,
    SUBCLASS_HOST_BRIDGE,
    VENDOR_ID,
)

DEVICES_MAX = 64
DEPTH_MAX = 8  # Bridges behind bridges.
BUSES_MAX = 256
BUS_FUNCTIONS = 256
FUNCTIONS = 8
BRIDGE_WINDOW_BYTES = 1 << 20
BRIDGE_WINDOW_CLOSED = 0x0000_FFF0  # Base above limit: nothing is forwarded.


class Bar(Struct):
    """One base address register. `byte_count` 0: not there; `address` 0: not assigned."""

    address: u64
    byte_count: u64
    is_memory: bool
    is_64: bool
    prefetchable: bool


class PciDevice(Struct):
    """One function, as it was found."""

    address: u16
    vendor_id: u16
    device_id: u16
    class_code: u8
    subclass: u8
    interface: u8
    is_bridge: bool
    bars: Array[Bar] = array(BAR_COUNT)


class Level(Struct):
    """A bus whose enumeration is under way."""

    bus: u16
    next_function: u16  # 0 to 256.
    bridge: u16  # The function that leads here.
    numbered: bool  # We gave the bus its number.
    forwarding: bool  # Somebody has set the bridge's windows; else that is for us to do.
    window_start: u64


class PciBus(Struct):
    """All functions of the machine."""

    config: ConfigSpace
    count: u32
    left_out: u32  # Functions there was no room for.
    unassigned: u32  # BARs there was no address for.
    last_bus: u16
    depth: u32
    window_next: u64
    window_end: u64
    devices: Array[PciDevice] = array(DEVICES_MAX)
    levels: Array[Level] = array(DEPTH_MAX)

    def enumerate(self, ecam: u64, window_start: u64, window_end: u64) -> None:
        """Find every function. `window_start` to `window_end` is for BARs without an address."""
        self.config.ecam = ecam
        self.count = 0
        self.left_out = 0
        self.unassigned = 0
        self.last_bus = 0
        self.window_next = window_start
        self.window_end = window_end
        self.depth = 0
        self.enter(0, 0, False, True)
        while self.depth > 0:
            level = self.levels[self.depth - 1]
            if level.next_function >= BUS_FUNCTIONS:
                self.leave()
                continue
            address = u16(level.bus << 8 | level.next_function)
            level.next_function += 1
            self.visit(level, address)

    def enter(self, bus: u16, bridge: u16, numbered: bool, forwarding: bool) -> None:
        """Begin a bus."""
        if self.depth >= DEPTH_MAX:
            return
        level = self.levels[self.depth]
        self.depth += 1
        level.bus = bus
        level.next_function = 0
        level.bridge = bridge
        level.numbered = numbered
        level.forwarding = forwarding
        if not forwarding:
            self.align_window(BRIDGE_WINDOW_BYTES)
        level.window_start = self.window_next

    def leave(self) -> None:
        """End a bus: now it is known what its bridge has to forward."""
        level = self.levels[self.depth - 1]
        self.depth -= 1
        config = self.config
        if level.numbered:
            # Everything up to the last bus found lies behind this bridge.
            buses: u32 = level.bridge >> 8 | level.bus << 8 | self.last_bus << 16
            config.write_u32(level.bridge, BRIDGE_BUSES, buses)
        if level.forwarding:
            return
        self.align_window(BRIDGE_WINDOW_BYTES)
        window = BRIDGE_WINDOW_CLOSED
        if self.window_next > level.window_start:
            last = self.window_next - BRIDGE_WINDOW_BYTES
            window = u32(level.window_start >> 16 & 0xFFF0 | last & 0xFFF0_0000)
        config.write_u32(level.bridge, BRIDGE_MEMORY, window)
        config.write_u32(level.bridge, BRIDGE_PREFETCHABLE, BRIDGE_WINDOW_CLOSED)
        config.set_command(level.bridge, COMMAND_MEMORY | COMMAND_BUS_MASTER)

    def visit(self, level: Level, address: u16) -> None:
        """Look at one function number."""
        config = self.config
        ids = config.read_u32(address, VENDOR_ID)
        vendor_id = u16(ids & 0xFFFF)
        is_first = address % FUNCTIONS == 0
        if vendor_id == NO_VENDOR or vendor_id == 0:
            if is_first:
                level.next_function += FUNCTIONS - 1
            return
        header = config.read_u8(address, HEADER_KIND)
        if is_first and not header & HEADER_MULTIFUNCTION:
            level.next_function += FUNCTIONS - 1
        is_bridge = header & HEADER_KIND_MASK == HEADER_BRIDGE
        if self.count < DEVICES_MAX:
            kind = config.read_u32(address, REVISION)
            device = self.devices[self.count]
            self.count += 1
            device.address = address
            device.vendor_id = vendor_id
            device.device_id = u16(ids >> 16)
            device.class_code = u8(kind >> 24)
            device.subclass = kind >> 16 & 0xFF
            device.interface = kind >> 8 & 0xFF
            device.is_bridge = is_bridge
            if device.class_code != CLASS_BRIDGE or device.subclass != SUBCLASS_HOST_BRIDGE:
                self.size_bars(device, BAR_COUNT_BRIDGE if is_bridge else BAR_COUNT)
        else:
            self.left_out += 1
        if is_bridge:
            self.cross(address)

    def cross(self, bridge: u16) -> None:
        """Go on with the bus behind a bridge, giving it a number if it has none."""
        if self.depth >= DEPTH_MAX:
            return
        buses = self.config.read_u32(bridge, BRIDGE_BUSES)
        secondary: u16 = buses >> 8 & 0xFF
        if secondary != 0:
            subordinate: u16 = buses >> 16 & 0xFF
            self.last_bus = max(self.last_bus, max(secondary, subordinate))
            # qboot numbers the buses of q35 but leaves the windows closed.
            forwarding = self.config.read_u32(bridge, COMMAND) & COMMAND_MEMORY != 0
            self.enter(secondary, bridge, False, forwarding)
            return
        if self.last_bus + 1 >= BUSES_MAX:
            return
        self.last_bus += 1
        # Until `leave` knows better everything above goes this way.
        opened: u32 = bridge >> 8 | self.last_bus << 8 | 0xFF << 16
        self.config.write_u32(bridge, BRIDGE_BUSES, opened)
        self.enter(self.last_bus, bridge, True, False)

    def size_bars(self, device: PciDevice, bar_count: u32) -> None:
        """Learn the size of each BAR, and give an address to those without (section 6.2.5.1).

        Decoding is off meanwhile: a BAR full of ones claims addresses of others.
        """
        config = self.config
        command = u16(config.read_u32(device.address, COMMAND) & 0xFFFF)
        if command & (COMMAND_IO | COMMAND_MEMORY):
            config.set_command(device.address, command & COMMAND_DECODE_OFF)
        index: u32 = 0
        while index < bar_count:
            self.size_bar(device, index)
            index += 2 if device.bars[index].is_64 else 1
        if command & (COMMAND_IO | COMMAND_MEMORY):
            config.set_command(device.address, command)

    def size_bar(self, device: PciDevice, index: u32) -> None:
        """Size and if need be assign one BAR."""
        config = self.config
        bar = device.bars[index]
        offset = BAR_0 + index * 4
        low = config.read_u32(device.address, offset)
        config.write_u32(device.address, offset, 0xFFFF_FFFF)
        mask = config.read_u32(device.address, offset)
        bar.address = 0
        bar.byte_count = 0
        bar.is_memory = not mask & BAR_IS_IO
        bar.is_64 = bar.is_memory and mask & BAR_KIND_MASK == BAR_KIND_64
        bar.prefetchable = bar.is_memory and mask & BAR_PREFETCHABLE != 0
        if mask == 0:
            return
        if not bar.is_memory:
            config.write_u32(device.address, offset, low)
            bar.address = low & BAR_IO_MASK
            # A device may leave the upper 16 bits of the mask zero: ports have 16 bits.
            bar.byte_count = (mask & BAR_IO_MASK ^ BAR_IO_MASK) % 0x1_0000 + 4
            return

        high: u32 = 0
        size_mask: u64 = mask & BAR_MEMORY_MASK | 0xFFFF_FFFF << 32
        if bar.is_64:
            high = config.read_u32(device.address, offset + 4)
            config.write_u32(device.address, offset + 4, 0xFFFF_FFFF)
            size_mask = u64(config.read_u32(device.address, offset + 4)) << 32
            size_mask |= mask & BAR_MEMORY_MASK
        if size_mask == 0:
            return
        bar.byte_count = size_mask & wrap(u64, 0 - size_mask)  # The lowest bit that can be set.
        bar.address = u64(high) << 32 | low & BAR_MEMORY_MASK
        if bar.address == 0:
            bar.address = self.take_window(bar.byte_count)
        config.write_u32(device.address, offset, u32(bar.address & 0xFFFF_FFFF))
        if bar.is_64:
            config.write_u32(device.address, offset + 4, u32(bar.address >> 32))

    def align_window(self, byte_count: u64) -> None:
        """Round the next free address up."""
        self.window_next = (self.window_next + byte_count - 1) // byte_count * byte_count

    def take_window(self, byte_count: u64) -> u64:
        """Return a free address for a BAR, aligned to its size, or 0."""
        start = (self.window_next + byte_count - 1) // byte_count * byte_count
        if start + byte_count > self.window_end:
            self.unassigned += 1
            return 0
        self.window_next = start + byte_count
        return start

    def enable(self, device: PciDevice) -> None:
        """Let a function answer at its BARs and access memory. It must not interrupt."""
        command = self.config.read_u32(device.address, COMMAND) & 0xFFFF
        command |= COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_NO_INTERRUPT
        self.config.set_command(device.address, u16(command))

    def disable(self, device: PciDevice) -> None:
        """Take bus mastering away: the function no longer reaches memory."""
        command = self.config.read_u32(device.address, COMMAND) & 0xFFFF
        self.config.set_command(device.address, command & COMMAND_BUS_MASTER_OFF)
