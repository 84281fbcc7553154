"""DHCP messages (RFC 2131 section 2) and options (RFC 2132)."""

from dataclasses import dataclass
from enum import IntEnum

from bare import Array, Bytes, Slice, Wire, array, be16, be32, u8, u16, u32, u64, usize, wrap
from merlion.net.limits import DHCP_LEASE_DEFAULT, DHCP_MESSAGE_BYTES

SERVER_PORT = 67
CLIENT_PORT = 68
BOOT_REQUEST = 1
BOOT_REPLY = 2
MAGIC = 0x6382_5363
INFINITE = 0xFFFF_FFFF


class MessageType(IntEnum):
    """Option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7


class Option(IntEnum):
    """The options we send or read."""

    PAD = 0
    NETMASK = 1
    ROUTER = 3
    DNS = 6
    HOST_NAME = 12
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    MESSAGE_TYPE = 53
    SERVER = 54
    PARAMETERS = 55
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    END = 255


class DhcpHeader(Wire):
    """The fixed part with the magic cookie."""

    operation: u8
    hardware: u8
    hardware_bytes: u8
    hops: u8
    transaction: be32
    seconds: be16
    flags: be16
    client: be32
    yours: be32
    server: be32
    relay: be32
    mac_high: be16
    mac_low: be32
    unused: Array[u8] = array(10 + 64 + 128)
    magic: be32


HEADER_BYTES = 240


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's message. Times are seconds; absent options are 0."""

    kind: u8
    transaction: u32
    mac: u64
    address: u32
    server: u32
    netmask: u32
    router: u32
    dns: u32
    lease: u32
    renewal: u32
    rebinding: u32


def parse(bytes: Bytes) -> Answer | None:
    """A well-formed reply with a message type."""
    header = DhcpHeader.view(bytes)
    if header is None or header.operation != BOOT_REPLY or header.magic != MAGIC:
        return None
    if header.hardware != 1 or header.hardware_bytes != 6:
        return None
    options = bytes[HEADER_BYTES:]
    kind = find_option(options, Option.MESSAGE_TYPE)
    if len(kind) != 1:
        return None
    lease = number(options, Option.LEASE_TIME)
    return Answer(
        kind[0],
        header.transaction,
        u64(header.mac_high) << 32 | header.mac_low,
        header.yours,
        number(options, Option.SERVER),
        number(options, Option.NETMASK),
        number(options, Option.ROUTER),
        number(options, Option.DNS),
        DHCP_LEASE_DEFAULT if lease == 0 else lease,
        number(options, Option.RENEWAL_TIME),
        number(options, Option.REBINDING_TIME),
    )


def find_option(options: Bytes, code: u8) -> Bytes:
    """The data of an option; empty when absent or malformed."""
    at = 0
    while at < len(options):
        current = options[at]
        if current == Option.PAD:
            at += 1
            continue
        if current == Option.END or at + 1 >= len(options):
            break
        size = options[at + 1]
        if at + 2 + size > len(options):
            break
        if current == code:
            return options[at + 2 : at + 2 + size]
        at += 2 + size
    return options[:0]


def number(options: Bytes, code: u8) -> u32:
    """The first four bytes of an option as a number; 0 when there are not that many."""
    data = find_option(options, code)
    if len(data) < 4:
        return 0
    return u32(data[0]) << 24 | u32(data[1]) << 16 | u32(data[2]) << 8 | data[3]


def put_number(out: Slice[u8], at: usize, code: u8, value: u32) -> usize:
    """Write a four-byte option; returns where the next one goes."""
    out[at] = code
    out[at + 1] = 4
    out[at + 2] = u8(value >> 24)
    out[at + 3] = u8(value >> 16 & 0xFF)
    out[at + 4] = u8(value >> 8 & 0xFF)
    out[at + 5] = u8(value & 0xFF)
    return at + 6


def emit(
    out: Slice[u8],
    kind: u8,
    transaction: u32,
    mac: u64,
    seconds: u16,
    client: u32,
    requested: u32,
    server: u32,
) -> usize:
    """Write a client's message; `requested` and `server` are left out when 0."""
    out[:DHCP_MESSAGE_BYTES].fill(0)
    header = DhcpHeader.view(out)
    assert header is not None, "no room for a DHCP message"
    header.operation = BOOT_REQUEST
    header.hardware = 1
    header.hardware_bytes = 6
    header.transaction = transaction
    header.seconds = seconds
    header.client = client
    header.mac_high = u16(mac >> 32)
    header.mac_low = wrap(u32, mac)
    header.magic = MAGIC
    at: usize = HEADER_BYTES
    out[at] = Option.MESSAGE_TYPE
    out[at + 1] = 1
    out[at + 2] = kind
    at += 3
    if requested != 0:
        at = put_number(out, at, Option.REQUESTED_ADDRESS, requested)
    if server != 0:
        at = put_number(out, at, Option.SERVER, server)
    if kind != MessageType.DECLINE:
        at = put_text(out, at, Option.HOST_NAME, b"merlion")
        at = put_text(out, at, Option.PARAMETERS, WANTED)
    out[at] = Option.END
    return DHCP_MESSAGE_BYTES


WANTED = bytes(
    [
        Option.NETMASK,
        Option.ROUTER,
        Option.DNS,
        Option.LEASE_TIME,
        Option.RENEWAL_TIME,
        Option.REBINDING_TIME,
    ]
)


def put_text(out: Slice[u8], at: usize, code: u8, text: Bytes) -> usize:
    """Write an option of any length; returns where the next one goes."""
    out[at] = code
    out[at + 1] = u8(len(text))
    end = at + 2 + len(text)
    out[at + 2 : end].copy_from(text)
    return end
