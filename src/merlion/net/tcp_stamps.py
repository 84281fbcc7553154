"""Timestamps (RFC 7323 sections 3 to 5): what one flow remembers of them, and what they are for.

Both SYNs must carry the option; then every segment but RST does. An old duplicate whose sequence
number fits again is told by its older stamp (PAWS), and the echo of ours tells which copy of a
segment that was sent twice is answered, which the sequence numbers cannot (Karn's algorithm).

Our clock ticks every millisecond, from an offset for each flow that a key hides: a flow that is
opened again goes on where it was, and no flow tells how long the machine has been up.
"""

from bare import Struct, u32, u64, wrap
from merlion.net.limits import MILLISECOND, RTO_MAX, STAMP_LIFETIME
from merlion.net.sequence import seq_le, seq_lt


class Stamps(Struct):
    """The state of one flow. `offset` is set before anything is sent."""

    on: bool  # Negotiated.
    offset: u32
    recent: u32  # TS.Recent: what we echo.
    recent_at: u64
    acknowledged: u32  # Last.ACK.sent: what the newest segment we echo must reach back to.
    echo: u32  # The newest echo of ours.

    def start(self, offset: u32) -> None:
        """Not negotiated yet."""
        self.on = False
        self.offset = offset
        self.recent = 0
        self.recent_at = 0
        self.acknowledged = 0
        self.echo = 0

    def agree(self, value: u32, now_ns: u64) -> None:
        """Both SYNs have the option; the peer's says `value`."""
        self.on = True
        self.recent = value
        self.recent_at = now_ns

    def clock(self, now_ns: u64) -> u32:
        """What a segment sent now says."""
        return wrap(u32, now_ns // MILLISECOND + self.offset)

    def is_old(self, value: u32, now_ns: u64) -> bool:
        """Whether a segment is from before one that was taken (section 5.3, R1).

        After 24 days of silence the peer's clock may have passed half its range (section 5.5).
        """
        return seq_lt(value, self.recent) and now_ns - self.recent_at < STAMP_LIFETIME

    def take(self, sequence: u32, value: u32, now_ns: u64) -> None:
        """Echo the stamp of an acceptable segment from now on, if it is the one to echo (R3)."""
        if seq_le(sequence, self.acknowledged) and not self.is_old(value, now_ns):
            self.recent = value
            self.recent_at = now_ns

    def round_trip(self, sent_at: u64, now_ns: u64) -> u64:
        """How long ago the segment left that the peer answers; 0 when that was before `sent_at`.

        Where an ACK was lost, the next one echoes what the lost one did: of a segment sent twice
        only the answer to the second copy says how long the way is.
        """
        if seq_lt(self.echo, self.clock(sent_at)):
            return 0
        age = u64(wrap(u32, self.clock(now_ns) - self.echo)) * MILLISECOND
        return 0 if age > RTO_MAX else max(age, MILLISECOND)
