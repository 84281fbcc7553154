"""LISTEN, the passive SYN_RECEIVED and TIME_WAIT: the states that hold no buffers.

RFC 9293 sections 3.10.7.2 and 3.10.7.4, RFC 4987 (bounded SYN queue), RFC 5961 (challenge ACKs),
RFC 6191 (reuse of TIME_WAIT), RFC 7323 (timestamps), RFC 1337 (RST does not end TIME_WAIT).
"""

from bare import u16, u32, u64, wrap
from merlion.net.limits import (
    CHALLENGE_INTERVAL,
    KEEPALIVE_IDLE,
    NO_SLOT,
    RTO_INITIAL,
    SYN_RETRIES,
    TIME_WAIT_TIME,
)
from merlion.net.sequence import in_window, seq_add, seq_lt
from merlion.net.tcp_connection import Connection, State
from merlion.net.tcp_header import Flags, Segment, parse_stamp, parse_syn_options
from merlion.net.tcp_table import HalfOpen, TcpTable, TimeWait


def receive_listen(tcp: TcpTable, address: u32, segment: Segment, now_ns: u64) -> None:
    """A segment for a listening port that no connection claims."""
    if segment.flags & Flags.RST:
        return
    if segment.flags & Flags.ACK:
        tcp.refuse(address, segment, now_ns)
        return
    if segment.flags & (Flags.SYN | Flags.FIN) != Flags.SYN:
        return  # SYN with FIN only comes from scanners.
    local = segment.destination_port
    iss = tcp.initial_sequence(address, segment.source_port, local, now_ns)
    open_half(tcp, address, segment, iss, now_ns)


def open_half(tcp: TcpTable, address: u32, segment: Segment, iss: u32, now_ns: u64) -> None:
    """Queue a half-open connection and answer SYN-ACK. When full, the oldest makes room."""
    if tcp.half_open_flows.free == NO_SLOT:
        tcp.counters.syn_overflows += 1
        oldest = tcp.half_open_timers.pop_expired((1 << 63) - 2)
        tcp.half_open_flows.remove(oldest)
    slot = tcp.half_open_flows.insert(address, segment.source_port, segment.destination_port)
    options = parse_syn_options(segment.options)
    half = tcp.half_open[slot]
    half.address = address
    half.remote_port = segment.source_port
    half.local_port = segment.destination_port
    half.iss = iss
    half.irs = segment.sequence
    half.mss = options.mss
    half.scale = options.window_scale
    half.scaling = options.scaling
    half.sack = options.sack
    half.stamps.start(tcp.stamp_offset(address, half.remote_port, half.local_port))
    stamp = options.stamp
    if stamp is not None:
        half.stamps.agree(stamp.value, now_ns)
    half.window = segment.window
    half.retries = 0
    half.challenged_at = 0
    tcp.half_open_timers.arm(slot, now_ns + RTO_INITIAL)
    send_syn_ack(tcp, half, now_ns)


def send_syn_ack(tcp: TcpTable, half: HalfOpen, now_ns: u64) -> None:
    """Queue the SYN-ACK; when the queue is full the timer repeats it."""
    reply = tcp.new_reply(half.address, half.remote_port, half.local_port)
    if reply is None:
        return
    reply.sequence = half.iss
    reply.acknowledgment = seq_add(half.irs, 1)
    reply.flags = Flags.SYN | Flags.ACK
    reply.window = initial_window(tcp)
    reply.scale = tcp.receive_scale
    reply.scaling = half.scaling
    reply.sack = half.sack
    reply.put_stamp(half.stamps, now_ns)


def initial_window(tcp: TcpTable) -> u16:
    """The unscaled window of a SYN."""
    return u16(min(len(tcp.connections[0].rx.storage), 0xFFFF))


def challenge_half(tcp: TcpTable, half: HalfOpen, now_ns: u64) -> None:
    """A challenge ACK for a half-open connection, rate limited."""
    if half.challenged_at != 0 and now_ns < half.challenged_at + CHALLENGE_INTERVAL:
        return
    half.challenged_at = now_ns
    reply = tcp.new_reply(half.address, half.remote_port, half.local_port)
    if reply is None:
        return
    tcp.counters.challenge_acks += 1
    reply.sequence = seq_add(half.iss, 1)
    reply.acknowledgment = seq_add(half.irs, 1)
    reply.flags = Flags.ACK
    reply.window = initial_window(tcp)
    reply.put_stamp(half.stamps, now_ns)


def drop_half(tcp: TcpTable, slot: u32) -> None:
    """Forget a half-open connection."""
    tcp.half_open_timers.disarm(slot)
    tcp.half_open_flows.remove(slot)


def receive_half_open(tcp: TcpTable, slot: u32, segment: Segment, now_ns: u64) -> Connection | None:
    """A segment for a half-open connection. A Connection when this completes the handshake."""
    half = tcp.half_open[slot]
    expected = seq_add(half.irs, 1)
    inside = in_window(segment.sequence, expected, initial_window(tcp))
    if segment.flags & Flags.RST:
        if segment.sequence == expected:
            tcp.counters.resets_in += 1
            drop_half(tcp, slot)
        elif inside:
            challenge_half(tcp, half, now_ns)
        return None
    if segment.flags & Flags.SYN:
        if segment.sequence == half.irs and not segment.flags & Flags.ACK:
            stamp = parse_stamp(segment.options)
            if half.stamps.on and stamp is not None:
                half.stamps.agree(stamp.value, now_ns)
            send_syn_ack(tcp, half, now_ns)  # The peer repeats its SYN: ours was lost.
        else:
            challenge_half(tcp, half, now_ns)
        return None
    if not segment.flags & Flags.ACK:
        return None
    if segment.acknowledgment != seq_add(half.iss, 1):
        tcp.refuse(half.address, segment, now_ns)
        return None
    if not inside:
        challenge_half(tcp, half, now_ns)
        return None
    return establish(tcp, slot, half, segment, now_ns)


def establish(
    tcp: TcpTable, slot: u32, half: HalfOpen, segment: Segment, now_ns: u64
) -> Connection | None:
    """Turn a half-open connection into an established one in the accept queue.

    Without room the ACK is ignored: the peer's data is repeated until there is some.
    """
    if tcp.accepted.count == len(tcp.accepted.storage):
        tcp.counters.accept_overflows += 1
        return None
    connection = tcp.open(half.address, half.remote_port, half.local_port, now_ns)
    if connection is None:
        tcp.counters.accept_overflows += 1
        return None
    connection.syn_lost = half.retries > 0
    connection.stamps.assign(half.stamps)
    tcp.start_sending(connection, half.iss, half.mss)
    connection.snd_una = seq_add(half.iss, 1)
    connection.snd_nxt = connection.snd_una
    connection.snd_max = connection.snd_una
    tcp.start_receiving(connection, half.irs)
    connection.rcv_advertised = seq_add(connection.rcv_nxt, initial_window(tcp))
    connection.scaling = half.scaling
    connection.snd_scale = half.scale if half.scaling else 0
    connection.rcv_scale = tcp.receive_scale if half.scaling else 0
    connection.sack = half.sack
    connection.snd_wnd = u32(segment.window) << connection.snd_scale
    connection.snd_wnd_max = connection.snd_wnd
    connection.snd_wl1 = segment.sequence
    connection.snd_wl2 = segment.acknowledgment
    connection.state = State.ESTABLISHED
    connection.keepalive_at = now_ns + KEEPALIVE_IDLE
    tcp.counters.opened += 1
    drop_half(tcp, slot)
    tcp.accepted.push(connection.slot)
    return connection


def receive_time_wait(tcp: TcpTable, slot: u32, segment: Segment, now_ns: u64) -> bool:
    """A segment for a TIME_WAIT. True when it is a SYN that may start the flow anew."""
    wait = tcp.time_waits[slot]
    if segment.flags & Flags.RST:
        return False
    opening = segment.flags & (Flags.SYN | Flags.ACK) == Flags.SYN
    if opening and is_newer(wait, segment) and tcp.is_listening(wait.local_port):
        return True
    if segment.flags & Flags.FIN:
        tcp.time_wait_timers.arm(slot, now_ns + TIME_WAIT_TIME)
    elif segment.length == 0 and segment.sequence == wait.rcv_nxt:
        return False  # A plain late ACK needs no answer.
    reply = tcp.new_reply(wait.address, wait.remote_port, wait.local_port)
    if reply is not None:
        reply.sequence = wait.snd_nxt
        reply.acknowledgment = wait.rcv_nxt
        reply.flags = Flags.ACK
        reply.put_stamp(wait.stamps, now_ns)
    return False


def is_newer(wait: TimeWait, segment: Segment) -> bool:
    """Whether a SYN is from after the flow in TIME_WAIT, by its time or its number (RFC 6191)."""
    stamp = parse_stamp(segment.options)
    if wait.stamps.on and stamp is not None and stamp.value != wait.stamps.recent:
        return seq_lt(wait.stamps.recent, stamp.value)
    return seq_lt(wait.rcv_nxt, segment.sequence)


def reuse_time_wait(tcp: TcpTable, slot: u32, segment: Segment, now_ns: u64) -> None:
    """Start a new connection over a TIME_WAIT, beyond every sequence number of the old one."""
    wait = tcp.time_waits[slot]
    address = wait.address
    floor = wrap(u32, wait.snd_nxt + 0x10000)
    tcp.time_wait_timers.disarm(slot)
    tcp.time_wait_flows.remove(slot)
    iss = tcp.initial_sequence(address, segment.source_port, segment.destination_port, now_ns)
    if seq_lt(iss, floor):
        iss = floor
    open_half(tcp, address, segment, iss, now_ns)


def poll_passive(tcp: TcpTable, now_ns: u64) -> None:
    """Repeat SYN-ACKs that were not answered and end TIME_WAITs."""
    while True:
        slot = tcp.half_open_timers.pop_expired(now_ns)
        if slot == NO_SLOT:
            break
        half = tcp.half_open[slot]
        half.retries += 1
        if half.retries > SYN_RETRIES:
            tcp.counters.failed += 1
            tcp.half_open_flows.remove(slot)
            continue
        tcp.half_open_timers.arm(slot, now_ns + (RTO_INITIAL << half.retries))
        send_syn_ack(tcp, half, now_ns)
    while True:
        slot = tcp.time_wait_timers.pop_expired(now_ns)
        if slot == NO_SLOT:
            break
        tcp.time_wait_flows.remove(slot)
