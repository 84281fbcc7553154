"""A scripted peer: frames made and read with `struct`, independent of the code under test."""

import struct
from dataclasses import dataclass

from bare import Slice, static, u8
from merlion.net.limits import FRAME_MAX, SECOND
from merlion.net.stack import Stack

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
OUR_MAC = 0x0200_0000_0001
PEER_MAC = 0x0200_0000_0002
US = 0x0A00_0001
PEER = 0x0A00_0002
BUFFER: Slice[u8] = static(u8, FRAME_MAX)


def internet_checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ethernet(payload: bytes, kind: int = 0x0800, to: int = OUR_MAC) -> bytes:
    return to.to_bytes(6) + PEER_MAC.to_bytes(6) + struct.pack(">H", kind) + payload


def arp(operation: int, sender: int, target: int, mac: int = PEER_MAC) -> bytes:
    head = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    body = mac.to_bytes(6) + sender.to_bytes(4) + bytes(6) + target.to_bytes(4)
    return ethernet(head + body, 0x0806)


def ipv4(
    protocol: int, payload: bytes, source: int = PEER, to: int = US, fragment: int = 0
) -> bytes:
    total = 20 + len(payload)
    head = struct.pack(">BBHHHBBHII", 0x45, 0, total, 7, fragment, 64, protocol, 0, source, to)
    return head[:10] + struct.pack(">H", internet_checksum(head)) + head[12:] + payload


def udp(source_port: int, port: int, data: bytes, source: int = PEER, to: int = US) -> bytes:
    head = struct.pack(">HHHH", source_port, port, 8 + len(data), 0)
    pseudo = struct.pack(">IIHH", source, to, 17, 8 + len(data))
    value = internet_checksum(pseudo + head + data) or 0xFFFF
    return ipv4(17, head[:6] + struct.pack(">H", value) + data, source, to)


def icmp(kind: int, code: int, rest: bytes) -> bytes:
    head = struct.pack(">BBH", kind, code, 0)
    return ipv4(1, head[:2] + struct.pack(">H", internet_checksum(head + rest)) + rest)


@dataclass(frozen=True)
class Seg:
    """A TCP segment that the stack sent. Sequence numbers are absolute."""

    source_port: int
    port: int
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    data: bytes


def read_segment(frame: bytes) -> Seg:
    """Check every length and checksum of a frame from the stack."""
    assert frame[:6] == PEER_MAC.to_bytes(6)
    assert frame[6:12] == OUR_MAC.to_bytes(6)
    assert frame[12:14] == b"\x08\x00"
    packet = frame[14:]
    total = struct.unpack(">H", packet[2:4])[0]
    assert internet_checksum(packet[:20]) == 0
    assert packet[9] == 6
    source, to = struct.unpack(">II", packet[12:20])
    segment = packet[20:total]
    pseudo = struct.pack(">IIHH", source, to, 6, len(segment))
    assert internet_checksum(pseudo + segment) == 0
    sp, dp, seq, ack, of, window, _, _ = struct.unpack(">HHIIHHHH", segment[:20])
    head = (of >> 12) * 4
    return Seg(sp, dp, seq, ack, of & 0x3F, window, segment[20:head], segment[head:])


def frames_of(stack: Stack, now: int) -> list[bytes]:
    """Everything the stack has to say now."""
    result = []
    while (length := stack.transmit(BUFFER, now)) > 0:
        result.append(BUFFER[:length].tobytes())
        assert len(result) < 2000, "the stack never stops talking"
    return result


class Peer:
    """One TCP conversation, seen from the other end. Numbers are relative to the two ISNs."""

    def __init__(self, stack: Stack, port: int = 5000, to: int = 80, isn: int = 1000) -> None:
        self.stack = stack
        self.port = port
        self.to = to
        self.isn = isn
        self.their_isn = 0
        self.now = 10 * SECOND
        stack.poll(self.now)
        frames_of(stack, self.now)
        stack.receive(arp(2, PEER, US), self.now)
        stack.receive(arp(1, PEER, US), self.now)
        frames_of(stack, self.now)

    def send(
        self,
        flags: int,
        seq: int = 0,
        ack: int = 0,
        data: bytes = b"",
        window: int = 65535,
        options: bytes = b"",
        spoil: int = 0,
    ) -> list[Seg]:
        """Deliver one segment and return the answers."""
        seq = (self.isn + seq) & 0xFFFF_FFFF
        ack = (self.their_isn + ack) & 0xFFFF_FFFF if flags & ACK else 0
        head_words = 5 + len(options) // 4
        head = struct.pack(
            ">HHIIHHHH", self.port, self.to, seq, ack, head_words << 12 | flags, window, 0, 0
        )
        segment = head + options + data
        pseudo = struct.pack(">IIHH", PEER, US, 6, len(segment))
        value = internet_checksum(pseudo + segment) ^ spoil
        segment = segment[:16] + struct.pack(">H", value) + segment[18:]
        self.stack.receive(ethernet(ipv4(6, segment)), self.now)
        return self.answers()

    def answers(self) -> list[Seg]:
        """What the stack sends now, relative to the ISNs."""
        result = []
        for frame in frames_of(self.stack, self.now):
            if frame[12:14] != b"\x08\x00":
                continue  # ARP.
            s = read_segment(frame)
            seq = (s.seq - self.their_isn) & 0xFFFF_FFFF
            ack = (s.ack - self.isn) & 0xFFFF_FFFF if s.flags & ACK else 0
            result.append(
                Seg(s.source_port, s.port, seq, ack, s.flags, s.window, s.options, s.data)
            )
        return result

    def wait(self, milliseconds: float) -> list[Seg]:
        """Let time pass in small steps, the neighbour staying known."""
        end = self.now + int(milliseconds * 1_000_000)
        result = []
        while True:
            self.stack.receive(arp(1, PEER, US), self.now)
            deadline = max(self.stack.next_deadline(), self.now + 1000)
            self.now = min(end, deadline, self.now + 20 * SECOND)
            self.stack.poll(self.now)
            result += self.answers()
            if self.now == end:
                return result

    def open(self, options: bytes = b"", window: int = 65535) -> int:
        """Complete a handshake; returns the connection's slot."""
        [syn_ack] = self.send(SYN, options=options, window=window)
        assert syn_ack.flags == SYN | ACK
        assert syn_ack.ack == 1
        self.their_isn = syn_ack.seq
        assert self.send(ACK, 1, 1, window=window) == []
        slot = self.stack.accept()
        assert slot is not None
        return slot


def brief(segments: list[Seg]) -> list[tuple[int, int, int, int]]:
    """(flags without PSH, seq, ack, data length) of each."""
    return [(s.flags & ~PSH, s.seq, s.ack, len(s.data)) for s in segments]
