"""A token bucket: at most `per_second` answers a second, in bursts of at most a tenth of that."""

from bare import Struct, u64
from merlion.net.limits import SECOND


class RateLimit(Struct):
    """`level` counts nanoseconds' worth of tokens."""

    per_second: u64
    level: u64
    last_ns: u64

    def allow(self, now_ns: u64) -> bool:
        """Take one token if there is one."""
        cost = SECOND // self.per_second
        if now_ns > self.last_ns:
            self.level = min(self.level + now_ns - self.last_ns, SECOND // 10)
            self.last_ns = now_ns
        if self.level < cost:
            return False
        self.level -= cost
        return True
