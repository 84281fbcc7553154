"""All the memory of TCP: connections, half-open connections, TIME_WAIT, and the queues between.

The passes over it are plain functions in tcp_passive (LISTEN, SYN_RECEIVED, TIME_WAIT), tcp_input,
tcp_output and tcp_timer; tcp.py is the interface. Nothing is allocated after `start`.
"""

from bare import Arena, Array, Slice, Struct, array, u8, u16, u32, u64, usize, wrap
from merlion.net.flow_table import FlowTable
from merlion.net.limits import (
    LISTEN_PORTS,
    MSS_MAX,
    NO_SLOT,
    STRAY_REPLIES,
    TCP_BYTES,
    TCP_RESETS_PER_SECOND,
    TIME_WAIT_TIME,
)
from merlion.net.rate_limit import RateLimit
from merlion.net.ring import SlotRing
from merlion.net.sequence import seq_add
from merlion.net.siphash import siphash
from merlion.net.tcp_connection import CloseReason, Connection, State
from merlion.net.tcp_header import Flags, Segment
from merlion.net.tcp_stamps import Stamps
from merlion.net.timer_queue import TimerQueue


class TcpConfig(Struct):
    """Sizes, and the 128-bit secret of RFC 6528. Buffers are bytes for each connection."""

    connections: usize
    receive_bytes: usize
    transmit_bytes: usize
    backlog: usize
    syn_queue: usize
    time_waits: usize
    key0: u64
    key1: u64


class HalfOpen(Struct):
    """A passive SYN_RECEIVED: just enough to answer again and to make a Connection of."""

    address: u32
    remote_port: u16
    local_port: u16
    iss: u32
    irs: u32
    mss: u16
    scale: u8
    scaling: bool
    sack: bool
    stamps: Stamps
    window: u16
    retries: u32
    challenged_at: u64


class TimeWait(Struct):
    """What TIME_WAIT needs to answer a repeated FIN and to judge a new SYN."""

    address: u32
    remote_port: u16
    local_port: u16
    snd_nxt: u32
    rcv_nxt: u32
    stamps: Stamps


class Reply(Struct):
    """A segment that belongs to no Connection."""

    address: u32
    remote_port: u16
    local_port: u16
    sequence: u32
    acknowledgment: u32
    flags: u8
    window: u16
    scale: u8
    scaling: bool
    sack: bool
    stamped: bool
    stamp: u32
    stamp_echo: u32

    def put_stamp(self, stamps: Stamps, now_ns: u64) -> None:
        """The timestamps of this moment, if the flow has them."""
        self.stamped = stamps.on
        self.stamp = stamps.clock(now_ns)
        self.stamp_echo = stamps.recent


class TcpCounters(Struct):
    """What happened, for /metrics and the shell."""

    segments_in: u64
    segments_out: u64
    malformed: u64
    checksum_errors: u64
    retransmits: u64
    fast_retransmits: u64
    timeouts: u64
    duplicate_segments: u64
    old_segments: u64
    out_of_order: u64
    tail_probes: u64
    resets_in: u64
    resets_out: u64
    challenge_acks: u64
    syn_overflows: u64
    accept_overflows: u64
    opened: u64
    failed: u64


class TcpTable(Struct):
    """Everything TCP owns."""

    address: u32  # Ours.
    key0: u64
    key1: u64
    connections: Slice[Connection]
    flows: FlowTable
    timers: TimerQueue
    output: SlotRing  # Connections that may have something to send.
    accepted: SlotRing  # Established and not yet taken by the application.
    half_open: Slice[HalfOpen]
    half_open_flows: FlowTable
    half_open_timers: TimerQueue
    time_waits: Slice[TimeWait]
    time_wait_flows: FlowTable
    time_wait_timers: TimerQueue
    replies: Slice[Reply]
    reply_head: usize
    reply_count: usize
    ports: Array[u16] = array(LISTEN_PORTS)
    port_count: usize
    receive_scale: u8
    reset_limit: RateLimit
    counters: TcpCounters
    ephemeral: u32

    def start(self, arena: Arena, config: TcpConfig) -> None:
        """Take all storage."""
        n = config.connections
        self.key0 = config.key0
        self.key1 = config.key1
        self.connections = arena.slice(Connection, n)
        # A ring's bytes are written before they are read: nothing touches this memory at start.
        receive = arena.unset(u8, n * config.receive_bytes)
        transmit = arena.unset(u8, n * config.transmit_bytes)
        for i in range(n):
            connection = self.connections[i]
            connection.slot = u32(i)
            start = i * config.receive_bytes
            connection.rx.storage = receive[start : start + config.receive_bytes]
            start = i * config.transmit_bytes
            connection.tx.storage = transmit[start : start + config.transmit_bytes]
        self.flows.start(arena, n, config.key0, config.key1)
        self.timers.start(arena, n)
        self.output.storage = arena.slice(u32, n)
        self.accepted.storage = arena.slice(u32, config.backlog)
        self.half_open = arena.slice(HalfOpen, config.syn_queue)
        self.half_open_flows.start(arena, config.syn_queue, config.key0, config.key1)
        self.half_open_timers.start(arena, config.syn_queue)
        self.time_waits = arena.slice(TimeWait, config.time_waits)
        self.time_wait_flows.start(arena, config.time_waits, config.key0, config.key1)
        self.time_wait_timers.start(arena, config.time_waits)
        self.replies = arena.slice(Reply, STRAY_REPLIES)
        self.reset_limit.per_second = TCP_RESETS_PER_SECOND
        scale: u8 = 0
        while config.receive_bytes >> scale > 0xFFFF:
            scale += 1
        self.receive_scale = scale

    def is_listening(self, port: u16) -> bool:
        """Whether new connections to `port` are welcome."""
        i = 0
        while i < self.port_count and self.ports[i] != port:
            i += 1
        return i < self.port_count

    def initial_sequence(self, address: u32, remote: u16, local: u16, now_ns: u64) -> u32:
        """RFC 6528: a 4 microsecond clock plus a keyed hash of the flow."""
        ports = u32(remote) << 16 | local
        hash = siphash(self.key0, self.key1, self.address, address, ports)
        return wrap(u32, (now_ns >> 12) + (hash & 0xFFFF_FFFF))

    def stamp_offset(self, address: u32, remote: u16, local: u16) -> u32:
        """Where the timestamps of a flow begin (RFC 7323 section 7.1): the same for ever."""
        ports = u32(remote) << 16 | local
        return wrap(u32, siphash(self.key1, self.key0, address, ports, 1))

    def wake(self, connection: Connection) -> None:
        """Have the connection looked at by the next `transmit`."""
        if connection.queued:
            return
        connection.queued = True
        pushed = self.output.push(connection.slot)
        assert pushed, "a connection was queued twice"

    def rearm(self, connection: Connection) -> None:
        """Bring the timer queue up to date; a deadline that moved later is left to fire early."""
        deadline = connection.next_deadline()
        if deadline < self.timers.of(connection.slot):
            self.timers.arm(connection.slot, deadline)

    def open(self, address: u32, remote: u16, local: u16, now_ns: u64) -> Connection | None:
        """A fresh connection block in the flow table, or None when all are taken."""
        slot = self.flows.insert(address, remote, local)
        if slot == NO_SLOT:
            return None
        connection = self.connections[slot]
        connection.state = State.CLOSED
        connection.reason = CloseReason.NONE
        connection.address = address
        connection.remote_port = remote
        connection.local_port = local
        connection.tx.clear()
        connection.rx.clear()
        connection.sacked.clear()
        connection.missing.clear()
        connection.stamps.start(self.stamp_offset(address, remote, local))
        connection.rtt.start()
        connection.stop_timers()
        connection.fin_known = False
        connection.fin_received = False
        connection.fin_queued = False
        connection.orphan = False
        connection.ack_now = False
        connection.retransmit_now = False
        connection.probe_now = False
        connection.override_now = False
        connection.tail_armed = False
        connection.tail_probed = False
        connection.tail_now = False
        connection.persisting = False
        connection.syn_lost = False
        connection.unacknowledged = 0
        connection.retries = 0
        connection.keepalives = 0
        connection.snd_wnd_max = 0
        connection.sent_at = now_ns
        connection.heard_at = now_ns
        connection.challenged_at = 0
        return connection

    def start_sending(self, connection: Connection, iss: u32, mss: u16) -> None:
        """Set up the send side; `mss` is what the peer asked for."""
        connection.iss = iss
        connection.snd_una = iss
        connection.snd_nxt = iss
        connection.snd_max = iss
        connection.snd_wnd = 0
        connection.tx_sequence = seq_add(iss, 1)
        connection.rexmit_high = iss
        connection.lost_below = iss
        connection.mss = min(mss, MSS_MAX) - (connection.header_bytes() - TCP_BYTES)
        connection.congestion.start(connection.mss, iss, connection.syn_lost)

    def start_receiving(self, connection: Connection, irs: u32) -> None:
        """Set up the receive side."""
        connection.irs = irs
        connection.rcv_nxt = seq_add(irs, 1)
        connection.rcv_advertised = connection.rcv_nxt
        connection.recent = connection.rcv_nxt
        connection.stamps.acknowledged = connection.rcv_nxt

    def shut(self, connection: Connection, reason: CloseReason) -> None:
        """Enter CLOSED. The block stays until the application has released it."""
        self.flows.unlink(connection.slot)
        self.timers.disarm(connection.slot)
        connection.stop_timers()
        connection.state = State.CLOSED
        connection.reason = reason
        if connection.orphan and not connection.queued:
            self.flows.release(connection.slot)

    def reset(self, connection: Connection, reason: CloseReason) -> None:
        """Send RST and enter CLOSED."""
        if connection.synchronized() or connection.state == State.SYN_RECEIVED:
            self.reply_to(connection, connection.snd_nxt, Flags.RST | Flags.ACK)
            self.counters.resets_out += 1
        self.shut(connection, reason)

    def reply_to(self, connection: Connection, sequence: u32, flags: u8) -> Reply | None:
        """Queue a bare segment with the connection's addresses, outliving the connection."""
        reply = self.new_reply(connection.address, connection.remote_port, connection.local_port)
        if reply is None:
            return None
        reply.sequence = sequence
        reply.acknowledgment = connection.rcv_nxt
        reply.flags = flags
        reply.window = u16(min(connection.receive_window() >> connection.rcv_scale, 0xFFFF))
        return reply

    def new_reply(self, address: u32, remote: u16, local: u16) -> Reply | None:
        """A zeroed reply at the tail of the queue, or None when it is full."""
        if self.reply_count == len(self.replies):
            return None
        reply = self.replies[(self.reply_head + self.reply_count) % len(self.replies)]
        self.reply_count += 1
        reply.address = address
        reply.remote_port = remote
        reply.local_port = local
        reply.sequence = 0
        reply.acknowledgment = 0
        reply.flags = 0
        reply.window = 0
        reply.scaling = False
        reply.sack = False
        reply.stamped = False
        return reply

    def refuse(self, address: u32, segment: Segment, now_ns: u64) -> None:
        """Answer a segment that has no connection with RST (RFC 9293 section 3.5.2)."""
        if segment.flags & Flags.RST or not self.reset_limit.allow(now_ns):
            return
        reply = self.new_reply(address, segment.source_port, segment.destination_port)
        if reply is None:
            return
        self.counters.resets_out += 1
        if segment.flags & Flags.ACK:
            reply.sequence = segment.acknowledgment
            reply.flags = Flags.RST
        else:
            reply.acknowledgment = wrap(u32, segment.sequence + segment.length)
            reply.flags = Flags.RST | Flags.ACK

    def enter_time_wait(self, connection: Connection, now_ns: u64) -> None:
        """Acknowledge the FIN, remember the flow compactly, and close the connection."""
        slot = self.time_wait_slot(
            connection.address, connection.remote_port, connection.local_port
        )
        wait = self.time_waits[slot]
        wait.address = connection.address
        wait.remote_port = connection.remote_port
        wait.local_port = connection.local_port
        wait.snd_nxt = connection.snd_max
        wait.rcv_nxt = connection.rcv_nxt
        wait.stamps.assign(connection.stamps)
        self.time_wait_timers.arm(slot, now_ns + TIME_WAIT_TIME)
        reply = self.reply_to(connection, connection.snd_max, Flags.ACK)
        if reply is not None:
            reply.put_stamp(connection.stamps, now_ns)
        self.shut(connection, CloseReason.FINISHED)

    def time_wait_slot(self, address: u32, remote: u16, local: u16) -> u32:
        """A slot for a new TIME_WAIT; the oldest makes room when the table is full."""
        slot = self.time_wait_flows.insert(address, remote, local)
        if slot == NO_SLOT:
            self.time_wait_flows.remove(self.time_wait_timers.pop_expired(now_ns=(1 << 63) - 2))
            slot = self.time_wait_flows.insert(address, remote, local)
        return slot
