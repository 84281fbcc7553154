"""How long a core polls for another one before it halts for a moment.

While a pass is computed, a core that has run out of work polls: an interrupt that ends a halt costs
more than most waits last. But where the host has fewer processors than the machine has cores, who
polls may hold the very processor that the awaited core needs. So polling in vain has a budget: what
a wait lasts beyond FREE_WAIT_NS is paid from a credit that time refills at 1 to REFILL_SHARE. Once
it is used up the core naps between two polls, until there is credit again. No more than that share
of a core's time is lost, and a machine left in peace never naps.

Between two passes nobody is behind: a core polls for IDLE_NS, free of charge, then naps.
"""

from bare import Struct, u64
from merlion.kernel.limits import CREDIT_NS, FREE_WAIT_NS, IDLE_NS, REFILL_SHARE


class Patience(Struct):
    """One core's credit, and the wait that it is in."""

    credit_ns: u64 = 0  # Full at the first call: all the time before it counts.
    before_ns: u64 = 0  # When `lasts` was asked before.
    since_ns: u64 = 0  # When this wait began.
    done: u64 = 0  # What the core had computed then.

    def lasts(self, now_ns: u64, done: u64, in_pass: bool) -> bool:
        """Whether to poll once more. `done` grows whenever the core has computed something."""
        elapsed = now_ns - self.before_ns
        self.before_ns = now_ns
        self.credit_ns = min(self.credit_ns + elapsed // REFILL_SHARE, CREDIT_NS)
        if done != self.done:
            self.done = done
            self.since_ns = now_ns
        waited = now_ns - self.since_ns
        if not in_pass:
            return waited <= IDLE_NS
        if waited <= FREE_WAIT_NS:
            return True
        self.credit_ns -= min(self.credit_ns, elapsed)
        return self.credit_ns > 0
