"""ICMP (RFC 792): echo, and the errors of RFC 1122 section 3.2.2 both ways."""

from dataclasses import dataclass

from bare import Bytes, Slice, Wire, be16, be32, u8, u16, u32, usize
from merlion.net.checksum import checksum
from merlion.net.ipv4 import PROTOCOL_TCP, Ipv4Header

ECHO_REPLY = 0
UNREACHABLE = 3
ECHO_REQUEST = 8
CODE_PROTOCOL = 2
CODE_PORT = 3
CODE_TOO_BIG = 4
ICMP_BYTES = 8
PING_IDENTIFIER = 0x4D4C  # Ours; "ML".
PING_BYTES = 64
QUOTED_BYTES = 28  # The IP header we were sent (without options) and eight bytes more.
MTU_SMALLEST = 552  # Smaller claims are capped, as Linux does: they only serve to slow us down.


class IcmpHeader(Wire):
    """The first eight bytes; `mtu` holds the sequence number in an echo."""

    type: u8
    code: u8
    checksum: be16
    identifier: be16
    mtu: be16


class QuotedPorts(Wire):
    """The start of a TCP header, as an error quotes it."""

    source_port: be16
    destination_port: be16
    sequence: be32


@dataclass(frozen=True, slots=True)
class TcpError:
    """An ICMP error about a segment that we sent."""

    code: u8
    mtu: u16
    source: u32
    destination: u32
    local_port: u16
    remote_port: u16
    sequence: u32


def parse(bytes: Bytes) -> IcmpHeader | None:
    """The header, if the checksum over the whole message is right."""
    header = IcmpHeader.view(bytes)
    if header is None or checksum(bytes) != 0:
        return None
    return header


def parse_tcp_error(bytes: Bytes) -> TcpError | None:
    """The segment that a destination-unreachable message (already checked) is about."""
    header = IcmpHeader.view(bytes)
    if header is None or header.type != UNREACHABLE:
        return None
    quoted = bytes[ICMP_BYTES:]
    ip = Ipv4Header.view(quoted)
    if ip is None or ip.protocol != PROTOCOL_TCP or ip.version_length >> 4 != 4:
        return None
    ip_bytes = usize((ip.version_length & 15) * 4)
    if ip_bytes < 20 or ip_bytes > len(quoted):
        return None
    ports = QuotedPorts.view(quoted[ip_bytes:])
    if ports is None:
        return None
    return TcpError(
        header.code,
        max(header.mtu, MTU_SMALLEST),
        ip.source,
        ip.destination,
        ports.source_port,
        ports.destination_port,
        ports.sequence,
    )


def emit_echo_reply(out: Slice[u8], request: Bytes) -> None:
    """Answer an echo request: the same bytes with another type. Lengths are equal."""
    out.copy_from(request)
    header = IcmpHeader.view(out)
    assert header is not None, "an echo request without header"
    header.type = ECHO_REPLY
    header.checksum = 0
    header.checksum = checksum(out)


def emit_echo_request(out: Slice[u8], sequence: u16) -> None:
    """Write an echo request of PING_BYTES."""
    out.fill(0)
    header = IcmpHeader.view(out)
    assert header is not None, "no room for an echo request"
    header.type = ECHO_REQUEST
    header.identifier = PING_IDENTIFIER
    header.mtu = sequence
    header.checksum = checksum(out)


def emit_unreachable(out: Slice[u8], code: u8, packet: Bytes) -> usize:
    """Quote the start of `packet` in an error; returns the message's length."""
    quoted = min(len(packet), QUOTED_BYTES)
    header = IcmpHeader.view(out)
    assert header is not None, "no room for an ICMP header"
    header.type = UNREACHABLE
    header.code = code
    header.checksum = 0
    header.identifier = 0
    header.mtu = 0
    total = ICMP_BYTES + quoted
    out[ICMP_BYTES:total].copy_from(packet[:quoted])
    header.checksum = checksum(out[:total])
    return total
