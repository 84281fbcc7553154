"""Whether a segment belongs to this moment of a connection: its time, its sequence number, RST.

RFC 9293 section 3.10.7.4, first and second step, as RFC 5961 and RFC 7323 section 5.3 have them.
"""

from bare import u32, u64, wrap
from merlion.net.limits import CHALLENGE_INTERVAL
from merlion.net.sequence import in_window, seq_diff, seq_lt
from merlion.net.tcp_connection import CloseReason, Connection
from merlion.net.tcp_header import Flags, Segment, Stamp, parse_stamp
from merlion.net.tcp_table import TcpTable


def is_acceptable(tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64) -> bool:
    """The segment may be looked at further."""
    if not connection.stamps.on:
        return check_sequence(tcp, connection, segment, now_ns)
    stamp = parse_stamp(segment.options)
    if not check_stamp(tcp, connection, segment, stamp, now_ns):
        return False
    if not check_sequence(tcp, connection, segment, now_ns):
        return False
    if stamp is not None:
        connection.stamps.take(segment.sequence, stamp.value, now_ns)
        connection.stamps.echo = stamp.echo
    return True


def check_stamp(
    tcp: TcpTable, connection: Connection, segment: Segment, stamp: Stamp | None, now_ns: u64
) -> bool:
    """The segment is not from long ago (RFC 7323 sections 3.2 and 5.3). RST is not judged."""
    if segment.flags & Flags.RST:
        return True
    if stamp is None:
        return False
    if not connection.stamps.is_old(stamp.value, now_ns):
        return True
    tcp.counters.old_segments += 1
    if segment.length == 0:
        challenge(tcp, connection, now_ns)
    else:
        connection.ack_now = True
    return False


def check_sequence(tcp: TcpTable, connection: Connection, segment: Segment, now_ns: u64) -> bool:
    """The segment touches the window, and is no RST (RFC 9293 figure 5, RFC 5961 section 3)."""
    start = connection.rcv_nxt
    window = acceptance_window(connection)
    touches = in_window(segment.sequence, start, max(window, 1))
    if segment.flags & Flags.RST:
        if segment.sequence == start:
            tcp.counters.resets_in += 1
            tcp.shut(connection, CloseReason.RESET)
        elif touches:
            challenge(tcp, connection, now_ns)
        return False
    if not touches and segment.length > 0:
        # Its end may reach into the window although its start does not.
        last = wrap(u32, segment.sequence + segment.length - 1)
        touches = seq_lt(segment.sequence, start) and in_window(last, start, window)
    if touches and (window > 0 or segment.length == 0):
        return True
    if segment.flags & Flags.SYN or segment.length == 0:
        challenge(tcp, connection, now_ns)  # Limited: two confused ends must not chatter.
    else:
        tcp.counters.duplicate_segments += 1
        connection.ack_now = True
    # A window update may ride on data that we cannot take.
    return touches and not segment.flags & Flags.SYN


def acceptance_window(connection: Connection) -> u32:
    """How far past RCV.NXT the peer may send: what it was last told."""
    if seq_lt(connection.rcv_nxt, connection.rcv_advertised):
        return seq_diff(connection.rcv_advertised, connection.rcv_nxt)
    return 0


def challenge(tcp: TcpTable, connection: Connection, now_ns: u64) -> None:
    """An ACK that makes an honest peer prove itself. The limit is per connection (RFC 5961)."""
    if connection.challenged_at != 0 and now_ns < connection.challenged_at + CHALLENGE_INTERVAL:
        return
    connection.challenged_at = now_ns
    connection.ack_now = True
    tcp.counters.challenge_acks += 1
