"""How fast one side of a connection moves, against clients that hold a place and give nothing.

Two rules, as in Apache's mod_reqtimeout: something moves every so often, and after that time of
grace the mean is at least RATE_BYTES_MIN a second. So no body or reply is too large for an honest
client on a slow line, and a byte now and then keeps nobody's place.
"""

from bare import Struct, u64, usize
from merlion.serve.limits import RATE_BYTES_MIN, SECOND_NS


class Pace(Struct):
    """Bytes since `start_ns`."""

    start_ns: u64
    moved_ns: u64
    byte_count: u64

    def begin(self, now_ns: u64) -> None:
        """Count from here on."""
        self.start_ns = now_ns
        self.moved_ns = now_ns
        self.byte_count = 0

    def move(self, count: usize, now_ns: u64) -> None:
        """Note bytes that moved."""
        self.moved_ns = now_ns
        self.byte_count += count

    def is_slow(self, grace_ns: u64, now_ns: u64) -> bool:
        """Say whether nothing moved for `grace_ns`, or too little beyond it."""
        earned_ns = self.byte_count * SECOND_NS // RATE_BYTES_MIN
        return now_ns - self.moved_ns > grace_ns or now_ns - self.start_ns > grace_ns + earned_ns
