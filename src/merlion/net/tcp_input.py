"""A segment arrives for a Connection: RFC 9293 section 3.10.7.3 and 3.10.7.4, step by step.

Each step returns False when the segment is finished with. RST and SYN are judged as RFC 5961 says.
"""

from bare import Bytes, u32, u64, usize, wrap
from merlion.net.limits import (
    DELAYED_ACK,
    KEEPALIVE_IDLE,
    NEVER,
    ORPHAN_TIMEOUT,
    RTO_SYN_LOST,
    STAMP_BYTES,
)
from merlion.net.sequence import seq_add, seq_diff, seq_le, seq_lt
from merlion.net.tcp_acceptable import acceptance_window, challenge, is_acceptable
from merlion.net.tcp_connection import CloseReason, Connection, State
from merlion.net.tcp_header import (
    Flags,
    Option,
    SackBlock,
    Segment,
    find_option,
    parse_syn_options,
)
from merlion.net.tcp_table import TcpTable
from merlion.net.tcp_tail import check_tail, restart_retransmit


def receive_connection(
    tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64
) -> None:
    """Process one segment of a connection that is not CLOSED."""
    if connection.state == State.SYN_SENT:
        receive_syn_sent(tcp, connection, segment, now_ns)
    else:
        receive_synchronized(tcp, connection, segment, now_ns)
    if connection.state != State.CLOSED:
        tcp.wake(connection)
        tcp.rearm(connection)


def receive_synchronized(
    tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64
) -> None:
    """RFC 9293 section 3.10.7.4."""
    if not is_acceptable(tcp, connection, segment, now_ns):
        return
    if segment.flags & Flags.SYN:
        challenge(tcp, connection, now_ns)
        return
    if not segment.flags & Flags.ACK:
        return
    if not check_ack(tcp, connection, segment, now_ns):
        return
    connection.heard_at = now_ns
    connection.keepalives = 0
    if connection.keepalive_at != NEVER:
        connection.keepalive_at = now_ns + KEEPALIVE_IDLE
    if not process_ack(tcp, connection, segment, now_ns):
        return
    if len(segment.payload) > 0 and not receive_data(tcp, connection, segment, now_ns):
        return
    if segment.flags & Flags.FIN and not connection.fin_known:
        connection.fin_known = True
        connection.fin_sequence = seq_add(segment.sequence, len(segment.payload))
    if connection.fin_known and not connection.fin_received:
        receive_fin(tcp, connection, now_ns)


def check_ack(tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64) -> bool:
    """The acknowledgment is believable (RFC 5961 section 5)."""
    ack = segment.acknowledgment
    if connection.state == State.SYN_RECEIVED:
        if seq_le(ack, connection.snd_una) or seq_lt(connection.snd_max, ack):
            tcp.refuse(connection.address, segment, now_ns)
            return False
        enter_established(tcp, connection, segment, now_ns)
        return True
    oldest = wrap(u32, connection.snd_una - max(connection.snd_wnd_max, 0xFFFF))
    if seq_lt(connection.snd_max, ack) or seq_lt(ack, oldest):
        challenge(tcp, connection, now_ns)
        return False
    return True


def enter_established(tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64) -> None:
    """The SYNs of an active or simultaneous open have crossed."""
    connection.state = State.ESTABLISHED
    if connection.fin_queued:
        connection.state = State.FIN_WAIT_1
    scale = 0 if segment.flags & Flags.SYN else connection.snd_scale
    connection.snd_wnd = u32(segment.window) << scale
    connection.snd_wnd_max = max(connection.snd_wnd_max, connection.snd_wnd)
    connection.snd_wl1 = segment.sequence
    connection.snd_wl2 = segment.acknowledgment
    connection.congestion.start(connection.mss, connection.iss, connection.syn_lost)
    connection.keepalive_at = now_ns + KEEPALIVE_IDLE
    tcp.counters.opened += 1


def process_ack(tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64) -> bool:
    """Retire what is acknowledged, keep the congestion state, take the window."""
    ack = segment.acknowledgment
    if connection.sack and connection.outstanding():
        take_sack(connection, segment.options)
    if seq_lt(connection.snd_una, ack):
        retire(connection, ack, now_ns)
    elif ack == connection.snd_una and is_duplicate(connection, segment):
        on_duplicate(tcp, connection)
    if connection.tail_probed:
        check_tail(tcp, connection)
    update_window(connection, segment, now_ns)
    if not connection.fin_sent() or connection.outstanding():
        return True
    if connection.state == State.FIN_WAIT_1:
        connection.state = State.FIN_WAIT_2
        if connection.orphan:
            connection.linger_at = now_ns + ORPHAN_TIMEOUT
    elif connection.state == State.CLOSING:
        tcp.enter_time_wait(connection, now_ns)
        return False
    elif connection.state == State.LAST_ACK:
        tcp.shut(connection, CloseReason.FINISHED)
        return False
    return True


def is_duplicate(connection: Connection, segment: Segment) -> bool:
    """RFC 5681 section 2: an ACK that says only that something arrived out of order."""
    if not connection.outstanding() or segment.length != 0:
        return False
    return u32(segment.window) << connection.snd_scale == connection.snd_wnd


def take_sack(connection: Connection, options: Bytes) -> None:
    """Remember the ranges that the peer holds (RFC 2018); senseless ones are ignored."""
    blocks = find_option(options, Option.SACK)
    at = 0
    while at + 8 <= len(blocks):
        block = SackBlock.view(blocks[at : at + 8])
        if block is None:
            return
        at += 8
        start = block.start
        end = block.end
        if seq_lt(start, connection.snd_una) or not seq_lt(start, end):
            continue
        if seq_lt(connection.snd_max, end):
            continue
        connection.sacked.add(start, end)


def retire(connection: Connection, ack: u32, now_ns: u64) -> None:
    """SND.UNA advances to `ack`."""
    acknowledged = seq_diff(ack, connection.snd_una)
    flight = seq_diff(connection.snd_max, connection.snd_una)
    limited = 2 * flight >= connection.congestion.cwnd
    connection.rtt.settle()  # Progress ends the backoff.
    connection.rtt.on_ack(ack, now_ns)
    if connection.stamps.on and connection.rtt.resent_at != NEVER:
        round_trip = connection.stamps.round_trip(connection.rtt.resent_at, now_ns)
        if round_trip != 0:
            connection.rtt.sample(round_trip)
    if seq_lt(connection.tx_sequence, ack):
        # SYN and FIN take sequence numbers but no bytes.
        bytes = min(usize(seq_diff(ack, connection.tx_sequence)), connection.tx.count)
        connection.tx.consume(bytes)
        connection.tx_sequence = seq_add(connection.tx_sequence, bytes)
    connection.snd_una = ack
    if seq_lt(connection.snd_nxt, ack):
        connection.snd_nxt = ack
    if seq_lt(connection.rexmit_high, ack):
        connection.rexmit_high = ack
    if seq_lt(connection.lost_below, ack):
        connection.lost_below = ack
    connection.sacked.trim(ack)
    connection.tail_probed = False
    restart_timer = True
    congestion = connection.congestion
    if congestion.recovering:
        left = seq_diff(connection.snd_max, ack)
        if congestion.on_recovery_ack(ack, acknowledged, left, connection.sack):
            connection.retransmit_now = not connection.sack
            restart_timer = not congestion.partial_seen  # RFC 6582: only the first restarts it.
            congestion.partial_seen = True
    else:
        congestion.on_progress(acknowledged, limited)
    connection.retries = 0
    connection.persisting = False
    connection.stalled_since = now_ns if connection.outstanding() else NEVER
    if not connection.outstanding():
        connection.retransmit_at = NEVER
        connection.retransmit_now = False
    elif restart_timer:
        restart_retransmit(connection, now_ns)


def on_duplicate(tcp: TcpTable, connection: Connection) -> None:
    """Count a duplicate ACK; the third starts fast retransmit."""
    flight = connection.flight()
    congestion = connection.congestion
    started = congestion.on_duplicate(
        connection.snd_una, connection.snd_max, flight, connection.sack
    )
    if started:
        tcp.counters.fast_retransmits += 1
        connection.retransmit_now = True
        connection.rexmit_high = connection.snd_una


def update_window(connection: Connection, segment: Segment, now_ns: u64) -> None:
    """Take SND.WND from the newest segment; an opened window ends probing."""
    newer = seq_lt(connection.snd_wl1, segment.sequence) or (
        connection.snd_wl1 == segment.sequence
        and seq_le(connection.snd_wl2, segment.acknowledgment)
    )
    if not newer:
        return
    scale = 0 if segment.flags & Flags.SYN else connection.snd_scale
    connection.snd_wnd = u32(segment.window) << scale
    connection.snd_wnd_max = max(connection.snd_wnd_max, connection.snd_wnd)
    connection.snd_wl1 = segment.sequence
    connection.snd_wl2 = segment.acknowledgment
    if connection.persisting:
        # A probe was answered: the peer lives, however small its window stays.
        connection.stalled_since = NEVER
        if connection.snd_wnd > 0:
            connection.persisting = False
            connection.retries = 0
            connection.rtt.settle()
            connection.retransmit_at = NEVER
            if connection.outstanding():
                connection.retransmit_at = now_ns + connection.rtt.rto


def receive_data(tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64) -> bool:
    """Store the payload in the receive ring, at its place, and schedule the ACK."""
    if connection.orphan:
        # Nobody will read it: say so (RFC 1122 section 4.2.2.13).
        tcp.reset(connection, CloseReason.ABORTED)
        return False
    if connection.fin_received or connection.state not in (
        State.ESTABLISHED,
        State.FIN_WAIT_1,
        State.FIN_WAIT_2,
    ):
        connection.ack_now = True
        return True
    payload = segment.payload
    start = segment.sequence
    if seq_lt(start, connection.rcv_nxt):
        known = usize(seq_diff(connection.rcv_nxt, start))
        if known >= len(payload):
            connection.ack_now = True
            return True
        payload = payload[known:]
        start = connection.rcv_nxt
    offset = usize(seq_diff(start, connection.rcv_nxt))
    room = usize(acceptance_window(connection))
    if offset >= room:
        connection.ack_now = True
        return True
    payload = payload[: min(len(payload), room - offset)]
    if offset == 0:
        receive_in_order(connection, payload, now_ns)
    else:
        receive_out_of_order(tcp, connection, payload, start, offset)
    return True


def receive_in_order(connection: Connection, payload: Bytes, now_ns: u64) -> None:
    """The next bytes came, and perhaps they close a hole."""
    n = len(payload)
    connection.rx.place(0, payload)
    connection.rx.extend(n)
    connection.rcv_nxt = seq_add(connection.rcv_nxt, n)
    missing = connection.missing
    if missing.count > 0:
        connection.ack_now = True  # RFC 5681 section 4.2: at once when a hole fills.
        missing.trim(connection.rcv_nxt)
        if missing.count > 0 and missing.start[0] == connection.rcv_nxt:
            end = missing.end[0]
            connection.rx.extend(usize(seq_diff(end, connection.rcv_nxt)))
            connection.rcv_nxt = end
            missing.trim(end)
    connection.unacknowledged = min(connection.unacknowledged + 1, 255)
    if connection.unacknowledged >= 2:
        connection.ack_now = True
    elif connection.ack_at == NEVER:
        connection.ack_at = now_ns + DELAYED_ACK


def receive_out_of_order(
    tcp: TcpTable, connection: Connection, payload: Bytes, start: u32, offset: usize
) -> None:
    """Bytes past a hole: keep them if there is a range left to remember them by."""
    tcp.counters.out_of_order += 1
    connection.ack_now = True
    if connection.missing.add(start, seq_add(start, len(payload))):
        connection.rx.place(offset, payload)
        connection.recent = start


def receive_fin(tcp: TcpTable, connection: Connection, now_ns: u64) -> None:
    """The peer's FIN counts once everything before it is here."""
    if connection.fin_sequence != connection.rcv_nxt:
        if seq_lt(connection.fin_sequence, connection.rcv_nxt):
            connection.fin_known = False  # It contradicts what came later: not believable.
        return
    connection.fin_received = True
    connection.rcv_nxt = seq_add(connection.rcv_nxt, 1)
    connection.ack_now = True
    if connection.state == State.ESTABLISHED:
        connection.state = State.CLOSE_WAIT
    elif connection.state == State.FIN_WAIT_1:
        connection.state = State.CLOSING
    elif connection.state == State.FIN_WAIT_2:
        tcp.enter_time_wait(connection, now_ns)


def receive_syn_sent(tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64) -> None:
    """RFC 9293 section 3.10.7.3."""
    acknowledges = False
    if segment.flags & Flags.ACK:
        ack = segment.acknowledgment
        if seq_le(ack, connection.iss) or seq_lt(connection.snd_max, ack):
            tcp.refuse(connection.address, segment, now_ns)
            return
        acknowledges = True
    if segment.flags & Flags.RST:
        if acknowledges:
            tcp.counters.resets_in += 1
            tcp.shut(connection, CloseReason.REFUSED)
        return
    if not segment.flags & Flags.SYN:
        return
    take_syn(tcp, connection, segment, now_ns)
    connection.heard_at = now_ns
    if acknowledges:
        retire(connection, segment.acknowledgment, now_ns)
        enter_established(tcp, connection, segment, now_ns)
        if connection.syn_lost and connection.rtt.srtt == 0:
            connection.rtt.rto = RTO_SYN_LOST
    else:
        connection.state = State.SYN_RECEIVED
        connection.snd_nxt = connection.iss  # Send the SYN again, now with an ACK.
        connection.retransmit_at = NEVER
    connection.ack_now = True


def take_syn(tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64) -> None:
    """Learn the peer's options and sequence number; data on a SYN is left to be repeated."""
    options = parse_syn_options(segment.options)
    tcp.start_receiving(connection, segment.sequence)
    connection.rcv_advertised = seq_add(connection.rcv_nxt, min(connection.rx.free(), 0xFFFF))
    connection.mss = min(options.mss, connection.mss)
    stamp = options.stamp
    if stamp is not None:
        connection.stamps.agree(stamp.value, now_ns)
        connection.stamps.echo = stamp.echo
        connection.mss -= STAMP_BYTES
    connection.scaling = options.scaling
    connection.snd_scale = options.window_scale if options.scaling else 0
    connection.rcv_scale = tcp.receive_scale if options.scaling else 0
    connection.sack = options.sack
