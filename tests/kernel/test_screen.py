"""What is said arrives in order, without waiting for the line."""

from collections.abc import Iterator

import pytest

from bare import Slice, cpu, u8
from merlion.kernel import screen as module
from merlion.kernel.drivers.uart import FIFO_BYTES, Reg
from merlion.kernel.limits import SCREEN_BURST
from merlion.kernel.screen import Screen

RING = 256


class Line:
    """A UART that takes a FIFO's worth whenever it is `free`."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.free = True

    def inb(self, port: int) -> int:
        return 0x20 if self.free else 0

    def outb(self, port: int, value: int) -> None:
        raise AssertionError("bytes go out in strings")


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    found = Line()

    def write_port(port: int, address: int, count: int) -> None:
        assert port == module.uart.base + Reg.THR
        assert count <= FIFO_BYTES
        found.sent += bytes(module.uart.fifo[:count])

    monkeypatch.setattr(cpu, "bus", found)
    monkeypatch.setattr("merlion.kernel.drivers.uart.write_port", write_port)
    monkeypatch.setattr("merlion.kernel.drivers.uart.address_of", lambda _: 0)
    module.uart.present = True
    module.uart.room = 0
    yield found
    module.uart.present = False


def made() -> Screen:
    return Screen(Slice.of(u8, [0] * RING))


def test_nothing_is_sent_by_writing(line: Line) -> None:
    screen = made()
    screen.write(b"one\ntwo\n")
    assert not line.sent
    screen.drain()
    assert line.sent == b"one\r\ntwo\r\n"


def test_poll_sends_a_burst_at_most(line: Line) -> None:
    screen = made()
    text = bytes(range(0x20, 0x20 + 80))
    screen.write(text)
    assert screen.poll()
    assert line.sent == text[: FIFO_BYTES * SCREEN_BURST]
    assert not screen.poll()
    assert line.sent == text


def test_poll_does_not_wait(line: Line) -> None:
    screen = made()
    screen.write(b"text")
    line.free = False
    assert screen.poll()
    assert not line.sent


def test_a_full_ring_is_sent_first(line: Line) -> None:
    screen = made()
    text = bytes(0x20 + i % 64 for i in range(3 * RING))
    screen.write(text)
    screen.drain()
    assert line.sent == text


def test_an_absent_uart_takes_everything(line: Line) -> None:
    module.uart.present = False
    screen = made()
    screen.write(bytes(RING * 2))
    while screen.poll():
        pass
    assert not line.sent
