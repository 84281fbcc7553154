"""TCP segments on the wire (RFC 9293 section 3.1): parsing, options, emitting.

`parse` returns a `Segment` whose lengths are right, or None; nothing behind it has to check again.
Checksums are the caller's: they need the IP addresses.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from bare import Bytes, Slice, Wire, be16, be32, u8, u16, u32, usize
from merlion.net.checksum import fold, partial, pseudo_header
from merlion.net.limits import MSS_DEFAULT, MSS_MIN, STAMP_BYTES, TCP_BYTES, WINDOW_SCALE_MAX

PROTOCOL_TCP = 6


class Flags(IntFlag):
    """Control bits; ECN's two are ignored."""

    FIN = 1 << 0
    SYN = 1 << 1
    RST = 1 << 2
    PSH = 1 << 3
    ACK = 1 << 4
    URG = 1 << 5


class Option(IntEnum):
    """Option kinds: RFC 9293, RFC 7323, RFC 2018."""

    END = 0
    NO_OPERATION = 1
    MSS = 2
    WINDOW_SCALE = 3
    SACK_PERMITTED = 4
    SACK = 5
    TIMESTAMPS = 8


class TcpHeader(Wire):
    """The fixed part."""

    source_port: be16
    destination_port: be16
    sequence: be32
    acknowledgment: be32
    offset_flags: be16
    window: be16
    checksum: be16
    urgent: be16


class StampData(Wire):
    """What the timestamps option holds (RFC 7323 section 3.2)."""

    value: be32
    echo: be32


class SackBlock(Wire):
    """One received range (RFC 2018 section 3)."""

    start: be32
    end: be32


@dataclass(frozen=True, slots=True)
class Segment:
    """A well-formed segment. `length` counts SYN and FIN (SEG.LEN in the RFC)."""

    source_port: u16
    destination_port: u16
    sequence: u32
    acknowledgment: u32
    flags: u8
    window: u16
    length: u32
    options: Bytes
    payload: Bytes


@dataclass(frozen=True, slots=True)
class Stamp:
    """The sender's clock, and ours as it last saw it."""

    value: u32
    echo: u32


@dataclass(frozen=True, slots=True)
class SynOptions:
    """What a SYN says about its sender. `window_scale` is only meant when `scaling`."""

    mss: u16
    window_scale: u8
    scaling: bool
    sack: bool
    stamp: Stamp | None


def parse(bytes: Bytes) -> Segment | None:
    """Split a segment into its parts."""
    header = TcpHeader.view(bytes)
    if header is None:
        return None
    header_bytes = usize((header.offset_flags >> 12) * 4)
    if header_bytes < TCP_BYTES or header_bytes > len(bytes):
        return None
    flags = u8(header.offset_flags & 0x3F)
    payload = bytes[header_bytes:]
    length = u32(len(payload))
    if flags & Flags.SYN:
        length += 1
    if flags & Flags.FIN:
        length += 1
    return Segment(
        header.source_port,
        header.destination_port,
        header.sequence,
        header.acknowledgment,
        flags,
        header.window,
        length,
        bytes[TCP_BYTES:header_bytes],
        payload,
    )


def find_option(options: Bytes, kind: u8) -> Bytes:
    """The data of the first option of this kind; empty when absent or malformed."""
    at = 0
    while at < len(options):
        current = options[at]
        if current == Option.END:
            break
        if current == Option.NO_OPERATION:
            at += 1
            continue
        if at + 1 >= len(options):
            break
        size = options[at + 1]
        if size < 2 or at + size > len(options):
            break
        if current == kind:
            return options[at + 2 : at + size]
        at += size
    return options[:0]


def has_option(options: Bytes, kind: u8) -> bool:
    """Whether an option without data (SACK permitted) is there."""
    at = 0
    while at + 1 < len(options):
        current = options[at]
        if current == Option.END:
            break
        if current == Option.NO_OPERATION:
            at += 1
            continue
        size = options[at + 1]
        if size < 2 or at + size > len(options):
            break
        if current == kind:
            return True
        at += size
    return False


def parse_syn_options(options: Bytes) -> SynOptions:
    """The options of a SYN; a malformed option counts as absent."""
    mss: u16 = MSS_DEFAULT
    data = find_option(options, Option.MSS)
    if len(data) == 2:
        mss = max(u16(data[0] << 8 | data[1]), MSS_MIN)
    scale: u8 = 0
    scaling = False
    data = find_option(options, Option.WINDOW_SCALE)
    if len(data) == 1:
        scale = min(data[0], WINDOW_SCALE_MAX)
        scaling = True
    sack = has_option(options, Option.SACK_PERMITTED)
    return SynOptions(mss, scale, scaling, sack, parse_stamp(options))


def parse_stamp(options: Bytes) -> Stamp | None:
    """The timestamps of a segment; None when they are absent or malformed."""
    data = find_option(options, Option.TIMESTAMPS)
    if len(data) != 8:
        return None
    found = StampData.view(data)
    if found is None:
        return None
    return Stamp(found.value, found.echo)


def emit_stamp(out: Slice[u8], value: u32, echo: u32) -> usize:
    """Write the timestamps option and what aligns it; returns their length."""
    out[0] = Option.NO_OPERATION
    out[1] = Option.NO_OPERATION
    out[2] = Option.TIMESTAMPS
    out[3] = 10
    data = StampData.view(out[4:STAMP_BYTES])
    assert data is not None, "no room for timestamps"
    data.value = value
    data.echo = echo
    return STAMP_BYTES


def emit_syn_options(out: Slice[u8], mss: u16, scale: u8, scaling: bool, sack: bool) -> usize:
    """Write the options of a SYN; returns their length, a multiple of 4."""
    out[0] = Option.MSS
    out[1] = 4
    out[2] = u8(mss >> 8)
    out[3] = mss & 0xFF
    length: usize = 4
    if scaling:
        out[4] = Option.NO_OPERATION
        out[5] = Option.WINDOW_SCALE
        out[6] = 3
        out[7] = scale
        length = 8
    if sack:
        out[length] = Option.NO_OPERATION
        out[length + 1] = Option.NO_OPERATION
        out[length + 2] = Option.SACK_PERMITTED
        out[length + 3] = 2
        length += 4
    return length


def emit_header(
    out: Slice[u8],
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledgment: u32,
    flags: u8,
    window: u16,
    header_bytes: usize,
) -> None:
    """Write the fixed header with a zero checksum."""
    header = TcpHeader.view(out)
    assert header is not None, "no room for a TCP header"
    header.source_port = source_port
    header.destination_port = destination_port
    header.sequence = sequence
    header.acknowledgment = acknowledgment
    header.offset_flags = u16(header_bytes // 4 << 12 | flags)
    header.window = window
    header.checksum = 0
    header.urgent = 0


def segment_sum(source: u32, destination: u32, bytes: Bytes) -> u16:
    """The folded sum over pseudo-header and segment: 0xFFFF when the checksum in it is right."""
    pseudo = pseudo_header(source, destination, PROTOCOL_TCP, u16(len(bytes)))
    return fold(partial(bytes, pseudo))


def seal(source: u32, destination: u32, bytes: Slice[u8]) -> None:
    """Fill in the checksum of a complete segment."""
    header = TcpHeader.view(bytes)
    assert header is not None, "sealed a segment without header"
    header.checksum = 0
    header.checksum = segment_sum(source, destination, bytes) ^ 0xFFFF
