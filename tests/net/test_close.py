"""Packet scripts: every way a connection ends, and TIME_WAIT."""

from typing import Any

import pytest

from bare.testing import implementations
from merlion.net.tcp_connection import CloseReason, State
from tests.net.peer import ACK, FIN, RST, SYN, Peer, brief
from tests.sim.network import make_stack

impl = implementations("merlion.net.stack")


@pytest.fixture
def peer(impl: Any) -> Peer:
    stack = make_stack(0)
    stack.listen(80)
    return Peer(stack)


def state(peer: Peer, slot: int) -> State:
    return State(peer.stack.tcp.table.connections[slot].state)


def free_slots(peer: Peer) -> int:
    return 4 - peer.stack.tcp.table.flows.count


def test_peer_closes_first(peer: Peer) -> None:
    slot = peer.open()
    assert brief(peer.send(ACK | FIN, 1, 1, b"last")) == [(ACK, 1, 6, 0)]
    assert state(peer, slot) == State.CLOSE_WAIT
    assert peer.stack.peer_closed(slot)
    assert peer.stack.readable(slot) == b"last"
    peer.stack.consume(slot, 4)
    peer.stack.send(slot, b"half")  # A half-closed connection still sends.
    assert brief(peer.answers()) == [(ACK, 1, 6, 4)]
    peer.stack.close(slot)
    assert brief(peer.answers()) == [(ACK | FIN, 5, 6, 0)]
    assert state(peer, slot) == State.LAST_ACK
    peer.send(ACK, 6, 6)
    assert peer.stack.close_reason(slot) == CloseReason.FINISHED
    peer.stack.release(slot)
    assert free_slots(peer) == 4
    assert peer.stack.tcp.table.time_wait_flows.count == 0


def test_we_close_first_and_enter_time_wait(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.close(slot)
    assert brief(peer.answers()) == [(ACK | FIN, 1, 1, 0)]
    assert state(peer, slot) == State.FIN_WAIT_1
    peer.send(ACK, 1, 2)
    assert state(peer, slot) == State.FIN_WAIT_2
    assert peer.send(ACK, 1, 2, b"more") == []  # Half-closed: we still receive.
    assert peer.stack.readable(slot) == b"more"
    assert brief(peer.send(ACK | FIN, 5, 2)) == [(ACK, 2, 6, 0)]
    assert peer.stack.is_dead(slot)
    assert peer.stack.readable(slot) == b"more"
    peer.stack.release(slot)
    assert free_slots(peer) == 4
    table = peer.stack.tcp.table
    assert table.time_wait_flows.count == 1
    assert brief(peer.send(ACK | FIN, 5, 2)) == [(ACK, 2, 6, 0)]  # Our ACK was lost.
    assert peer.send(RST, 6) == []
    assert table.time_wait_flows.count == 1  # RFC 1337.
    peer.wait(61_000)
    assert table.time_wait_flows.count == 0


def test_simultaneous_close(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.close(slot)
    peer.answers()
    assert brief(peer.send(ACK | FIN, 1, 1)) == [(ACK, 2, 2, 0)]
    assert state(peer, slot) == State.CLOSING
    peer.send(ACK, 2, 2)
    assert peer.stack.is_dead(slot)
    assert peer.stack.tcp.table.time_wait_flows.count == 1


def test_fin_and_ack_of_ours_together(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.close(slot)
    peer.answers()
    assert brief(peer.send(ACK | FIN, 1, 2)) == [(ACK, 2, 2, 0)]
    assert peer.stack.is_dead(slot)


def test_fin_is_retransmitted(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.close(slot)
    peer.answers()
    assert brief(peer.wait(1100)) == [(ACK | FIN, 1, 1, 0)]


def test_fin_before_missing_data_waits(peer: Peer) -> None:
    slot = peer.open()
    peer.send(ACK | FIN, 4, 1, b"def")
    assert not peer.stack.peer_closed(slot)
    assert brief(peer.send(ACK, 1, 1, b"abc")) == [(ACK, 1, 8, 0)]
    assert peer.stack.peer_closed(slot)
    assert peer.stack.readable(slot) == b"abcdef"


def test_abort_sends_reset(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.send(slot, b"never")
    peer.stack.abort(slot)
    assert brief(peer.answers()) == [(RST | ACK, 1, 1, 0)]
    peer.stack.release(slot)
    assert free_slots(peer) == 4


def test_release_with_unread_data_resets(peer: Peer) -> None:
    slot = peer.open()
    peer.send(ACK, 1, 1, b"unread")
    peer.stack.release(slot)
    assert brief(peer.answers()) == [(RST | ACK, 1, 7, 0)]


def test_released_connection_finishes_in_the_background(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.send(slot, b"bye")
    peer.stack.release(slot)
    assert brief(peer.answers()) == [(ACK | FIN, 1, 1, 3)]
    peer.send(ACK, 1, 5)
    assert brief(peer.send(ACK | FIN, 1, 5)) == [(ACK, 5, 2, 0)]
    assert free_slots(peer) == 4


def test_data_for_a_released_connection_resets(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.release(slot)
    peer.answers()
    assert brief(peer.send(ACK, 1, 2, b"late")) == [(RST | ACK, 2, 1, 0)]
    assert free_slots(peer) == 4


def test_orphan_in_fin_wait_2_is_dropped(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.release(slot)
    peer.answers()
    peer.send(ACK, 1, 2)
    peer.wait(61_000)
    assert free_slots(peer) == 4


def test_time_wait_is_reused_by_a_newer_syn(peer: Peer) -> None:
    slot = peer.open()
    old = peer.their_isn
    peer.stack.release(slot)
    peer.answers()
    peer.send(ACK | FIN, 1, 2)
    table = peer.stack.tcp.table
    assert table.time_wait_flows.count == 1
    assert brief(peer.send(SYN, 0)) == [(ACK, 2, 2, 0)]  # An old SYN is only answered.
    [syn_ack] = peer.send(SYN, 1000)
    assert syn_ack.flags == SYN | ACK
    assert table.time_wait_flows.count == 0
    assert (syn_ack.seq - 2) & 0xFFFF_FFFF < 1 << 31  # Beyond the old connection's numbers.
    assert old == peer.their_isn


def test_time_wait_table_is_bounded(peer: Peer) -> None:
    for port in range(7000, 7008):
        one = Peer(peer.stack, port=port)
        slot = one.open()
        one.stack.release(slot)
        one.answers()
        one.send(ACK | FIN, 1, 2)
    assert peer.stack.tcp.table.time_wait_flows.count == 4
    assert free_slots(peer) == 4
