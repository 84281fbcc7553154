"""Frames below TCP: ARP, IPv4 refusals, ICMP, UDP."""

import struct
from typing import Any

import pytest

from bare.testing import implementations
from merlion.net.stack import Stack
from tests.net.peer import (
    OUR_MAC,
    PEER,
    PEER_MAC,
    SYN,
    US,
    Peer,
    arp,
    ethernet,
    frames_of,
    icmp,
    internet_checksum,
    ipv4,
    udp,
)
from tests.sim.network import make_stack

impl = implementations("merlion.net.stack")
SECOND = 1_000_000_000


@pytest.fixture
def stack(impl: Any) -> Stack:
    stack = make_stack(0)
    stack.poll(SECOND)
    [announcement] = frames_of(stack, SECOND)
    assert announcement == arp_frame(1, US, OUR_MAC, 0, US, b"\xff" * 6)
    return stack


def arp_frame(
    operation: int, sender: int, mac: int, target_mac: int, target: int, to: bytes
) -> bytes:
    frame = to + mac.to_bytes(6) + struct.pack(">HHHBBH", 0x0806, 1, 0x0800, 6, 4, operation)
    frame += mac.to_bytes(6) + sender.to_bytes(4) + target_mac.to_bytes(6) + target.to_bytes(4)
    return frame.ljust(60, b"\0")


def give(stack: Stack, frame: bytes, now: int = SECOND) -> list[bytes]:
    stack.receive(frame, now)
    return frames_of(stack, now)


def test_arp_request_is_answered(stack: Stack) -> None:
    reply = arp_frame(2, US, OUR_MAC, PEER_MAC, PEER, PEER_MAC.to_bytes(6))
    assert give(stack, arp(1, PEER, US)) == [reply]
    assert give(stack, arp(1, PEER, US + 9)) == []


def test_arp_does_not_learn_from_strangers(stack: Stack) -> None:
    give(stack, arp(2, PEER, US))
    assert stack.link.neighbours.find(PEER) is None


def test_packet_waits_for_its_neighbour(stack: Stack) -> None:
    echo = ethernet(icmp(8, 0, b"\0\1\0\1payload!"))
    [question] = give(stack, echo)
    assert question == arp_frame(1, US, OUR_MAC, 0, PEER, b"\xff" * 6)
    [answer] = give(stack, arp(2, PEER, US))
    assert answer[:6] == PEER_MAC.to_bytes(6)
    assert answer[34] == 0


def test_unresolved_packets_are_bounded_and_dropped(stack: Stack) -> None:
    echo = ethernet(icmp(8, 0, b"\0\1\0\1"))
    for _ in range(20):
        give(stack, echo)
    assert stack.link.frames.waiting == 8
    asked = 1
    for second in range(2, 12):
        stack.poll(second * SECOND)
        asked += len(frames_of(stack, second * SECOND))
    assert asked == 3
    assert stack.link.frames.waiting == 0
    assert stack.link.frames.span == 0


def test_conflict_is_defended_once_in_a_while(stack: Stack) -> None:
    assert len(give(stack, arp(1, US, PEER))) == 1
    assert give(stack, arp(1, US, PEER), 2 * SECOND) == []
    assert len(give(stack, arp(1, US, PEER), 12 * SECOND)) == 1
    assert stack.link.conflicts == 3


def test_echo(stack: Stack) -> None:
    give(stack, arp(1, PEER, US))
    body = b"\x12\x34\0\7" + bytes(range(100))
    [frame] = give(stack, ethernet(icmp(8, 0, body)))
    packet = frame[14:]
    assert internet_checksum(packet[:20]) == 0
    assert internet_checksum(packet[20:]) == 0
    assert (packet[20], packet[24:]) == (0, body)
    assert give(stack, ethernet(icmp(8, 0, body), to=0xFFFF_FFFF_FFFF)) == []


def test_ping(stack: Stack) -> None:
    give(stack, arp(1, PEER, US))
    assert stack.ping(PEER, 7)
    [request] = frames_of(stack, SECOND)
    assert request[34] == 8
    assert internet_checksum(request[34:]) == 0
    give(stack, ethernet(icmp(0, 0, request[38:])), 2 * SECOND)
    assert (stack.echo_sequence, stack.echo_received_ns) == (7, 2 * SECOND)
    give(stack, ethernet(icmp(0, 0, b"\0\1\0\1")), 3 * SECOND)  # Someone else's identifier.
    assert stack.echo_received_ns == 2 * SECOND


def test_unlisten_refuses_only_new_connections(stack: Stack) -> None:
    stack.listen(80)
    peer = Peer(stack)
    slot = peer.open()
    stack.unlisten(80)
    peer.send(16, 1, 1, b"still here")
    assert len(stack.readable(slot)) == 10
    [refusal] = Peer(stack, port=5001).send(SYN)
    assert refusal.flags & 4


def test_padding_is_not_echoed(stack: Stack) -> None:
    give(stack, arp(1, PEER, US))
    [frame] = give(stack, ethernet(icmp(8, 0, b"\0\1\0\1")) + b"garbage")
    assert len(frame) == 60
    assert frame[42:] == bytes(18)


@pytest.mark.parametrize("fragment", [0x2000, 0x0001, 0x3FFF])
def test_fragments_are_refused(stack: Stack, fragment: int) -> None:
    assert give(stack, ethernet(ipv4(1, b"x" * 16, fragment=fragment))) == []
    assert stack.counters.fragments == 1


def test_bad_ip_header(stack: Stack) -> None:
    good = ethernet(ipv4(1, bytes(16)))
    for at, counter in ((14, "malformed"), (16, "malformed"), (24, "checksum_errors")):
        before = getattr(stack.counters, counter)
        bad = bytearray(good)
        bad[at] ^= 0x80
        assert give(stack, bytes(bad)) == []
        assert getattr(stack.counters, counter) == before + 1


def test_only_our_frames_and_addresses(stack: Stack) -> None:
    assert give(stack, ethernet(ipv4(1, bytes(16)), to=0x0200_0000_0077)) == []
    assert give(stack, ethernet(ipv4(17, bytes(16), to=US + 7))) == []
    assert give(stack, ethernet(ipv4(6, bytes(20), source=0xE000_0001))) == []
    assert stack.tcp.table.counters.segments_in == 0


def test_udp_round_trip_and_unreachable(stack: Stack) -> None:
    give(stack, arp(1, PEER, US))
    socket = stack.udp.bind(53)
    assert socket is not None
    assert stack.udp.bind(53) is None
    assert give(stack, ethernet(udp(9, 53, b"question"))) == []
    message = stack.udp.first(socket)
    assert message is not None
    assert message.bytes[: message.length] == b"question"
    assert stack.udp_send(socket, message.address, message.port, b"answer")
    stack.udp.drop(socket)
    [frame] = frames_of(stack, SECOND)
    assert frame[42:48] == b"answer"
    pseudo = struct.pack(">IIHH", US, PEER, 17, 14)
    assert internet_checksum(pseudo + frame[34:48]) == 0
    [error] = give(stack, ethernet(udp(9, 54, b"anyone?")))
    assert error[34:36] == b"\3\3"
    assert error[42:70] == udp_packet_start(b"anyone?")


def udp_packet_start(data: bytes) -> bytes:
    return udp(9, 54, data)[:28]


def test_unreachable_is_rate_limited(stack: Stack) -> None:
    give(stack, arp(1, PEER, US))
    answers = sum(len(give(stack, ethernet(udp(9, 54, b"")))) for _ in range(40))
    assert answers == 10


def test_udp_bad_checksum(stack: Stack) -> None:
    frame = bytearray(ethernet(udp(9, 54, b"data")))
    frame[-1] ^= 1
    assert give(stack, bytes(frame)) == []
    assert stack.counters.malformed == 1


def test_gateway_is_the_next_hop(stack: Stack) -> None:
    stack.configure(OUR_MAC, US, 0xFFFF_FF00, PEER)
    frames_of(stack, SECOND)
    slot = stack.connect(0x0808_0808, 53)
    assert slot is not None
    [question] = frames_of(stack, SECOND)
    assert question[38:42] == PEER.to_bytes(4)
    [syn] = give(stack, arp(2, PEER, US))
    assert syn[:6] == PEER_MAC.to_bytes(6)
    assert syn[30:34] == b"\x08\x08\x08\x08"


def test_connection_survives_a_slow_neighbour(stack: Stack) -> None:
    slot = stack.connect(PEER, 80)
    assert slot is not None
    frames_of(stack, SECOND)
    now = SECOND
    for _ in range(30):
        now += SECOND // 2
        stack.poll(now)
        frames_of(stack, now)
    assert not stack.is_dead(slot)
    frames = give(stack, arp(1, PEER, US), now)
    for _ in range(80):
        now += SECOND // 2
        stack.poll(now)
        frames += frames_of(stack, now)
    assert any(len(f) > 47 and f[12:14] == b"\x08\x00" and f[47] == SYN for f in frames)


def test_gratuitous_arp_moves_a_known_neighbour(stack: Stack) -> None:
    peer = Peer(stack)
    moved = 0x0200_0000_0099
    give(stack, arp(1, PEER, PEER, mac=moved), peer.now)
    entry = stack.link.neighbours.find(PEER)
    assert entry is not None
    assert entry.mac == moved


def test_short_transmit_buffer_is_a_bug(stack: Stack) -> None:
    from bare import Trap, static, u8

    with pytest.raises((Trap, AssertionError)):
        stack.transmit(static(u8, 100), SECOND)
