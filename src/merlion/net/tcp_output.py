"""What a connection sends next, and the building of segments in the driver's own buffer.

Order: SYN; retransmissions (fast retransmit, SACK holes); new data and FIN; probes; bare ACKs.
There is no Nagle: a token leaves when it is written. A small segment waits only when the *window*
cuts it short (silly-window avoidance, RFC 9293 section 3.8.6.2.1).
"""

from dataclasses import dataclass

from bare import Slice, u8, u16, u32, u64, usize, wrap
from merlion.net.limits import DUPLICATE_ACKS, MSS_MAX, NEVER, TCP_BYTES
from merlion.net.sequence import seq_add, seq_diff, seq_lt, seq_max
from merlion.net.tcp_connection import Connection, State
from merlion.net.tcp_header import (
    Flags,
    Option,
    SackBlock,
    emit_header,
    emit_stamp,
    emit_syn_options,
    seal,
)
from merlion.net.tcp_table import Reply, TcpTable
from merlion.net.tcp_tail import arm_retransmit, tail_start

HEADER_MAX = 60  # What the header's length field can say (RFC 9293 section 3.1).
SACK_BLOCK_BYTES = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of the send buffer to put on the wire; nothing when `length` is 0 and no `fin`."""

    sequence: u32
    length: u32
    fin: bool


def transmit_connection(
    tcp: TcpTable, connection: Connection, out: Slice[u8], now_ns: u64
) -> usize:
    """Write the connection's next segment to `out`; 0 when it has nothing to say."""
    if connection.state == State.CLOSED:
        return 0
    if connection.state in (State.SYN_SENT, State.SYN_RECEIVED):
        return transmit_syn(tcp, connection, out, now_ns)
    piece = next_piece(connection, now_ns)
    if piece.length > 0 or piece.fin:
        return transmit_piece(tcp, connection, piece, out, now_ns)
    if connection.probe_now:
        # A sequence number just before the window makes the peer answer with its state.
        connection.probe_now = False
        return transmit_bare(tcp, connection, wrap(u32, connection.snd_una - 1), out, now_ns)
    if connection.ack_now:
        return transmit_bare(tcp, connection, connection.snd_nxt, out, now_ns)
    arm_probe(tcp, connection, now_ns)
    return 0


def transmit_syn(tcp: TcpTable, connection: Connection, out: Slice[u8], now_ns: u64) -> usize:
    """SYN, or SYN-ACK after a simultaneous open; else the ACK that is due."""
    if connection.snd_nxt != connection.iss:
        if connection.ack_now and connection.state == State.SYN_RECEIVED:
            return transmit_bare(tcp, connection, connection.snd_nxt, out, now_ns)
        return 0
    first = connection.snd_max == connection.iss
    received = connection.state == State.SYN_RECEIVED
    scaling = connection.scaling or not received
    sack = connection.sack or not received
    options = emit_syn_options(out[TCP_BYTES:], MSS_MAX, tcp.receive_scale, scaling, sack)
    header_bytes = TCP_BYTES + options
    if connection.stamps.on or not received:
        header_bytes += write_stamp(connection, out[header_bytes:], now_ns)
    flags: u8 = Flags.SYN
    acknowledgment: u32 = 0
    if received:
        flags = Flags.SYN | Flags.ACK
        acknowledgment = connection.rcv_nxt
    window = u16(min(connection.rx.free(), 0xFFFF))
    emit_header(
        out,
        connection.local_port,
        connection.remote_port,
        connection.iss,
        acknowledgment,
        flags,
        window,
        header_bytes,
    )
    seal(tcp.address, connection.address, out[:header_bytes])
    connection.snd_nxt = seq_add(connection.iss, 1)
    connection.snd_max = seq_max(connection.snd_max, connection.snd_nxt)
    if first:
        connection.rtt.on_send(connection.snd_nxt, now_ns)
    else:
        connection.rtt.on_retransmit(now_ns)
    connection.ack_now = False
    arm_retransmit(tcp, connection, now_ns)
    tcp.counters.segments_out += 1
    return header_bytes


def next_piece(connection: Connection, now_ns: u64) -> Piece:
    """Choose the bytes to send now."""
    if connection.retransmit_now:
        connection.retransmit_now = False
        start = connection.snd_una
        return clip(connection, start, hole_end(connection, start))
    if connection.tail_now:
        connection.tail_now = False
        fresh = new_piece(connection, connection.mss)
        if fresh.length > 0 or fresh.fin or not connection.outstanding():
            connection.lost_below = connection.snd_max
            return fresh
        start = tail_start(connection)
        return clip(connection, start, connection.snd_max)
    congestion = connection.congestion
    if congestion.recovering and connection.sack:
        if pipe(connection) + connection.mss > congestion.cwnd:
            return Piece(connection.snd_nxt, 0, False)
        hole = next_hole(connection)
        if hole.length > 0 or hole.fin:
            return hole
        return new_piece(connection, connection.mss)
    if not connection.outstanding() and now_ns > connection.sent_at + connection.rtt.rto:
        congestion.on_idle()
    skip_sacked(connection)
    flight = connection.flight()
    window = congestion.cwnd + congestion.limited_transmit()
    return new_piece(connection, window - min(window, flight))


def hole_end(connection: Connection, start: u32) -> u32:
    """Where the range that may be resent from `start` ends: a SACKed range, or all sent."""
    i = connection.sacked.find(start)
    if i < connection.sacked.count and seq_lt(start, connection.sacked.start[i]):
        return connection.sacked.start[i]
    return connection.snd_max


def clip(connection: Connection, start: u32, end: u32) -> Piece:
    """At most one segment of the sent range [start, end), which may include our FIN."""
    data_end = connection.data_end()
    if not seq_lt(start, data_end):
        return Piece(start, 0, connection.fin_sent() and start == data_end)
    available = seq_diff(data_end, start)
    length = min(min(available, connection.mss), seq_diff(end, start))
    fin = connection.fin_sent() and length == available
    return Piece(start, length, fin)


def skip_sacked(connection: Connection) -> None:
    """After a time-out SND.NXT walks over old data again: step over what the peer has."""
    if connection.snd_nxt == connection.snd_max or connection.sacked.count == 0:
        return
    i = connection.sacked.find(connection.snd_nxt)
    if i < connection.sacked.count and not seq_lt(connection.snd_nxt, connection.sacked.start[i]):
        connection.snd_nxt = connection.sacked.end[i]


def pipe(connection: Connection) -> u32:
    """RFC 6675 section 4, SetPipe: bytes thought to be in the network.

    A hole is lost when at least DUPLICATE_ACKS segments' worth above it was SACKed; lost bytes
    count only where they were retransmitted (below `rexmit_high`).
    """
    sacked = connection.sacked
    total = 0
    start = connection.snd_una
    above = sacked.total()
    for i in range(sacked.count):
        end = sacked.start[i]
        if seq_lt(start, end):
            found = not seq_lt(connection.lost_below, end)
            if above < DUPLICATE_ACKS * connection.mss and not found:
                total += seq_diff(end, start)
            if seq_lt(start, connection.rexmit_high):
                high = connection.rexmit_high
                total += seq_diff(high if seq_lt(high, end) else end, start)
        start = sacked.end[i]
        above -= seq_diff(sacked.end[i], end)
    if seq_lt(start, connection.snd_max):
        total += seq_diff(connection.snd_max, start)
        if seq_lt(start, connection.rexmit_high):
            total += seq_diff(connection.rexmit_high, start)
    return u32(total)


def next_hole(connection: Connection) -> Piece:
    """RFC 6675 section 4, NextSeg rule 1 and 3: the first hole not yet retransmitted."""
    sacked = connection.sacked
    start = seq_max(connection.snd_una, connection.rexmit_high)
    if sacked.count == 0 or not seq_lt(start, sacked.highest()):
        return Piece(start, 0, False)
    i = sacked.find(start)
    if not seq_lt(start, sacked.start[i]):
        start = sacked.end[i]
        i += 1
        if i == sacked.count:
            return Piece(start, 0, False)
    return clip(connection, start, sacked.start[i])


def new_piece(connection: Connection, room: u32) -> Piece:
    """Data from SND.NXT on, as far as `room` and the peer's window allow, and FIN."""
    start = connection.snd_nxt
    data_end = connection.data_end()
    if not seq_lt(start, data_end):
        fin = connection.fin_queued and start == data_end
        return Piece(start, 0, fin)
    available = seq_diff(data_end, start)
    flight = connection.flight()
    window = connection.snd_wnd - min(connection.snd_wnd, flight)
    length = min(min(available, connection.mss), min(window, room))
    if length < available and length < connection.mss:
        # Cut short by a window: wait for more of it, unless it is half of all there ever was.
        small = room < window or 2 * length < connection.snd_wnd_max
        if length == 0 or (small and not connection.override_now):
            return Piece(start, 0, False)
    fin = connection.fin_queued and length == available
    return Piece(start, length, fin)


def transmit_piece(
    tcp: TcpTable, connection: Connection, piece: Piece, out: Slice[u8], now_ns: u64
) -> usize:
    """Write a segment with data or FIN and move the send variables."""
    at = usize(connection.header_bytes())
    end_of_payload = at + usize(piece.length)
    offset = usize(seq_diff(piece.sequence, connection.tx_sequence))
    if piece.length > 0:
        connection.tx.copy_out(offset, out[at:end_of_payload])
    flags: u8 = Flags.ACK
    end = wrap(u32, piece.sequence + piece.length)
    if end == connection.data_end() and piece.length > 0:
        flags |= Flags.PSH
    if piece.fin:
        flags |= Flags.FIN
        end = seq_add(end, 1)
    write_header(connection, piece.sequence, flags, at, out, now_ns)
    seal(tcp.address, connection.address, out[:end_of_payload])
    if seq_lt(piece.sequence, connection.snd_max):
        tcp.counters.retransmits += 1
        connection.rtt.on_retransmit(now_ns)
        connection.rexmit_high = seq_max(connection.rexmit_high, end)
    elif not connection.has_hole():
        connection.rtt.on_send(end, now_ns)
    if connection.stalled_since == NEVER:
        connection.stalled_since = now_ns
    connection.snd_nxt = seq_max(connection.snd_nxt, end)
    connection.snd_max = seq_max(connection.snd_max, end)
    connection.sent_at = now_ns
    connection.override_now = False
    arm_retransmit(tcp, connection, now_ns)
    tcp.counters.segments_out += 1
    return end_of_payload


def transmit_bare(
    tcp: TcpTable, connection: Connection, sequence: u32, out: Slice[u8], now_ns: u64
) -> usize:
    """A segment without data, with SACK blocks when something is missing."""
    header_bytes = usize(connection.header_bytes())
    if connection.sack and connection.missing.count > 0:
        header_bytes += emit_sack(connection, out[header_bytes:HEADER_MAX])
    write_header(connection, sequence, Flags.ACK, header_bytes, out, now_ns)
    seal(tcp.address, connection.address, out[:header_bytes])
    tcp.counters.segments_out += 1
    return header_bytes


def write_header(
    connection: Connection,
    sequence: u32,
    flags: u8,
    header_bytes: usize,
    out: Slice[u8],
    now_ns: u64,
) -> None:
    """The header, with the ACK, the window and the time of this moment: in every segment."""
    window = connection.receive_window() >> connection.rcv_scale
    edge = seq_add(connection.rcv_nxt, usize(window << connection.rcv_scale))
    connection.rcv_advertised = seq_max(connection.rcv_advertised, edge)
    emit_header(
        out,
        connection.local_port,
        connection.remote_port,
        sequence,
        connection.rcv_nxt,
        flags,
        u16(window),
        header_bytes,
    )
    if connection.stamps.on:
        write_stamp(connection, out[TCP_BYTES:], now_ns)
    connection.stamps.acknowledged = connection.rcv_nxt
    connection.ack_now = False
    connection.ack_at = NEVER
    connection.unacknowledged = 0


def write_stamp(connection: Connection, out: Slice[u8], now_ns: u64) -> usize:
    """The timestamps option; returns its length."""
    stamps = connection.stamps
    return emit_stamp(out, stamps.clock(now_ns), stamps.recent)


def emit_sack(connection: Connection, out: Slice[u8]) -> usize:
    """The SACK option (RFC 2018 section 4), as long as `out`: the most recent range first."""
    missing = connection.missing
    count = min(missing.count, (len(out) - 4) // SACK_BLOCK_BYTES)
    first = missing.find(connection.recent)
    if first == missing.count:
        first = 0
    out[0] = Option.NO_OPERATION
    out[1] = Option.NO_OPERATION
    out[2] = Option.SACK
    out[3] = u8(2 + 8 * count)
    for i in range(count):
        block = SackBlock.view(out[4 + 8 * i : 12 + 8 * i])
        assert block is not None, "no room for a SACK block"
        block.start = missing.start[(first + i) % missing.count]
        block.end = missing.end[(first + i) % missing.count]
    return 4 + 8 * count


def arm_probe(tcp: TcpTable, connection: Connection, now_ns: u64) -> None:
    """Nothing in flight but data waiting: the window is shut, so probe it in a while."""
    if connection.outstanding() or connection.persisting:
        return
    if connection.tx.count == 0 or connection.retransmit_at != NEVER:
        return
    connection.persisting = True
    connection.retransmit_at = now_ns + connection.rtt.rto
    tcp.rearm(connection)


def transmit_reply(tcp: TcpTable, reply: Reply, out: Slice[u8]) -> usize:
    """Write a segment that has no connection."""
    header_bytes = TCP_BYTES
    if reply.flags & Flags.SYN:
        options = out[TCP_BYTES:]
        header_bytes += emit_syn_options(options, MSS_MAX, reply.scale, reply.scaling, reply.sack)
    if reply.stamped:
        header_bytes += emit_stamp(out[header_bytes:], reply.stamp, reply.stamp_echo)
    emit_header(
        out,
        reply.local_port,
        reply.remote_port,
        reply.sequence,
        reply.acknowledgment,
        reply.flags,
        reply.window,
        header_bytes,
    )
    seal(tcp.address, reply.address, out[:header_bytes])
    tcp.counters.segments_out += 1
    return header_bytes
