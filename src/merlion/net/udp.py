"""UDP (RFC 768)."""

from dataclasses import dataclass

from bare import Bytes, Slice, Wire, be16, u8, u16, u32, usize
from merlion.net.checksum import fold, partial, pseudo_header
from merlion.net.ipv4 import PROTOCOL_UDP
from merlion.net.limits import UDP_BYTES


class UdpHeader(Wire):
    """The whole header."""

    source_port: be16
    destination_port: be16
    length: be16
    checksum: be16


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram whose length and checksum are right."""

    source_port: u16
    destination_port: u16
    payload: Bytes


def parse(source: u32, destination: u32, bytes: Bytes) -> Datagram | None:
    """Check a datagram; a zero checksum means that the sender computed none."""
    header = UdpHeader.view(bytes)
    if header is None:
        return None
    length = usize(header.length)
    if length < UDP_BYTES or length > len(bytes):
        return None
    if header.checksum != 0:
        pseudo = pseudo_header(source, destination, PROTOCOL_UDP, header.length)
        if fold(partial(bytes[:length], pseudo)) != 0xFFFF:
            return None
    return Datagram(header.source_port, header.destination_port, bytes[UDP_BYTES:length])


def emit(
    out: Slice[u8],
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
    payload_bytes: usize,
) -> None:
    """Write the header before a payload that is already in place."""
    header = UdpHeader.view(out)
    assert header is not None, "no room for a UDP header"
    length = u16(UDP_BYTES + payload_bytes)
    header.source_port = source_port
    header.destination_port = destination_port
    header.length = length
    header.checksum = 0
    pseudo = pseudo_header(source, destination, PROTOCOL_UDP, length)
    value = fold(partial(out[:length], pseudo)) ^ 0xFFFF
    header.checksum = 0xFFFF if value == 0 else value
