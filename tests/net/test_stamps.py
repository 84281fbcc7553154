"""Packet scripts: timestamps and PAWS (RFC 7323)."""

import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare import static, u8
from bare.testing import implementations
from merlion.net.limits import MILLISECOND, STAMP_LIFETIME
from tests.net.peer import ACK, FIN, PSH, RST, SYN, Peer, Seg, brief
from tests.sim.network import Flow, Simulation, Wire, make_stack

impl = implementations("merlion.net.stack", "merlion.net.tcp_stamps", "merlion.net.tcp_header")
MSS = b"\x02\x04\x05\xb4"
SACK = b"\x01\x01\x04\x02"
FIRST = 0xFFFF_FFF0  # The peer's clock passes zero in every script.


def stamp(value: int, echo: int = 0) -> bytes:
    return struct.pack(">BBBBII", 1, 1, 8, 10, value & 0xFFFF_FFFF, echo)


def stamp_of(segment: Seg) -> tuple[int, int]:
    """(value, echo) of the option, which must be there, aligned and first but for a SYN's."""
    at = 12 if segment.flags & SYN and len(segment.options) > 16 else segment.flags & SYN and 4
    assert segment.options[at : at + 4] == b"\x01\x01\x08\x0a", segment.options
    value, echo = struct.unpack(">II", segment.options[at + 4 : at + 12])
    return value, echo


class Stamped(Peer):
    """A peer that says its time in every segment: FIRST + `tick`."""

    tick = 0
    echo = 0
    stamped = True

    def send(self, *fields: Any, options: bytes = b"", **rest: Any) -> list[Seg]:
        if self.stamped:
            options += stamp(FIRST + self.tick, self.echo)
        return super().send(*fields, options=options, **rest)

    def at(self, tick: int, *fields: Any, **rest: Any) -> list[Seg]:
        self.tick = tick
        return self.send(*fields, **rest)

    def bare(self, *fields: Any) -> list[Seg]:
        """A segment without the option."""
        return super().send(*fields)


def echoes(segments: list[Seg]) -> list[int]:
    return [(stamp_of(s)[1] - FIRST) % (1 << 32) for s in segments]


@pytest.fixture
def peer(impl: Any) -> Stamped:
    stack = make_stack(0)
    stack.listen(80)
    return Stamped(stack)


def received(peer: Peer, slot: int) -> bytes:
    return bytes(peer.stack.readable(slot))


@given(value=st.integers(0, 2**32 - 1), echo=st.integers(0, 2**32 - 1))
def test_option_round_trip(impl: Any, value: int, echo: int) -> None:
    out = static(u8, 12)
    assert impl.emit_stamp(out, value, echo) == 12
    assert bytes(out) == stamp(value, echo)
    found = impl.parse_stamp(out)
    assert (found.value, found.echo) == (value, echo)
    assert impl.parse_stamp(out[:11]) is None
    out[3] = 9
    assert impl.parse_stamp(out) is None


def test_syn_ack_has_it_only_if_the_syn_had(impl: Any) -> None:
    stack = make_stack(0)
    stack.listen(80)
    [plain] = Peer(stack).send(SYN, options=MSS + SACK)
    assert b"\x08\x0a" not in plain.options
    peer = Stamped(stack, port=5001)
    [full] = peer.send(SYN, options=MSS)
    assert full.options[:4] == MSS
    assert stamp_of(full)[1] == FIRST
    [again] = peer.at(9, SYN, options=MSS)  # The SYN once more: its newest time is echoed.
    assert echoes([again]) == [9]


def test_every_segment_has_it_and_room_for_it(peer: Stamped) -> None:
    slot = peer.open(MSS)
    assert peer.stack.send(slot, bytes(3000)) == 3000
    segments = peer.answers()
    assert [len(s.data) for s in segments] == [1448, 1448, 104]
    peer.send(ACK, 1, 3001)
    segments += peer.send(ACK, 1, 3001, b"a" * 100) + peer.send(ACK, 101, 3001, b"b" * 100)
    segments += peer.wait(76_000)  # Keep-alive probes.
    peer.stack.close(slot)
    segments += peer.answers()
    segments += peer.send(FIN | ACK, 201, 3002)
    assert peer.stack.tcp.table.time_wait_flows.count == 1
    segments += peer.send(FIN | ACK, 201, 3002)  # TIME_WAIT answers.
    assert {s.flags & ~PSH for s in segments} == {ACK, FIN | ACK}
    assert echoes(segments) == [0] * len(segments)
    values = [stamp_of(s)[0] for s in segments]
    assert all((b - a) % (1 << 32) < 1 << 31 for a, b in pairwise(values))
    assert (values[-1] - values[0]) % (1 << 32) == pytest.approx(76_000, abs=2)


def test_what_is_echoed(peer: Stamped) -> None:
    """The two examples of RFC 7323 section 4.3."""
    peer.open(MSS + SACK)
    a, b, c, d, e = (1 + 10 * i for i in range(5))
    data = bytes(10)
    assert peer.at(1, ACK, a, 1, data) == []
    assert echoes(peer.at(2, ACK, b, 1, data)) == [1]  # Delayed: the earliest.
    base = 20
    assert peer.at(3, ACK, base + a, 1, data) == []
    assert echoes(peer.wait(41)) == [3]
    assert echoes(peer.at(5, ACK, base + c, 1, data)) == [3]  # A hole: as before.
    assert echoes(peer.at(4, ACK, base + b, 1, data)) == [4]  # It is filled, by this.
    assert echoes(peer.at(7, ACK, base + e, 1, data)) == [4]
    assert echoes(peer.at(6, ACK, base + d, 1, data)) == [6]


def test_old_segments_are_refused(peer: Stamped) -> None:
    slot = peer.open(MSS)
    peer.at(20, ACK | PSH, 1, 1, b"new")
    peer.wait(41)
    table = peer.stack.tcp.table
    assert brief(peer.at(19, ACK | PSH, 4, 1, b"OLD")) == [(ACK, 1, 4, 0)]
    assert brief(peer.at(19, ACK, 4, 1)) == [(ACK, 1, 4, 0)]
    assert peer.at(19, ACK, 4, 1) == []  # Answers to no data are limited.
    assert table.counters.old_segments == 3
    assert received(peer, slot) == b"new"
    peer.at(20, ACK | PSH, 4, 1, b"er")
    assert received(peer, slot) == b"newer"
    assert peer.at(-5, RST, 6, 0) == []  # RST is judged by its number only.
    assert peer.stack.is_dead(slot)


def test_segments_without_the_option(peer: Stamped) -> None:
    """Section 3.2: dropped in silence, but for RST."""
    slot = peer.open(MSS)
    assert peer.bare(ACK | PSH, 1, 1, b"data") == []
    assert received(peer, slot) == b""
    assert peer.bare(RST, 1) == []
    assert peer.stack.is_dead(slot)


def test_clock_of_a_silent_peer(impl: Any) -> None:
    stamps = impl.Stamps.zeroed()
    stamps.start(5)
    stamps.agree(1000, 0)
    assert stamps.is_old(999, STAMP_LIFETIME - 1)
    assert not stamps.is_old(1000, 0)
    assert not stamps.is_old(999, STAMP_LIFETIME)
    assert stamps.clock(7 * MILLISECOND) == 12
    for echo, sent_ms, expected_ms in ((2, 0, 0), (5, 0, 7), (5, 1, 0), (12, 7, 1), (13, 7, 0)):
        stamps.echo = echo
        found = stamps.round_trip(sent_ms * MILLISECOND, 7 * MILLISECOND)
        assert found == expected_ms * MILLISECOND


def test_round_trip_of_what_was_sent_twice(peer: Stamped) -> None:
    """Karn's algorithm takes no sample there; the echo does."""
    slot = peer.open(MSS)
    connection = peer.stack.tcp.table.connections[slot]
    peer.stack.send(slot, b"lost")
    [first] = peer.answers()
    [second] = peer.wait(1001)
    assert (first.data, second.data) == (b"lost", b"lost")
    peer.now += 50 * MILLISECOND
    peer.echo = stamp_of(second)[0]
    assert peer.send(ACK, 1, 5) == []
    assert 49 * MILLISECOND <= connection.rtt.srtt <= 52 * MILLISECOND


def test_an_answer_to_the_first_copy_is_no_sample(peer: Stamped) -> None:
    """Its ACK may have been lost, and this be the answer to the second copy."""
    slot = peer.open(MSS)
    connection = peer.stack.tcp.table.connections[slot]
    peer.stack.send(slot, b"lost")
    [first] = peer.answers()
    peer.wait(1001)
    peer.echo = stamp_of(first)[0]
    assert peer.send(ACK, 1, 5) == []
    assert connection.rtt.srtt == 0


def test_three_sack_blocks_beside_it(peer: Stamped) -> None:
    peer.open(MSS + SACK)
    for i in range(4):
        [answer] = peer.send(ACK, 11 + 20 * i, 1, bytes(5))
    assert len(answer.options) == 40
    assert answer.options[12:16] == bytes([1, 1, 5, 26])
    start, end = struct.unpack(">II", answer.options[16:24])
    assert (start - peer.isn, end - peer.isn) == (71, 76)


def test_clocks_tell_nothing_of_each_other(impl: Any) -> None:
    stack = make_stack(0)
    stack.listen(80)
    offsets = []
    for port in (5001, 5002, 5001):
        peer = Stamped(stack, port=port)
        [syn_ack] = peer.send(SYN, options=MSS)
        offsets.append((stamp_of(syn_ack)[0] - peer.now // MILLISECOND) % (1 << 32))
        peer.their_isn = syn_ack.seq
        peer.send(RST, 1, 1)
    assert offsets[0] == offsets[2] != offsets[1]


@pytest.mark.parametrize("stamped", [True, False])
def test_active_open(peer: Stamped, stamped: bool) -> None:
    slot = peer.stack.connect(0x0A00_0002, 5000)
    [syn] = peer.answers()
    assert stamp_of(syn)[1] == 0
    peer.to, peer.their_isn, peer.echo = syn.source_port, syn.seq, stamp_of(syn)[0]
    peer.stamped = stamped
    [answer] = peer.send(SYN | ACK, 0, 1, options=MSS)
    assert (len(answer.options) == 12) == stamped
    peer.stack.send(slot, bytes(2000))
    assert len(peer.answers()[0].data) == (1448 if stamped else 1460)


def test_time_wait_ends_by_time(peer: Stamped) -> None:
    """RFC 6191: a SYN from later is new whatever its number, one from before is not."""
    slot = peer.open(MSS)
    peer.stack.close(slot)
    peer.answers()
    peer.at(3, FIN | ACK, 1, 2)
    table = peer.stack.tcp.table
    [answer] = peer.at(2, SYN, 9999)
    assert (answer.flags, table.time_wait_flows.count) == (ACK, 1)
    [answer] = peer.at(4, SYN, -9999)
    assert (answer.flags, table.time_wait_flows.count) == (SYN | ACK, 0)


def test_two_stacks_agree_on_it(impl: Any) -> None:
    simulation = Simulation(Wire(loss=0.02, duplicate=0.1, reorder=0.1), [Flow(bytes(60_000))], 3)
    for _ in range(60):
        simulation.step()
    for stack in simulation.stacks:
        assert [c.stamps.on for c in stack.tcp.table.connections].count(True) == 1
        assert stack.tcp.table.counters.old_segments == 0
