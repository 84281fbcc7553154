"""Packet scripts: data, ACK policy, retransmission, windows."""

import itertools
import struct
from typing import Any

import pytest

from bare.testing import implementations
from merlion.net.tcp_connection import CloseReason
from tests.net.peer import ACK, FIN, PSH, RST, Peer, brief
from tests.sim.network import make_stack

impl = implementations("merlion.net.stack")
MSS = b"\x02\x04\x05\xb4"
SACK = b"\x01\x01\x04\x02"


@pytest.fixture
def peer(impl: Any) -> Peer:
    stack = make_stack(0)
    stack.listen(80)
    return Peer(stack)


def block(start: int, end: int, peer: Peer) -> bytes:
    base = peer.their_isn
    return struct.pack(">BBBBII", 1, 1, 5, 10, base + start & 0xFFFFFFFF, base + end & 0xFFFFFFFF)


def test_every_write_leaves_at_once(peer: Peer) -> None:
    """No Nagle: tokens do not wait for the ACK of the one before."""
    slot = peer.open()
    for i, token in enumerate((b"one", b"two", b"six")):
        assert peer.stack.send(slot, token) == 3
        [segment] = peer.answers()
        assert (segment.data, segment.seq) == (token, 1 + 3 * i)
        assert segment.flags == ACK | PSH


def test_ack_is_delayed_at_most_40_ms(peer: Peer) -> None:
    peer.open()
    assert peer.send(ACK | PSH, 1, 1, b"a") == []
    assert peer.wait(39) == []
    assert brief(peer.wait(2)) == [(ACK, 1, 2, 0)]


def test_every_second_segment_is_acknowledged(peer: Peer) -> None:
    peer.open()
    assert peer.send(ACK, 1, 1, b"a" * 100) == []
    assert brief(peer.send(ACK, 101, 1, b"a" * 100)) == [(ACK, 1, 201, 0)]


def test_data_carries_the_ack(peer: Peer) -> None:
    slot = peer.open()
    assert peer.send(ACK, 1, 1, b"question") == []
    peer.stack.send(slot, b"answer")
    assert brief(peer.answers()) == [(ACK, 1, 9, 6)]
    assert peer.wait(100) == []  # Nothing is left to acknowledge; the RTO is at 200 ms or later.


def test_out_of_order_is_acknowledged_at_once_and_joined(peer: Peer) -> None:
    slot = peer.open(MSS + SACK)
    [hole] = peer.send(ACK, 4, 1, b"def")
    assert (hole.ack, hole.options[4:]) == (
        1,
        struct.pack(">II", peer.isn + 4, peer.isn + 7),
    )
    peer.send(ACK, 10, 1, b"jkl")
    assert len(peer.stack.readable(slot)) == 0
    [first] = peer.send(ACK, 1, 1, b"abc")
    assert first.ack == 7
    [second] = peer.send(ACK, 7, 1, b"ghi")
    assert (second.ack, second.options) == (13, b"")
    assert peer.stack.readable(slot) == b"abcdefghijkl"


def test_overlaps_and_duplicates(peer: Peer) -> None:
    slot = peer.open()
    peer.send(ACK, 1, 1, b"abcd")
    assert brief(peer.send(ACK, 1, 1, b"abcd")) == [(ACK, 1, 5, 0)]
    peer.send(ACK, 3, 1, b"cdef")
    assert peer.stack.readable(slot) == b"abcdef"


def test_data_past_the_window_is_cut(peer: Peer) -> None:
    stack = make_stack(0, receive_bytes=256, connections=1)
    stack.listen(80)
    peer = Peer(stack)
    slot = peer.open()
    peer.send(ACK, 1, 1, b"x" * 300)
    [segment] = peer.send(ACK, 301, 1, b"y")
    assert (segment.ack, segment.window) == (257, 0)
    assert len(stack.readable(slot)) == 256
    stack.consume(slot, 256)
    [update] = peer.answers()
    assert (update.ack, update.window) == (257, 256)


def test_retransmission_backs_off_and_gives_up_with_reset(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.send(slot, b"lost")
    first = peer.now
    [sent] = peer.answers()
    times = []
    while not peer.stack.is_dead(slot):
        for again in peer.wait(50):
            times.append((peer.now - first) / 1e9)
            last = again
    assert last.flags & RST
    gaps = [b - a for a, b in itertools.pairwise(times[:-1])]
    assert sent.data == b"lost"
    assert len(gaps) >= 5
    assert all(1.8 < b / a < 2.2 for a, b in itertools.pairwise(gaps[:5]))
    assert peer.stack.close_reason(slot) == CloseReason.TIMEOUT
    assert times[-1] > 100


def test_karn_no_sample_from_a_retransmission(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.send(slot, b"lost")
    peer.answers()
    assert len(peer.wait(1500)) == 1
    peer.send(ACK, 1, 5)
    assert peer.stack.tcp.table.connections[slot].rtt.srtt == 0


def test_rtt_sample_sets_the_timeout(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.send(slot, b"data")
    peer.answers()
    peer.wait(80)
    peer.send(ACK, 1, 5)
    rtt = peer.stack.tcp.table.connections[slot].rtt
    assert 79_000_000 < rtt.srtt < 81_000_000
    assert rtt.rto == rtt.srtt + 200_000_000


def sent_window(peer: Peer, slot: int, segments: int) -> None:
    assert peer.stack.send(slot, bytes(1460 * segments)) == 1460 * segments
    assert brief(peer.answers()) == [(ACK, 1 + 1460 * i, 1, 1460) for i in range(segments)]


def test_initial_window_is_ten_segments(peer: Peer) -> None:
    slot = peer.open(MSS)
    peer.stack.send(slot, bytes(1460 * 20))
    assert len(peer.answers()) == 10


def test_fast_retransmit_and_newreno_partial_ack(peer: Peer) -> None:
    slot = peer.open(MSS)
    sent_window(peer, slot, 8)
    answers = [brief(peer.send(ACK, 1, 1)) for _ in range(3)]
    assert answers == [[], [], [(ACK, 1, 1, 1460)]]
    partial = brief(peer.send(ACK, 1, 1 + 1460 * 3))
    assert partial == [(ACK, 1 + 1460 * 3, 1, 1460)]  # The next hole, without three duplicates.
    assert peer.send(ACK, 1, 1 + 1460 * 8) == []
    assert not peer.stack.tcp.table.connections[slot].congestion.recovering


def test_sack_recovery_fills_the_holes_only(peer: Peer) -> None:
    slot = peer.open(MSS + SACK)
    sent_window(peer, slot, 9)
    answers = []
    for high in (2, 3, 4, 5, 6, 7, 8, 9):
        blocks = block(1 + 1460 * (1 if high < 6 else 5), 1 + 1460 * high, peer)
        if high == 5:
            continue  # Segment 4 (the fifth) is lost too.
        answers += brief(peer.send(ACK, 1, 1, options=blocks))
    assert answers == [(ACK, 1, 1, 1460), (ACK, 1 + 1460 * 4, 1, 1460)]
    peer.send(ACK, 1, 1 + 1460 * 9)
    assert peer.stack.unsent(slot) == 0


def test_limited_transmit(peer: Peer) -> None:
    slot = peer.open(MSS)
    peer.stack.send(slot, bytes(1460 * 20))
    assert len(peer.answers()) == 10
    assert [len(peer.send(ACK, 1, 1)) for _ in range(2)] == [1, 1]


def test_timeout_restarts_with_one_segment(peer: Peer) -> None:
    slot = peer.open(MSS)
    sent_window(peer, slot, 6)
    assert brief(peer.wait(1100)) == [(ACK, 1, 1, 1460)]
    assert len(peer.send(ACK, 1, 1 + 1460)) == 2  # Slow start over the old data.
    assert peer.stack.tcp.table.connections[slot].congestion.ssthresh == 1460 * 3


def test_zero_window_is_probed_with_backoff_and_reopens(peer: Peer) -> None:
    slot = peer.open(window=0)
    peer.stack.send(slot, b"waiting")
    assert peer.answers() == []
    probes = peer.wait(7100)
    assert brief(probes) == [(ACK, 0, 1, 0)] * 3  # After 1, 2 and 4 seconds.
    for _ in range(40):
        peer.send(ACK, 1, 1, window=0)
        peer.wait(10_000)
    assert not peer.stack.is_dead(slot)  # An answering peer may keep it shut for ever.
    assert brief(peer.send(ACK, 1, 1, window=1000)) == [(ACK, 1, 1, 7)]


def test_window_that_shuts_on_data_in_flight(peer: Peer) -> None:
    slot = peer.open(MSS)
    sent_window(peer, slot, 2)
    peer.send(ACK, 1, 1 + 1460, window=0)
    assert all(s.data == b"" for s in peer.wait(3000))
    assert brief(peer.send(ACK, 1, 1 + 1460, window=4000)) == [(ACK, 1 + 1460, 1, 1460)]


def test_sender_avoids_silly_windows_but_not_for_ever(peer: Peer) -> None:
    slot = peer.open(MSS, window=8000)
    peer.stack.send(slot, bytes(1460 * 8))
    assert len(peer.answers()) == 5
    assert peer.send(ACK, 1, 1 + 1460 * 5, window=100) == []
    peer.wait(5000)
    late = peer.send(ACK, 1, 1 + 1460 * 5, window=100)
    assert peer.stack.tcp.table.connections[slot].snd_max != 0
    assert all(len(s.data) <= 100 for s in late)


def test_window_scale(peer: Peer) -> None:
    slot = peer.open(b"\x01\x03\x03\x07")
    peer.send(ACK, 1, 1, window=1000)
    assert peer.stack.tcp.table.connections[slot].snd_wnd == 1000 << 7


def test_tiny_mss_is_clamped(peer: Peer) -> None:
    slot = peer.open(b"\x02\x04\x00\x01")
    peer.stack.send(slot, bytes(200))
    assert max(len(s.data) for s in peer.answers()) == 64


def test_keepalive_finds_a_dead_peer(peer: Peer) -> None:
    slot = peer.open()
    assert peer.wait(74_000) == []
    assert brief(peer.wait(2_000)) == [(ACK, 0, 1, 0)]
    peer.send(ACK, 1, 1)
    assert peer.wait(70_000) == []
    last = peer.wait(100_000)
    assert last[-1].flags & RST
    assert peer.stack.is_dead(slot)


def test_path_mtu_is_believed_only_for_data_in_flight(peer: Peer) -> None:
    from tests.net.peer import PEER, US, ethernet, icmp, ipv4

    slot = peer.open(MSS)
    sent_window(peer, slot, 2)
    for offset, mss in ((1_000_000, 1460), (1, 1360)):
        ports = struct.pack(">HHI", 80, peer.port, peer.their_isn + offset & 0xFFFFFFFF)
        message = icmp(3, 4, struct.pack(">HH", 0, 1400) + ipv4(6, ports, US, PEER))
        peer.stack.receive(ethernet(message), peer.now)
        assert peer.stack.tcp.table.connections[slot].mss == mss
    assert brief(peer.answers())[0] == (ACK, 1, 1, 1360)


def test_fin_after_the_data(peer: Peer) -> None:
    slot = peer.open()
    peer.stack.send(slot, b"bye")
    peer.stack.close(slot)
    assert brief(peer.answers()) == [(ACK | FIN, 1, 1, 3)]


def test_tail_loss_is_repaired_by_a_probe(peer: Peer) -> None:
    """The last two of five segments are lost: no duplicate ACK can tell, the probe does."""
    slot = peer.open(MSS + SACK)
    sent_window(peer, slot, 1)
    peer.wait(10)
    peer.send(ACK, 1, 1461)  # A round trip of 10 ms is known now.
    assert peer.stack.send(slot, bytes(1460 * 5)) == 1460 * 5
    assert len(peer.answers()) == 5
    peer.wait(10)
    peer.send(ACK, 1, 1 + 1460 * 4)
    assert brief(peer.wait(30)) == [(ACK, 1 + 1460 * 5, 1, 1460)]  # Long before 200 ms.
    blocks = block(1 + 1460 * 5, 1 + 1460 * 6, peer)
    repaired = brief(peer.send(ACK, 1, 1 + 1460 * 4, options=blocks))
    assert repaired == [(ACK, 1 + 1460 * 4, 1, 1460)]
    peer.send(ACK, 1, 1 + 1460 * 6)
    assert peer.stack.tcp.table.counters.timeouts == 0
    assert peer.stack.unsent(slot) == 0
