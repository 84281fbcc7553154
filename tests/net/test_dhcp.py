"""The DHCP client against a scripted server."""

import itertools
import struct
from typing import Any

import pytest

from bare.testing import implementations
from merlion.net.dhcp import DhcpState
from merlion.net.stack import Stack
from tests.net.peer import OUR_MAC, PEER, US, arp, ethernet, frames_of, internet_checksum, udp
from tests.sim.network import make_stack

impl = implementations("merlion.net.stack")
SECOND = 1_000_000_000
BROADCAST = 0xFFFF_FFFF
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK = 1, 2, 3, 4, 5, 6


class Server:
    """Reads the client's frames and answers them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.now = SECOND
        self.transaction = 0
        stack.configure_dhcp(OUR_MAC, self.now)

    def messages(self) -> list[tuple[int, dict[int, bytes], int, int]]:
        """(type, options, ciaddr, IP destination) of what the client sends now."""
        result = []
        for frame in frames_of(self.stack, self.now):
            if frame[12:14] != b"\x08\x00":
                continue
            packet = frame[14:]
            assert internet_checksum(packet[:20]) == 0
            assert packet[20:24] == b"\x00\x44\x00\x43"
            length = struct.unpack(">H", packet[24:26])[0]
            pseudo = packet[12:20] + struct.pack(">HH", 17, length)
            assert internet_checksum(pseudo + packet[20 : 20 + length]) == 0
            body = packet[28:]
            assert body[:4] == b"\1\1\6\0"
            assert body[28:34] == OUR_MAC.to_bytes(6)
            self.transaction = struct.unpack(">I", body[4:8])[0]
            options: dict[int, bytes] = {}
            at = 240
            while body[at] != 255:
                options[body[at]] = body[at + 2 : at + 2 + body[at + 1]]
                at += 2 + body[at + 1]
            ciaddr = int.from_bytes(body[12:16])
            result.append((options[53][0], options, ciaddr, int.from_bytes(packet[16:20])))
        return result

    def answer(self, kind: int, lease: int = 3600, transaction: int | None = None) -> None:
        xid = self.transaction if transaction is None else transaction
        body = struct.pack(">BBBBIHHIIII", 2, 1, 6, 0, xid, 0, 0, 0, US, 0, 0)
        body += OUR_MAC.to_bytes(6) + bytes(202) + b"\x63\x82\x53\x63"
        body += bytes([53, 1, kind, 0, 54, 4]) + PEER.to_bytes(4)
        body += b"\x01\x04\xff\xff\xff\x00\x03\x04" + PEER.to_bytes(4)
        body += b"\x33\x04" + lease.to_bytes(4) + b"\xff"
        self.stack.receive(ethernet(udp(67, 68, body, to=BROADCAST)), self.now)

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)
        self.stack.poll(self.now)

    def bind(self, lease: int = 3600) -> None:
        assert self.messages()[0][0] == DISCOVER
        self.answer(OFFER)
        assert self.messages()[0][0] == REQUEST
        self.answer(ACK, lease)
        assert self.stack.has_address()
        frames_of(self.stack, self.now)


@pytest.fixture
def server(impl: Any) -> Server:
    return Server(make_stack(0))


def test_discover_offer_request_ack(server: Server) -> None:
    [(kind, options, ciaddr, to)] = server.messages()
    assert (kind, ciaddr, to) == (DISCOVER, 0, BROADCAST)
    assert set(options) == {53, 12, 55}
    server.answer(OFFER)
    [(kind, options, ciaddr, to)] = server.messages()
    assert (kind, ciaddr, to) == (REQUEST, 0, BROADCAST)
    assert options[50] == US.to_bytes(4)
    assert options[54] == PEER.to_bytes(4)
    server.answer(ACK)
    link = server.stack.link
    assert (link.address, link.netmask, link.gateway) == (US, 0xFFFF_FF00, PEER)
    [announcement] = frames_of(server.stack, server.now)
    assert announcement[12:14] == b"\x08\x06"


def test_discover_is_repeated_with_backoff(server: Server) -> None:
    times = []
    for _ in range(400):
        times += [server.now / SECOND] * len(server.messages())
        server.wait(0.1)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert len(gaps) == 4
    assert all(b > 1.5 * a for a, b in itertools.pairwise(gaps))


def test_foreign_transactions_are_ignored(server: Server) -> None:
    server.messages()
    server.answer(OFFER, transaction=server.transaction ^ 1)
    assert server.messages() == []
    server.answer(ACK)  # An ACK before any offer.
    assert not server.stack.has_address()


def test_nak_starts_over(server: Server) -> None:
    server.messages()
    server.answer(OFFER)
    server.messages()
    server.answer(NAK)
    assert server.messages()[0][0] == DISCOVER


def test_silent_server_after_the_offer_starts_over(server: Server) -> None:
    server.messages()
    server.answer(OFFER)
    kinds = []
    for _ in range(60):
        kinds += [m[0] for m in server.messages()]
        server.wait(1)
    assert kinds[:5] == [REQUEST] * 4 + [DISCOVER]


def test_renew_goes_to_the_server_and_extends(server: Server) -> None:
    server.bind()
    server.wait(1801)
    server.stack.receive(arp(1, PEER, US), server.now)
    [(kind, options, ciaddr, to)] = server.messages()
    assert (kind, ciaddr, to) == (REQUEST, US, PEER)
    assert 50 not in options
    assert 54 not in options
    server.answer(ACK)
    assert server.stack.dhcp.state == DhcpState.BOUND
    server.wait(1700)
    assert server.messages() == []


def test_rebind_is_broadcast_and_expiry_drops_the_address(server: Server) -> None:
    server.bind()
    server.wait(3200)
    assert [m[3] for m in server.messages()] == [BROADCAST]
    server.wait(401)
    assert not server.stack.has_address()
    assert server.messages()[0][0] == DISCOVER


def test_connections_end_with_the_address(server: Server) -> None:
    server.bind()
    slot = server.stack.connect(PEER, 80)
    assert slot is not None
    server.wait(3601)
    assert server.stack.is_dead(slot)
    server.stack.release(slot)
    server.messages()
    assert server.stack.tcp.table.flows.count == 0


def test_infinite_lease(server: Server) -> None:
    server.bind(0xFFFF_FFFF)
    server.wait(10**8)
    assert server.messages() == []


def test_conflict_declines_a_fresh_lease(server: Server) -> None:
    server.bind()
    server.stack.receive(arp(1, US, PEER), server.now)
    assert not server.stack.has_address()
    [(kind, options, _, to)] = server.messages()
    assert (kind, to) == (DECLINE, BROADCAST)
    assert options[50] == US.to_bytes(4)
    assert options[54] == PEER.to_bytes(4)
    server.wait(10)
    assert server.messages()[0][0] == DISCOVER
