"""The retransmission timer's start, and the tail loss probe (RFC 8985 section 7, over RFC 6675).

When the last segments of a burst are lost, no duplicate ACKs come, and only the time-out, at
least 200 ms later, would repair them. With SACK we ask earlier: after two round trips without
news the last segment goes out again (or new data). If its SACK comes back, everything before it
that is still missing was lost, for it was sent two round trips earlier: recovery starts at once.
"""

from bare import u32, u64, wrap
from merlion.net.limits import DELAYED_ACK, MILLISECOND, NEVER
from merlion.net.sequence import seq_diff, seq_max
from merlion.net.tcp_connection import Connection
from merlion.net.tcp_table import TcpTable


def arm_retransmit(tcp: TcpTable, connection: Connection, now_ns: u64) -> None:
    """Start the timer after sending, if it is not running (RFC 6298 rule 5.1)."""
    if may_probe_tail(connection):
        arm_tail(connection, now_ns)  # Every new segment puts the probe off.
    elif connection.retransmit_at == NEVER or connection.persisting:
        connection.retransmit_at = now_ns + connection.rtt.rto
    connection.persisting = False
    tcp.rearm(connection)


def restart_retransmit(connection: Connection, now_ns: u64) -> None:
    """New data was acknowledged and more is outstanding (RFC 6298 rule 5.3)."""
    connection.tail_armed = False
    connection.retransmit_at = now_ns + connection.rtt.rto
    if may_probe_tail(connection):
        arm_tail(connection, now_ns)


def may_probe_tail(connection: Connection) -> bool:
    """RFC 8985 section 7.2: the open state, a measured round trip, one probe at a time."""
    if not connection.sack or connection.congestion.recovering or connection.tail_probed:
        return False
    if connection.sacked.count > 0 or connection.retries > 0:
        return False
    return connection.rtt.srtt != 0 and connection.snd_nxt == connection.snd_max


def arm_tail(connection: Connection, now_ns: u64) -> None:
    """Two round trips, and the peer's delayed ACK when a single segment is out."""
    delay = 2 * connection.rtt.srtt + 2 * MILLISECOND
    if seq_diff(connection.snd_max, connection.snd_una) <= connection.mss:
        delay += DELAYED_ACK
    connection.tail_armed = delay < connection.rtt.rto
    connection.retransmit_at = now_ns + min(delay, connection.rtt.rto)


def fire_tail(tcp: TcpTable, connection: Connection, now_ns: u64) -> None:
    """Ask for one probe; the time-out follows if nobody answers."""
    connection.tail_armed = False
    connection.tail_probed = True
    connection.tail_now = True
    connection.retransmit_at = now_ns + connection.rtt.rto
    tcp.counters.tail_probes += 1
    tcp.wake(connection)


def tail_start(connection: Connection) -> u32:
    """Where the last segment sent begins, as far as can be told."""
    end = connection.snd_max
    if connection.fin_sent():
        end = wrap(u32, end - 1)
    back = min(seq_diff(end, connection.snd_una), connection.mss)
    start = seq_max(connection.snd_una, wrap(u32, end - back))
    connection.lost_below = start
    return start


def check_tail(tcp: TcpTable, connection: Connection) -> None:
    """The probe was SACKed and a hole remains: everything below the probe is lost."""
    if not connection.tail_probed or connection.congestion.recovering:
        return
    if connection.sacked.count == 0 or connection.sacked.highest() != connection.snd_max:
        return
    connection.tail_probed = False
    flight = seq_diff(connection.snd_max, connection.snd_una)
    connection.congestion.enter(connection.snd_max, flight, True)
    connection.retransmit_now = True
    connection.rexmit_high = connection.snd_una
    tcp.counters.fast_retransmits += 1
