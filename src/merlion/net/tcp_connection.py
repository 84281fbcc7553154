"""One TCP connection: its state and the questions that can be asked about it.

LISTEN, the passive SYN_RECEIVED and TIME_WAIT have no Connection: they live in compact tables
(tcp_passive.py), so that neither a SYN flood nor a busy closer takes buffers from live ones.

Invariants: `snd_una <= snd_nxt <= snd_max` in sequence order; `tx` holds the bytes from
`tx_sequence` on, sent or not; FIN, when queued, follows the last byte of `tx`.
"""

from enum import IntEnum

from bare import Struct, u8, u16, u32, u64
from merlion.net.congestion import Congestion
from merlion.net.intervals import Intervals
from merlion.net.limits import NEVER, STAMP_BYTES, TCP_BYTES
from merlion.net.ring import ByteRing
from merlion.net.rtt import RoundTrip
from merlion.net.sequence import seq_add, seq_diff, seq_lt
from merlion.net.tcp_stamps import Stamps


class State(IntEnum):
    """RFC 9293 section 3.3.2."""

    CLOSED = 0
    SYN_SENT = 1
    SYN_RECEIVED = 2  # Only after a simultaneous open.
    ESTABLISHED = 3
    FIN_WAIT_1 = 4
    FIN_WAIT_2 = 5
    CLOSE_WAIT = 6
    CLOSING = 7
    LAST_ACK = 8


class CloseReason(IntEnum):
    """Why a connection is CLOSED."""

    NONE = 0
    FINISHED = 1
    RESET = 2
    TIMEOUT = 3
    REFUSED = 4
    ABORTED = 5


class Connection(Struct):
    """The transmission control block."""

    slot: u32
    state: State
    reason: CloseReason
    address: u32
    remote_port: u16
    local_port: u16

    # Send sequence space (RFC 9293 figure 4).
    iss: u32
    snd_una: u32
    snd_nxt: u32
    snd_max: u32  # One past the highest sequence number ever sent.
    snd_wnd: u32
    snd_wl1: u32
    snd_wl2: u32
    snd_wnd_max: u32
    tx_sequence: u32
    mss: u32
    snd_scale: u8
    rcv_scale: u8
    scaling: bool
    sack: bool
    stamps: Stamps
    tx: ByteRing
    sacked: Intervals
    rexmit_high: u32  # Everything below was retransmitted in this recovery (HighRxt).
    lost_below: u32  # Holes below were found lost by a tail probe.

    # Receive sequence space (figure 5).
    irs: u32
    rcv_nxt: u32
    rcv_advertised: u32  # Right edge of the window the peer knows of.
    rx: ByteRing
    missing: Intervals  # What arrived past a hole.
    recent: u32  # Start of the last out-of-order segment: its range is the first SACK block.
    fin_sequence: u32  # Where the peer's FIN is, when `fin_known`.

    congestion: Congestion
    rtt: RoundTrip

    fin_known: bool
    fin_received: bool
    fin_queued: bool
    orphan: bool  # The application has released it.
    queued: bool  # On the output ring.
    ack_now: bool
    retransmit_now: bool
    probe_now: bool
    override_now: bool  # Send however little the window allows.
    tail_armed: bool  # `retransmit_at` is a tail probe's.
    tail_probed: bool  # A tail probe is out, or was not answered.
    tail_now: bool
    persisting: bool  # `retransmit_at` is the zero-window probe's.
    syn_lost: bool
    unacknowledged: u8  # Full segments received since the last ACK we sent.
    retries: u32
    keepalives: u32
    retransmit_at: u64
    ack_at: u64
    keepalive_at: u64
    linger_at: u64
    stalled_since: u64  # When the oldest unacknowledged data was first sent; NEVER when none.
    sent_at: u64
    heard_at: u64
    challenged_at: u64

    def data_end(self) -> u32:
        """One past the last byte the application has queued."""
        return seq_add(self.tx_sequence, self.tx.count)

    def header_bytes(self) -> u32:
        """The header that every segment has."""
        return TCP_BYTES + (STAMP_BYTES if self.stamps.on else 0)

    def flight(self) -> u32:
        """Sequence space sent and not acknowledged."""
        return seq_diff(self.snd_nxt, self.snd_una)

    def outstanding(self) -> bool:
        """Whether anything was ever sent that is not acknowledged."""
        return self.snd_una != self.snd_max

    def fin_sent(self) -> bool:
        """Our FIN is in the sequence space already sent."""
        return self.fin_queued and seq_lt(self.data_end(), self.snd_max)

    def has_hole(self) -> bool:
        """Something is lost: the ACK of what is sent now would come late and mislead the RTT."""
        return self.congestion.recovering or self.sacked.count > 0 or self.retries > 0

    def has_work(self) -> bool:
        """Something is unacknowledged or unsent: the retransmission timer has a purpose."""
        if self.state in (State.SYN_SENT, State.SYN_RECEIVED) or self.outstanding():
            return True
        return self.tx.count > 0 or (self.fin_queued and not self.fin_sent())

    def receive_window(self) -> u32:
        """The window to advertise, before scaling.

        Never takes back what was promised; grows in steps of a segment or half the buffer
        (silly-window avoidance, RFC 9293 section 3.8.6.2.2).
        """
        promised = 0
        if seq_lt(self.rcv_nxt, self.rcv_advertised):
            promised = seq_diff(self.rcv_advertised, self.rcv_nxt)
        free = self.rx.free()
        if free <= promised:
            return u32(promised)
        step = min(len(self.rx.storage) // 2, self.mss)
        if free - promised < step:
            return u32(promised)
        unit = 1 << self.rcv_scale  # Round down to what the header can say.
        window = min(free, 0xFFFF << self.rcv_scale) // unit * unit
        return u32(max(window, promised))

    def synchronized(self) -> bool:
        """The peer's SYN has been acknowledged by both sides."""
        return self.state >= State.ESTABLISHED

    def can_send(self) -> bool:
        """Data may be queued."""
        if self.fin_queued:
            return False
        return self.state in (
            State.SYN_SENT,
            State.SYN_RECEIVED,
            State.ESTABLISHED,
            State.CLOSE_WAIT,
        )

    def next_deadline(self) -> u64:
        """The earliest of its timers."""
        soon = min(self.retransmit_at, self.ack_at)
        return min(soon, min(self.keepalive_at, self.linger_at))

    def stop_timers(self) -> None:
        """Disarm everything."""
        self.retransmit_at = NEVER
        self.ack_at = NEVER
        self.keepalive_at = NEVER
        self.linger_at = NEVER
        self.stalled_since = NEVER
