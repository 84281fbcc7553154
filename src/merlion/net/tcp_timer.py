"""What happens when a connection's timer fires: RTO, window probe, delayed ACK, keepalive, linger.

RFC 6298 section 5, RFC 9293 section 3.8.6.1 (probing), RFC 1122 section 4.2.3.6 (keepalive).
"""

from bare import u64
from merlion.net.limits import (
    KEEPALIVE_INTERVAL,
    KEEPALIVE_PROBES,
    NEVER,
    NO_SLOT,
    SYN_RETRIES,
    USER_TIMEOUT,
)
from merlion.net.sequence import seq_diff
from merlion.net.tcp_connection import CloseReason, Connection, State
from merlion.net.tcp_table import TcpTable
from merlion.net.tcp_tail import fire_tail


def poll_connections(tcp: TcpTable, now_ns: u64) -> None:
    """Fire every timer that is due."""
    while True:
        slot = tcp.timers.pop_expired(now_ns)
        if slot == NO_SLOT:
            return
        fire(tcp, tcp.connections[slot], now_ns)


def fire(tcp: TcpTable, connection: Connection, now_ns: u64) -> None:
    """One connection's timers; the queue may have called early."""
    if connection.ack_at <= now_ns:
        connection.ack_at = NEVER
        connection.ack_now = True
        tcp.wake(connection)
    if connection.linger_at <= now_ns:
        tcp.shut(connection, CloseReason.TIMEOUT)
        return
    if connection.keepalive_at <= now_ns and not on_keepalive(tcp, connection, now_ns):
        return
    if connection.retransmit_at <= now_ns and not on_retransmit(tcp, connection, now_ns):
        return
    tcp.rearm(connection)


def on_keepalive(tcp: TcpTable, connection: Connection, now_ns: u64) -> bool:
    """An idle peer is asked whether it lives. False when it does not."""
    if connection.keepalives >= KEEPALIVE_PROBES:
        give_up(tcp, connection)
        return False
    connection.keepalives += 1
    connection.keepalive_at = now_ns + KEEPALIVE_INTERVAL
    if not connection.outstanding():
        connection.probe_now = True
        tcp.wake(connection)
    return True


def on_retransmit(tcp: TcpTable, connection: Connection, now_ns: u64) -> bool:
    """The retransmission or probe timer. False when the connection is given up."""
    if connection.state in (State.SYN_SENT, State.SYN_RECEIVED):
        return on_syn_timeout(tcp, connection, now_ns)
    if not connection.has_work():
        connection.retransmit_at = NEVER
        return True
    if connection.stalled_since == NEVER:
        connection.stalled_since = now_ns
    if now_ns >= connection.stalled_since + USER_TIMEOUT:
        give_up(tcp, connection)
        return False
    if connection.tail_armed and connection.outstanding():
        fire_tail(tcp, connection, now_ns)
        return True
    connection.tail_armed = False
    connection.rtt.back_off()
    connection.retransmit_at = now_ns + connection.rtt.rto
    if connection.persisting or connection.snd_wnd == 0:
        connection.persisting = True
        connection.probe_now = True
        connection.snd_nxt = connection.snd_una  # Resume there when the window opens.
    else:
        go_back(tcp, connection, now_ns)
    connection.override_now = True
    connection.retries += 1
    tcp.wake(connection)
    return True


def go_back(tcp: TcpTable, connection: Connection, now_ns: u64) -> None:
    """Everything in flight counts as lost: slow start from the oldest byte on."""
    tcp.counters.timeouts += 1
    flight = seq_diff(connection.snd_max, connection.snd_una)
    connection.congestion.on_timeout(connection.snd_max, flight, connection.retries == 0)
    connection.rtt.on_retransmit(now_ns)
    connection.snd_nxt = connection.snd_una
    connection.rexmit_high = connection.snd_una
    connection.retransmit_now = False
    if connection.retries > 0:
        connection.sacked.clear()  # The peer may have dropped what it reported (RFC 2018 §8).


def on_syn_timeout(tcp: TcpTable, connection: Connection, now_ns: u64) -> bool:
    """Repeat the SYN, or give up."""
    connection.retries += 1
    if connection.retries > SYN_RETRIES:
        give_up(tcp, connection)
        return False
    connection.syn_lost = True
    connection.snd_nxt = connection.iss
    connection.rtt.back_off()
    connection.retransmit_at = now_ns + connection.rtt.rto
    tcp.wake(connection)
    return True


def give_up(tcp: TcpTable, connection: Connection) -> None:
    """The peer is gone: tell it, in case it is not."""
    tcp.counters.failed += 1
    tcp.reset(connection, CloseReason.TIMEOUT)
