"""Packet scripts: opening, the SYN queue, RST and SYN validation, refusals."""

import struct
from typing import Any

import pytest

from bare.testing import implementations
from merlion.net.limits import SECOND
from merlion.net.tcp_connection import CloseReason, State
from tests.net.peer import ACK, FIN, PEER, PSH, RST, SYN, Peer, brief, frames_of
from tests.sim.network import make_stack

impl = implementations("merlion.net.stack")


@pytest.fixture
def peer(impl: Any) -> Peer:
    stack = make_stack(0)
    stack.listen(80)
    return Peer(stack)


def counters(peer: Peer) -> Any:
    return peer.stack.tcp.table.counters


def test_syn_ack_carries_mss_and_only_offered_options(peer: Peer) -> None:
    [plain] = peer.send(SYN)
    assert (plain.flags, plain.ack) == (SYN | ACK, 1)
    assert plain.options == b"\x02\x04\x05\xb4"
    other = Peer(peer.stack, port=5001)
    [full] = other.send(SYN, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07\x01\x01\x04\x02")
    assert full.options == b"\x02\x04\x05\xb4\x01\x03\x03\x01\x01\x01\x04\x02"


def test_lost_syn_ack_is_repeated_and_given_up(peer: Peer) -> None:
    peer.send(SYN)
    repeats = peer.wait(130_000)
    assert [s.flags for s in repeats] == [SYN | ACK] * 5
    assert peer.stack.tcp.table.half_open_flows.count == 0


def test_repeated_syn_gets_the_same_answer(peer: Peer) -> None:
    [first] = peer.send(SYN)
    [second] = peer.send(SYN)
    assert first == second


def test_wrong_ack_in_syn_received_is_reset(peer: Peer) -> None:
    [syn_ack] = peer.send(SYN)
    peer.their_isn = syn_ack.seq
    assert brief(peer.send(ACK, 1, 77)) == [(RST, 77, 0, 0)]
    assert brief(peer.send(ACK, 1, 1)) == []  # The half-open connection survived.
    assert peer.stack.accept() is not None


def test_reset_in_syn_received(peer: Peer) -> None:
    [syn_ack] = peer.send(SYN)
    peer.their_isn = syn_ack.seq
    assert brief(peer.send(RST, 2)) == [(ACK, 1, 1, 0)]  # In the window: challenged.
    assert peer.send(RST, 1) == []
    assert peer.stack.tcp.table.half_open_flows.count == 0


def test_closed_port_refuses(peer: Peer) -> None:
    closed = Peer(peer.stack, to=81)
    assert brief(closed.send(SYN)) == [(RST | ACK, 0, 1, 0)]
    assert brief(closed.send(ACK, 5, 9)) == [(RST, 9, 0, 0)]
    assert closed.send(RST, 5) == []


def test_listen_ignores_resets_and_answers_acks(peer: Peer) -> None:
    assert peer.send(RST) == []
    assert brief(peer.send(ACK, 1, 9)) == [(RST, 9, 0, 0)]
    assert peer.send(FIN) == []


def test_syn_queue_is_bounded_and_the_oldest_leaves(peer: Peer) -> None:
    for port in range(6000, 6020):
        Peer(peer.stack, port=port).send(SYN)
    assert peer.stack.tcp.table.half_open_flows.count == 4
    assert counters(peer).syn_overflows == 16


def test_accept_backlog_is_bounded(peer: Peer) -> None:
    for port in range(6000, 6006):
        one = Peer(peer.stack, port=port)
        [syn_ack] = one.send(SYN)
        one.their_isn = syn_ack.seq
        one.send(ACK, 1, 1)
    assert counters(peer).accept_overflows == 2
    taken = [peer.stack.accept() for _ in range(5)]
    assert sorted(t for t in taken if t is not None) == [0, 1, 2, 3]


def test_data_with_the_last_ack_is_delivered(peer: Peer) -> None:
    [syn_ack] = peer.send(SYN)
    peer.their_isn = syn_ack.seq
    peer.send(ACK | PSH, 1, 1, b"hello")
    slot = peer.stack.accept()
    assert slot is not None
    assert peer.stack.readable(slot) == b"hello"


def test_exact_reset_closes(peer: Peer) -> None:
    slot = peer.open()
    assert peer.send(RST, 1) == []
    assert peer.stack.is_dead(slot)
    assert peer.stack.close_reason(slot) == CloseReason.RESET


def test_reset_in_window_is_challenged_and_limited(peer: Peer) -> None:
    slot = peer.open()
    assert brief(peer.send(RST, 100)) == [(ACK, 1, 1, 0)]
    assert peer.send(RST, 101) == []  # Within the limit's interval.
    peer.wait(150)
    assert brief(peer.send(RST, 102)) == [(ACK, 1, 1, 0)]
    assert peer.send(RST, 70_000) == []
    assert not peer.stack.is_dead(slot)


def test_syn_in_established_is_challenged(peer: Peer) -> None:
    slot = peer.open()
    assert brief(peer.send(SYN, 1)) == [(ACK, 1, 1, 0)]
    assert not peer.stack.is_dead(slot)


def test_ack_of_unsent_data_is_challenged(peer: Peer) -> None:
    peer.open()
    assert brief(peer.send(ACK, 1, 500)) == [(ACK, 1, 1, 0)]


def test_bad_checksum_is_counted_and_dropped(peer: Peer) -> None:
    slot = peer.open()
    assert peer.send(ACK, 1, 1, b"x", spoil=1) == []
    assert counters(peer).checksum_errors == 1
    assert len(peer.stack.readable(slot)) == 0


def test_initial_sequence_numbers_depend_on_the_flow_and_advance(peer: Peer) -> None:
    table = peer.stack.tcp.table
    a = table.initial_sequence(PEER, 5000, 80, 0)
    b = table.initial_sequence(PEER, 5001, 80, 0)
    later = table.initial_sequence(PEER, 5000, 80, SECOND)
    assert a != b
    assert (later - a) & 0xFFFF_FFFF == SECOND >> 12


def connect(peer: Peer) -> int:
    slot = peer.stack.connect(PEER, 5000)
    assert slot is not None
    [syn] = peer.answers()
    assert syn.flags == SYN
    assert syn.port == 5000
    assert syn.options[:12] == b"\x02\x04\x05\xb4\x01\x03\x03\x01\x01\x01\x04\x02"
    assert syn.options[12:16] == b"\x01\x01\x08\x0a"  # RFC 7323 appendix A.
    assert len(syn.options) == 24
    peer.to = syn.source_port
    peer.their_isn = syn.seq
    return slot


def test_active_open(peer: Peer) -> None:
    slot = connect(peer)
    assert brief(peer.send(SYN | ACK, 0, 1)) == [(ACK, 1, 1, 0)]
    assert peer.stack.is_established(slot)


def test_active_open_refused(peer: Peer) -> None:
    slot = connect(peer)
    assert peer.send(RST | ACK, 0, 9) == []  # Acknowledges nothing we sent.
    assert not peer.stack.is_dead(slot)
    peer.send(RST | ACK, 0, 1)
    assert peer.stack.close_reason(slot) == CloseReason.REFUSED


def test_active_open_times_out(peer: Peer) -> None:
    slot = connect(peer)
    assert [s.flags for s in peer.wait(200_000)] == [SYN] * 5
    assert peer.stack.close_reason(slot) == CloseReason.TIMEOUT


def test_simultaneous_open(peer: Peer) -> None:
    slot = connect(peer)
    [answer] = peer.send(SYN)
    assert (answer.flags, answer.seq, answer.ack) == (SYN | ACK, 0, 1)
    assert peer.stack.tcp.table.connections[slot].state == State.SYN_RECEIVED
    peer.send(ACK, 1, 1)
    assert peer.stack.is_established(slot)


def test_icmp_refusal_ends_only_an_attempt_to_connect(peer: Peer) -> None:
    from tests.net.peer import US, ethernet, icmp, ipv4

    slot = connect(peer)
    for sequence, dead in ((peer.their_isn + 1, False), (peer.their_isn, True)):
        ports = struct.pack(">HHI", peer.to, 5000, sequence & 0xFFFF_FFFF)
        quoted = ipv4(6, ports, US, PEER)
        peer.stack.receive(ethernet(icmp(3, 3, bytes(4) + quoted)), peer.now)
        assert peer.stack.is_dead(slot) == dead
    assert frames_of(peer.stack, peer.now) == []
