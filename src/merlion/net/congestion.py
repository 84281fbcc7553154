"""Congestion control: slow start and avoidance (RFC 5681), NewReno (RFC 6582), and the window half
of SACK recovery (RFC 6675). Appropriate byte counting (RFC 3465, L = 1).

`flight` is what was sent and not acknowledged, in bytes.
"""

from bare import Struct, u32, wrap
from merlion.net.limits import CWND_MAX, DUPLICATE_ACKS, INITIAL_WINDOW_SEGMENTS
from merlion.net.sequence import seq_lt


class Congestion(Struct):
    """The congestion state of one connection."""

    mss: u32
    cwnd: u32
    ssthresh: u32
    counted: u32  # Bytes acknowledged towards the next increase in congestion avoidance.
    duplicates: u32
    recover: u32  # Sequence number that ends recovery.
    recovering: bool
    partial_seen: bool  # The first partial ACK of this recovery has come.

    def start(self, mss: u32, sequence: u32, syn_lost: bool) -> None:
        """Begin with the initial window (RFC 6928), or one segment after a lost SYN."""
        self.mss = mss
        self.cwnd = mss if syn_lost else min(INITIAL_WINDOW_SEGMENTS * mss, max(2 * mss, 14600))
        self.ssthresh = CWND_MAX
        self.counted = 0
        self.duplicates = 0
        self.recover = wrap(u32, sequence - 1)
        self.recovering = False
        self.partial_seen = False

    def on_progress(self, acknowledged: u32, limited: bool) -> None:
        """New data was acknowledged outside recovery; grow only when cwnd was what held us."""
        self.duplicates = 0
        if not limited or self.cwnd >= CWND_MAX:
            return
        if self.cwnd < self.ssthresh:
            self.cwnd += min(acknowledged, self.mss)
            return
        self.counted += acknowledged
        if self.counted >= self.cwnd:
            self.counted -= min(self.counted, self.cwnd)
            self.cwnd += self.mss

    def on_duplicate(self, una: u32, sent: u32, flight: u32, sack: bool) -> bool:
        """A duplicate ACK. True when it starts recovery: retransmit the first segment."""
        self.duplicates += 1
        if self.recovering:
            if not sack:
                self.cwnd = min(self.cwnd + self.mss, CWND_MAX)
            return False
        if self.duplicates < DUPLICATE_ACKS:
            return False
        if not seq_lt(self.recover, una):
            return False  # RFC 6582 section 3.2: still the losses of the last recovery.
        self.enter(sent, flight, sack)
        return True

    def enter(self, sent: u32, flight: u32, sack: bool) -> None:
        """Halve the window; recovery ends when everything up to `sent` is acknowledged."""
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.ssthresh if sack else self.ssthresh + DUPLICATE_ACKS * self.mss
        self.counted = 0
        self.recover = sent
        self.recovering = True
        self.partial_seen = False

    def on_recovery_ack(self, una: u32, acknowledged: u32, flight: u32, sack: bool) -> bool:
        """New data was acknowledged in recovery. True for a partial ACK: retransmit the next."""
        if not seq_lt(una, self.recover):
            self.cwnd = min(self.ssthresh, max(flight, self.mss) + self.mss)
            if sack:
                self.cwnd = self.ssthresh
            self.recovering = False
            self.duplicates = 0
            return False
        if not sack:
            self.cwnd = max(self.cwnd - min(self.cwnd, acknowledged), self.mss)
            if acknowledged >= self.mss:
                self.cwnd += self.mss
        return True

    def on_timeout(self, sent: u32, flight: u32, first: bool) -> None:
        """The retransmission timer expired (RFC 5681 section 3.1, equation 4)."""
        if first:
            self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss
        self.counted = 0
        self.duplicates = 0
        self.recover = sent
        self.recovering = False

    def on_idle(self) -> None:
        """Nothing was sent for a whole RTO: forget a large window (RFC 5681 section 4.1)."""
        self.cwnd = min(self.cwnd, INITIAL_WINDOW_SEGMENTS * self.mss)

    def limited_transmit(self) -> u32:
        """Bytes beyond cwnd that the first two duplicate ACKs allow (RFC 3042)."""
        if self.recovering or self.duplicates >= DUPLICATE_ACKS:
            return 0
        return self.duplicates * self.mss

    def set_mss(self, mss: u32) -> None:
        """The path turned out narrower."""
        self.mss = min(self.mss, mss)
