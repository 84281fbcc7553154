"""TCP as its user and the IP layer see it (RFC 9293), over the tables of tcp_table.py.

A connection is named by its slot number. It stays valid, also after the peer reset it, until the
application calls `release`.
"""

from bare import Arena, Bytes, Slice, Struct, u8, u16, u32, u64, usize
from merlion.net.limits import (
    EPHEMERAL_COUNT,
    EPHEMERAL_FIRST,
    EPHEMERAL_TRIES,
    IPV4_BYTES,
    LISTEN_PORTS,
    MSS_MAX,
    MSS_MIN,
    NO_SLOT,
    ORPHAN_TIMEOUT,
)
from merlion.net.sequence import in_window, seq_diff, seq_lt
from merlion.net.siphash import siphash
from merlion.net.tcp_connection import CloseReason, State
from merlion.net.tcp_header import parse, segment_sum
from merlion.net.tcp_input import receive_connection
from merlion.net.tcp_output import transmit_connection, transmit_reply
from merlion.net.tcp_passive import (
    poll_passive,
    receive_half_open,
    receive_listen,
    receive_time_wait,
    reuse_time_wait,
)
from merlion.net.tcp_table import Reply, TcpConfig, TcpTable
from merlion.net.tcp_tail import arm_retransmit
from merlion.net.tcp_timer import poll_connections


class Tcp(Struct):
    """The protocol. The IP layer calls receive, poll, and the two halves of transmission."""

    table: TcpTable

    def start(self, arena: Arena, config: TcpConfig) -> None:
        """Take all storage."""
        self.table.start(arena, config)

    def set_address(self, address: u32) -> None:
        """Our address changed: connections from the old one can reach nobody any more."""
        table = self.table
        if address == table.address:
            return
        table.address = address
        for i in range(len(table.connections)):
            connection = table.connections[i]
            if connection.state != State.CLOSED:
                table.shut(connection, CloseReason.ABORTED)

    # The IP layer's side.

    def receive(self, source: u32, bytes: Bytes, now_ns: u64) -> None:
        """One segment, from a unicast address to ours."""
        table = self.table
        table.counters.segments_in += 1
        segment = parse(bytes)
        if segment is None:
            table.counters.malformed += 1
            return
        if segment_sum(source, table.address, bytes) != 0xFFFF:
            table.counters.checksum_errors += 1
            return
        remote = segment.source_port
        local = segment.destination_port
        slot = table.flows.find(source, remote, local)
        if slot != NO_SLOT:
            receive_connection(table, table.connections[slot], segment, now_ns)
            return
        slot = table.half_open_flows.find(source, remote, local)
        if slot != NO_SLOT:
            connection = receive_half_open(table, slot, segment, now_ns)
            if connection is not None:
                receive_connection(table, connection, segment, now_ns)
            return
        slot = table.time_wait_flows.find(source, remote, local)
        if slot != NO_SLOT:
            if receive_time_wait(table, slot, segment, now_ns):
                reuse_time_wait(table, slot, segment, now_ns)
        elif table.is_listening(local):
            receive_listen(table, source, segment, now_ns)
        else:
            table.refuse(source, segment, now_ns)

    def poll(self, now_ns: u64) -> None:
        """Fire timers."""
        poll_connections(self.table, now_ns)
        poll_passive(self.table, now_ns)

    def next_deadline(self) -> u64:
        """When `poll` next has something to do."""
        table = self.table
        passive = min(
            table.half_open_timers.next_deadline(), table.time_wait_timers.next_deadline()
        )
        return min(passive, table.timers.next_deadline())

    def pop_output(self) -> u32:
        """A connection that may have something to send, or NO_SLOT."""
        table = self.table
        while True:
            slot = table.output.pop()
            if slot == NO_SLOT:
                return NO_SLOT
            connection = table.connections[slot]
            connection.queued = False
            if connection.state != State.CLOSED:
                return slot
            if connection.orphan:
                table.flows.release(slot)

    def transmit(self, slot: u32, out: Slice[u8], now_ns: u64) -> usize:
        """The next segment of a connection; it is queued again in case there is more."""
        connection = self.table.connections[slot]
        length = transmit_connection(self.table, connection, out, now_ns)
        if length > 0:
            self.table.wake(connection)
        return length

    def cannot_transmit(self, slot: u32, now_ns: u64) -> None:
        """The neighbour does not answer: let the retransmission timer try again."""
        connection = self.table.connections[slot]
        if connection.has_work():
            arm_retransmit(self.table, connection, now_ns)

    def first_reply(self) -> Reply | None:
        """The oldest segment without connection, or None."""
        table = self.table
        if table.reply_count == 0:
            return None
        return table.replies[table.reply_head]

    def drop_reply(self) -> None:
        """Done with the first reply."""
        table = self.table
        table.reply_head = (table.reply_head + 1) % len(table.replies)
        table.reply_count -= 1

    def rotate_replies(self) -> None:
        """The first reply must wait for its neighbour: to the back of the queue."""
        table = self.table
        n = len(table.replies)
        back = table.replies[(table.reply_head + table.reply_count) % n]
        back.assign(table.replies[table.reply_head])
        table.reply_head = (table.reply_head + 1) % n

    def emit_reply(self, reply: Reply, out: Slice[u8]) -> usize:
        """Write a segment without connection."""
        return transmit_reply(self.table, reply, out)

    def on_unreachable(self, address: u32, remote: u16, local: u16, sequence: u32) -> None:
        """ICMP says the peer is not there; only an attempt to connect ends (RFC 5927 §6)."""
        slot = self.table.flows.find(address, remote, local)
        if slot == NO_SLOT:
            return
        connection = self.table.connections[slot]
        if connection.state == State.SYN_SENT and sequence == connection.iss:
            self.table.shut(connection, CloseReason.REFUSED)

    def on_too_big(self, address: u32, remote: u16, local: u16, sequence: u32, mtu: u16) -> None:
        """A router wants smaller packets. Believed only for data in flight (RFC 5927 §7)."""
        slot = self.table.flows.find(address, remote, local)
        if slot == NO_SLOT:
            return
        connection = self.table.connections[slot]
        in_flight = seq_diff(connection.snd_max, connection.snd_una)
        mss = max(mtu, 40 + MSS_MIN) - IPV4_BYTES - connection.header_bytes()
        if not in_window(sequence, connection.snd_una, in_flight) or mss >= connection.mss:
            return
        connection.mss = mss
        connection.congestion.set_mss(mss)
        if seq_lt(connection.snd_una, connection.snd_nxt) and connection.synchronized():
            connection.retransmit_now = True
            self.table.wake(connection)

    # The application's side.

    def listen(self, port: u16) -> bool:
        """Accept connections to `port`. False when there are too many listening ports."""
        table = self.table
        if table.is_listening(port):
            return True
        if table.port_count == LISTEN_PORTS:
            return False
        table.ports[table.port_count] = port
        table.port_count += 1
        return True

    def unlisten(self, port: u16) -> None:
        """Refuse new connections to `port`; those that exist live on."""
        table = self.table
        for i in range(table.port_count):
            if table.ports[i] == port:
                table.port_count -= 1
                table.ports[i] = table.ports[table.port_count]
                return

    def accept(self) -> u32 | None:
        """An established connection nobody has taken yet."""
        slot = self.table.accepted.pop()
        if slot == NO_SLOT:
            return None
        return slot

    def connect(self, address: u32, port: u16, now_ns: u64) -> u32 | None:
        """Begin an active open; None when there is no free connection or port."""
        table = self.table
        local = self.ephemeral_port(address, port)
        if local == 0:
            return None
        connection = table.open(address, port, local, now_ns)
        if connection is None:
            return None
        iss = table.initial_sequence(address, port, local, now_ns)
        table.start_sending(connection, iss, MSS_MAX)
        connection.scaling = False
        connection.sack = False
        connection.rcv_scale = 0
        connection.snd_scale = 0
        connection.state = State.SYN_SENT
        table.wake(connection)
        return connection.slot

    def ephemeral_port(self, address: u32, port: u16) -> u16:
        """RFC 6056 algorithm 3: a keyed offset for the destination plus a counter. 0: none."""
        table = self.table
        offset = siphash(table.key1, table.key0, address, port, 0) % EPHEMERAL_COUNT
        for _ in range(EPHEMERAL_TRIES):
            local = u16(EPHEMERAL_FIRST + (offset + table.ephemeral) % EPHEMERAL_COUNT)
            table.ephemeral = (table.ephemeral + 1) % EPHEMERAL_COUNT
            taken = table.flows.find(address, port, local) != NO_SLOT
            if not taken and table.time_wait_flows.find(address, port, local) == NO_SLOT:
                return local
        return 0

    def readable(self, slot: u32) -> Bytes:
        """Received bytes, up to where the ring wraps; more may follow after `consume`."""
        return self.table.connections[slot].rx.readable()

    def consume(self, slot: u32, n: usize) -> None:
        """The application is done with the first `n` readable bytes."""
        connection = self.table.connections[slot]
        connection.rx.consume(n)
        if connection.state == State.CLOSED or connection.fin_received:
            return
        promised = 0
        if seq_lt(connection.rcv_nxt, connection.rcv_advertised):
            promised = seq_diff(connection.rcv_advertised, connection.rcv_nxt)
        step = min(len(connection.rx.storage) // 2, 2 * connection.mss)
        if connection.synchronized() and connection.receive_window() >= promised + step:
            connection.ack_now = True  # Tell the peer that the window has opened.
            self.table.wake(connection)

    def send(self, slot: u32, bytes: Bytes) -> usize:
        """Queue bytes for sending; returns how many were accepted."""
        connection = self.table.connections[slot]
        if not connection.can_send():
            return 0
        n = connection.tx.write(bytes)
        if n > 0:
            self.table.wake(connection)
        return n

    def close(self, slot: u32) -> None:
        """Send FIN after the queued data; receiving goes on."""
        connection = self.table.connections[slot]
        if connection.fin_queued or connection.state == State.CLOSED:
            return
        if connection.state == State.SYN_SENT:
            self.table.shut(connection, CloseReason.ABORTED)
            return
        connection.fin_queued = True
        if connection.state == State.ESTABLISHED:
            connection.state = State.FIN_WAIT_1
        elif connection.state == State.CLOSE_WAIT:
            connection.state = State.LAST_ACK
        self.table.wake(connection)

    def abort(self, slot: u32) -> None:
        """Send RST and forget unsent data."""
        connection = self.table.connections[slot]
        if connection.state != State.CLOSED:
            self.table.reset(connection, CloseReason.ABORTED)

    def release(self, slot: u32, now_ns: u64) -> None:
        """The application will not use this connection again; it is closed if it was not.

        Unread data means that the peer's bytes are lost: it is told so by RST (RFC 2525 §2.17).
        """
        connection = self.table.connections[slot]
        assert not connection.orphan, "released twice"
        if connection.state != State.CLOSED and connection.rx.count > 0:
            self.abort(slot)
        if connection.state != State.CLOSED:
            self.close(slot)
        connection.orphan = True
        if connection.state == State.FIN_WAIT_2:
            connection.linger_at = now_ns + ORPHAN_TIMEOUT
            self.table.rearm(connection)
        if connection.state == State.CLOSED and not connection.queued:
            self.table.flows.release(slot)
