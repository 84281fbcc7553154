"""Registers, bit fields and ports against a device model."""

from collections.abc import Iterator
from enum import IntEnum

import pytest

from bare import Struct, Trap, cpu, mmio, static, u8, u16, u32, u64
from bare.mmio import BitField, ReadOnly, ReadWrite, Registers, WriteOnly, at, bits
from bare.unsafe import address_of, registers_at, slice_at, struct_at


class Speed(IntEnum):
    SLOW = 0
    FAST = 2


class Control(BitField):
    enable: bool = bits(0)
    speed: Speed = bits(4, 2)
    count: u8 = bits(8, 4)


class Small(BitField, storage=u16):
    top: bool = bits(15)


class Regs(Registers):
    control: ReadWrite[Control] = at(0)
    status: ReadOnly[u32] = at(4)
    doorbell: WriteOnly[u16] = at(8)
    base: ReadWrite[u64] = at(16)
    small: ReadWrite[Small] = at(24)
    limit: ReadOnly[u16] = at(28)
    limit_set: WriteOnly[u16] = at(28)


class Driver(Struct):
    regs: Regs
    last: Control


class Device:
    def __init__(self) -> None:
        self.log: list[tuple[str, int, int, int]] = []
        self.values: dict[int, int] = {}

    def read(self, offset: int, size: int) -> int:
        value = self.values.get(offset, 0)
        self.log.append(("read", offset, size, value))
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append(("write", offset, size, value))
        self.values[offset] = value


def test_a_place_may_be_one_register_to_read_and_another_to_write() -> None:
    device = Device()
    regs = Regs.over(device)
    device.values[28] = 256
    assert regs.limit.read() == 256
    regs.limit_set.write(64)
    assert device.values[28] == 64


def test_each_call_is_one_access_of_the_registers_width() -> None:
    device = Device()
    regs = Regs.over(device)
    regs.control.write(Control(enable=True, speed=Speed.FAST, count=5))
    assert regs.control.read().speed is Speed.FAST
    assert regs.control.read().count == 5
    regs.doorbell.write(7)
    regs.base.write(2**40)
    regs.small.write(Small(top=True))
    assert device.log == [
        ("write", 0, 4, 0x521),
        ("read", 0, 4, 0x521),
        ("read", 0, 4, 0x521),
        ("write", 8, 2, 7),
        ("write", 16, 8, 2**40),
        ("write", 24, 2, 0x8000),
    ]


def test_direction_and_range_are_checked() -> None:
    regs = Regs.over(Device())
    with pytest.raises(AttributeError):
        regs.status.write(0)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        regs.doorbell.read()  # type: ignore[attr-defined]
    with pytest.raises(Trap):
        regs.doorbell.write(65536)
    with pytest.raises(Trap, match="4 bits of count"):
        Control(count=16)
    with pytest.raises(TypeError, match="no field"):
        Control(cuont=1)  # type: ignore[call-arg]


def test_bit_fields_are_values() -> None:
    control = Control.from_raw(0x521)
    assert control == Control(enable=True, speed=Speed.FAST, count=5)
    assert control.raw == 0x521
    with pytest.raises(AttributeError):
        control.enable = False  # type: ignore[misc]
    with pytest.raises(Trap, match="not a member"):
        _ = Control.from_raw(0x10).speed
    with pytest.raises(TypeError, match="overlaps"):

        class _Bad(BitField):
            a: u8 = bits(0, 4)
            b: bool = bits(3)


def test_registers_and_bit_fields_are_struct_fields() -> None:
    device = Device()
    driver = Driver(Regs.over(device), Control(enable=True))
    driver.regs.base.write(3)
    assert driver.last.enable
    driver.last = Control(count=1)
    assert driver.last.count == 1
    assert device.values == {16: 3}


@pytest.fixture
def physical() -> Iterator[Device]:
    mmio.bus = Device()
    yield mmio.bus
    mmio.bus = None


def test_registers_at_an_address_reach_the_bus(physical: Device) -> None:
    registers_at(Regs, 0xFEB0_0000).base.write(9)
    assert physical.log == [("write", 0xFEB0_0010, 8, 9)]


def test_registers_in_plain_memory() -> None:
    words = static(u32, 8)
    registers_at(Regs, address_of(words)).base.write(9)
    assert words[4] == 9


def test_structs_and_slices_at_an_address() -> None:
    words = static(u32, 8)
    slice_at(u32, address_of(words) + 8, 2)[1] = 3
    assert words[3] == 3
    with pytest.raises(Trap, match="aligned"):
        slice_at(u32, address_of(words) + 1, 1)
    with pytest.raises(Trap, match="aligned"):
        struct_at(Driver, address_of(words) + 4)


def test_ports_reach_the_bus() -> None:
    class Bus:
        written: tuple[int, int] = (0, 0)

        def inb(self, port: int) -> int:
            return port & 0xFF

        def outw(self, port: int, value: int) -> None:
            self.written = (port, value)

    with pytest.raises(Trap, match="bus"):
        cpu.inb(0x60)
    cpu.bus = Bus()
    try:
        assert cpu.inb(0x3F8) == 0xF8
        cpu.outw(0x604, 0x2000)
        assert cpu.bus.written == (0x604, 0x2000)
        with pytest.raises(Trap):
            cpu.outw(0x604, 0x10000)
        cpu.halt()
    finally:
        cpu.bus = None
