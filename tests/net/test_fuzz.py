"""No byte sequence makes a parser or the stack trap, and what is emitted parses back."""

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bare import static, u8
from bare.testing import implementations
from tests.net.peer import (
    ACK,
    FIN,
    OUR_MAC,
    PEER,
    RST,
    SYN,
    US,
    Peer,
    arp,
    ethernet,
    frames_of,
    icmp,
    ipv4,
    udp,
)
from tests.sim.network import make_stack

impl = implementations(
    "merlion.net.stack",
    "merlion.net.arp",
    "merlion.net.icmp",
    "merlion.net.tcp_header",
    "merlion.net.dhcp_message",
)
relaxed = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(st.binary(max_size=120))
@relaxed
def test_parsers_never_trap(impl: Any, data: bytes) -> None:
    from merlion.net import arp, dhcp_message, icmp, ipv4, tcp_header, udp

    arp.parse(data)
    icmp.parse(data)
    icmp.parse_tcp_error(data)
    ipv4.parse(data)
    udp.parse(PEER, US, data)
    dhcp_message.parse(data)
    dhcp_message.find_option(data, 53)
    tcp_header.find_option(data, 5)
    tcp_header.parse_syn_options(data)
    segment = tcp_header.parse(data)
    if segment is not None:
        assert len(segment.payload) + len(segment.options) + 20 == len(data)


@given(st.binary(max_size=300))
@relaxed
def test_dhcp_options_never_trap(impl: Any, tail: bytes) -> None:
    from merlion.net import dhcp_message

    head = bytes([2, 1, 6, 0]) + bytes(232) + b"\x63\x82\x53\x63"
    dhcp_message.parse(head + tail)


@given(
    st.integers(64, 1460),
    st.integers(0, 14),
    st.booleans(),
    st.booleans(),
)
@relaxed
def test_syn_options_round_trip(impl: Any, mss: int, scale: int, scaling: bool, sack: bool) -> None:
    from merlion.net import tcp_header

    out = static(u8, 40)
    n = tcp_header.emit_syn_options(out, mss, scale, scaling, sack)
    assert n % 4 == 0
    options = tcp_header.parse_syn_options(out[:n])
    assert options.mss == mss
    assert options.scaling == scaling
    assert options.sack == sack
    assert options.window_scale == (scale if scaling else 0)


@given(st.binary(max_size=200), st.sampled_from([0x0800, 0x0806, 0x86DD]))
@relaxed
def test_stack_survives_any_frame(impl: Any, body: bytes, kind: int) -> None:
    stack = make_stack(0, connections=1, receive_bytes=512, transmit_bytes=512)
    stack.receive(body, 1)
    stack.receive(ethernet(body, kind), 2)
    stack.receive(ethernet(ipv4(6, body)), 3)
    stack.receive(ethernet(ipv4(17, body)), 4)
    stack.receive(ethernet(ipv4(1, body)), 5)
    stack.receive(ethernet(icmp(3, 4, body)), 6)
    stack.receive(ethernet(udp(67, 68, body)), 7)
    frames_of(stack, 8)


def mutate(frame: bytes, rng: random.Random) -> bytes:
    changed = bytearray(frame)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(14, len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(14, len(changed) + 1)])


def test_stack_survives_damaged_conversations(impl: Any) -> None:
    """Valid checksums, senseless numbers: the state machine holds in whatever order."""
    for seed in range(12):
        rng = random.Random(seed)
        stack = make_stack(0, connections=2, receive_bytes=512, transmit_bytes=512)
        stack.listen(80)
        peer = Peer(stack)
        stamped = seed % 2 == 1
        options = b"\2\4\5\xb4\1\1\4\2" + b"\1\1\x08\x0a\0\0\1\0\0\0\0\0" * stamped
        [syn_ack] = peer.send(SYN, options=options)
        peer.their_isn = syn_ack.seq
        taken: list[int] = []
        for _ in range(150):
            flags = rng.choice((ACK, ACK, ACK, ACK | FIN, SYN, RST, SYN | ACK, 0, ACK | SYN | FIN))
            if flags == RST and rng.random() < 0.8:
                flags = ACK
            seq = rng.choice((0, 1, 2, 5, 100, 500, 513, 2**31, -1, rng.getrandbits(32)))
            ack = rng.choice((1, 1, 2, 10, 400, -1, rng.getrandbits(32)))
            data = bytes(rng.choice((0, 0, 1, 100, 512, 600)))
            window = rng.choice((0, 1, 100, 65535))
            options = b"\1\1\x08\x0a" + bytes((0, 0, rng.choice((1, 1, 0)))) + rng.randbytes(5)
            peer.send(flags, seq, ack, data, window=window, options=options * stamped)
            if rng.random() < 0.3:
                peer.wait(rng.choice((1, 50, 3000)))
            slot = stack.accept()
            if slot is not None:
                taken.append(slot)
            for slot in list(taken):
                use(stack, slot, rng, taken)
            if rng.random() < 0.1:
                Peer(stack, port=rng.randrange(5000, 5004)).send(SYN)
            stack.receive(mutate(arp(1, PEER, US), rng), peer.now)
            stack.receive(arp(1, PEER, US), peer.now)
        peer.wait(300_000)
        for slot in taken:
            stack.release(slot)


def use(stack: Any, slot: int, rng: random.Random, taken: list[int]) -> None:
    """The application does something, too."""
    act = rng.randrange(12)
    if act == 0:
        stack.send(slot, bytes(rng.randrange(600)))
    elif act == 1:
        stack.consume(slot, rng.randrange(len(stack.readable(slot)) + 1))
    elif act == 2 and rng.random() < 0.2:
        stack.close(slot)
    elif act == 3 and rng.random() < 0.1:
        stack.abort(slot)
    elif act == 4 and rng.random() < 0.2:
        stack.release(slot)
        taken.remove(slot)


def test_dhcp_answers_are_fuzzed(impl: Any) -> None:
    rng = random.Random(9)
    stack = make_stack(0, connections=1, receive_bytes=512, transmit_bytes=512)
    stack.configure_dhcp(OUR_MAC, 1)
    for i in range(200):
        frames_of(stack, i)
        body = bytes([2, 1, 6, 0]) + stack.dhcp.transaction.to_bytes(4) + bytes(8)
        body += rng.randbytes(4) + bytes(8) + OUR_MAC.to_bytes(6) + bytes(202)
        body += b"\x63\x82\x53\x63" + bytes([53, 1, rng.choice((2, 5, 6))])
        for code in (1, 3, 6, 51, 54, 58, 59):
            value = rng.choice((bytes(4), b"\xff" * 4, rng.randbytes(4), b"", rng.randbytes(2)))
            body += bytes([code, len(value)]) + value
        stack.receive(ethernet(udp(67, 68, body, to=0xFFFF_FFFF)), i)
        stack.poll(i + rng.choice((0, 10**9, 10**12)))
        stack.next_deadline()
