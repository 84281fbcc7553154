"""IPv4 (RFC 791, RFC 1122). Fragments and source-routed packets are refused, not reassembled.

`parse` checks version, lengths and checksum; a Packet's payload is exactly what the header says,
without Ethernet padding.
"""

from dataclasses import dataclass
from enum import IntEnum

from bare import Bytes, Slice, Wire, be16, be32, u8, u16, u32, usize
from merlion.net.checksum import checksum
from merlion.net.limits import DEFAULT_TTL, IPV4_BYTES

PROTOCOL_ICMP = 1
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
DONT_FRAGMENT = 0x4000
MORE_OR_OFFSET = 0x3FFF
LIMITED_BROADCAST = 0xFFFF_FFFF


class Ipv4Header(Wire):
    """The fixed part."""

    version_length: u8
    service: u8
    total_bytes: be16
    identification: be16
    fragment: be16
    ttl: u8
    protocol: u8
    checksum: be16
    source: be32
    destination: be32


class Ipv4Error(IntEnum):
    """Why a packet was refused."""

    MALFORMED = 1
    CHECKSUM = 2
    FRAGMENT = 3
    BAD_ADDRESS = 4


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that passed the checks. `bytes` is the packet from its header on."""

    source: u32
    destination: u32
    protocol: u8
    bytes: Bytes
    payload: Bytes


def parse(bytes: Bytes) -> Packet | Ipv4Error:
    """Check a packet and split it."""
    header = Ipv4Header.view(bytes)
    if header is None or header.version_length >> 4 != 4:
        return Ipv4Error.MALFORMED
    header_bytes = usize((header.version_length & 15) * 4)
    total = usize(header.total_bytes)
    if header_bytes < IPV4_BYTES or total < header_bytes or total > len(bytes):
        return Ipv4Error.MALFORMED
    if checksum(bytes[:header_bytes]) != 0:
        return Ipv4Error.CHECKSUM
    if header.fragment & MORE_OR_OFFSET != 0:
        return Ipv4Error.FRAGMENT
    if not is_host(header.source) and header.source != 0:
        return Ipv4Error.BAD_ADDRESS
    return Packet(
        header.source,
        header.destination,
        header.protocol,
        bytes[:total],
        bytes[header_bytes:total],
    )


def is_host(address: u32) -> bool:
    """Not multicast, class E, broadcast, loopback or this-network (RFC 1122 section 3.2.1.3)."""
    top = address >> 24
    return top != 0 and top != 127 and top < 224


def emit(out: Slice[u8], source: u32, destination: u32, protocol: u8, payload_bytes: usize) -> None:
    """Write a header of IPV4_BYTES. Atomic datagrams need no identification (RFC 6864)."""
    header = Ipv4Header.view(out)
    assert header is not None, "no room for an IPv4 header"
    header.version_length = 0x45
    header.service = 0
    header.total_bytes = u16(IPV4_BYTES + payload_bytes)
    header.identification = 0
    header.fragment = DONT_FRAGMENT
    header.ttl = DEFAULT_TTL
    header.protocol = protocol
    header.checksum = 0
    header.source = source
    header.destination = destination
    header.checksum = checksum(out[:IPV4_BYTES])
