"""Round-trip estimation and the retransmission time-out (RFC 6298).

One segment is timed at a time, and never one that was sent twice (Karn's algorithm): there the
peer's echo of our timestamp is taken, where it sends one. It is less exact, so only there.
"""

from bare import Struct, u32, u64
from merlion.net.limits import (
    NEVER,
    RTO_INITIAL,
    RTO_MAX,
    RTO_VARIANCE_MIN,
)
from merlion.net.sequence import seq_le


class RoundTrip(Struct):
    """Nanoseconds throughout. `srtt` is zero before the first sample."""

    srtt: u64
    variance: u64
    rto: u64
    timed_at: u64  # NEVER while no segment is timed.
    timed_end: u32
    resent_at: u64  # When something was last sent again; NEVER when not since the last sample.

    def start(self) -> None:
        """No sample yet."""
        self.srtt = 0
        self.variance = 0
        self.rto = RTO_INITIAL
        self.timed_at = NEVER
        self.resent_at = NEVER

    def on_send(self, end: u32, now_ns: u64) -> None:
        """New data up to `end` was sent: time it unless another segment is being timed."""
        if self.timed_at == NEVER:
            self.timed_at = now_ns
            self.timed_end = end

    def on_retransmit(self, now_ns: u64) -> None:
        """An ACK could now belong to either copy: drop the measurement."""
        self.timed_at = NEVER
        self.resent_at = now_ns

    def on_ack(self, ack: u32, now_ns: u64) -> None:
        """Take the sample if `ack` covers the timed segment."""
        if self.timed_at == NEVER or not seq_le(self.timed_end, ack):
            return
        started = self.timed_at
        self.timed_at = NEVER
        self.sample(max(now_ns, started) - started)

    def sample(self, rtt: u64) -> None:
        """RFC 6298 section 2.2 and 2.3, with alpha = 1/8 and beta = 1/4."""
        rtt = max(rtt, 1)
        self.resent_at = NEVER
        if self.srtt == 0:
            self.srtt = rtt
            self.variance = rtt // 2
        else:
            error = max(self.srtt, rtt) - min(self.srtt, rtt)
            self.variance = (3 * self.variance + error) // 4
            self.srtt = (7 * self.srtt + rtt) // 8
        self.settle()

    def settle(self) -> None:
        """The time-out that the estimates give, without backoff."""
        if self.srtt == 0:
            self.rto = RTO_INITIAL
            return
        spread = max(4 * self.variance, RTO_VARIANCE_MIN)
        self.rto = min(self.srtt + spread, RTO_MAX)

    def back_off(self) -> None:
        """Double the time-out (section 5.5)."""
        self.rto = min(2 * self.rto, RTO_MAX)
