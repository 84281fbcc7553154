"""`noise [SECONDS]`: what a core that only reads the clock does not get to see.

The boot core reads the time-stamp counter as fast as it can. Between two readings lie some 20 ns;
a larger gap is time that somebody else had the core: a hypervisor, its host, firmware. No interrupt
is enabled, so none of it is ours.
"""

from bare import Array, Bytes, Struct, array, f64, u64, usize
from bare.cpu import rdtsc
from merlion.kernel.clock import clock
from merlion.kernel.config import parse_number
from merlion.kernel.console import console

SECONDS_DEFAULT = 1
SECONDS_MAX = 60
BOUNDS_NS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
BOUND_TEXT = (b"1 us", b"10 us", b"100 us", b"1 ms", b"10 ms")


class Noise(Struct):
    """Gaps by size: those of at least each bound and less than the next."""

    counts: Array[u64] = array(len(BOUNDS_NS))
    lost: Array[u64] = array(len(BOUNDS_NS))  # Ticks in them.
    longest: u64 = 0
    readings: u64 = 0

    def listen(self, seconds: u64) -> None:
        """Read the clock for that long."""
        least = clock.khz * BOUNDS_NS[0] // 1_000_000
        before = rdtsc()
        end = before + clock.khz * 1000 * seconds
        while before < end:
            now = rdtsc()
            gap = now - before if now > before else 0
            before = now
            self.readings += 1
            if gap >= least:
                self.note(gap)

    def note(self, gap: u64) -> None:
        """Count one gap."""
        self.longest = max(self.longest, gap)
        duration_ns = clock.nanoseconds(gap)
        index: usize = 0
        while index + 1 < len(BOUNDS_NS) and duration_ns >= BOUNDS_NS[index + 1]:
            index += 1
        self.counts[index] += 1
        self.lost[index] += gap

    def report(self, seconds: u64) -> None:
        """Show the gaps by size."""
        out = console.out
        total: u64 = 0
        for index in range(len(BOUNDS_NS)):
            out.text(b"gaps from ")
            out.text(BOUND_TEXT[index])
            out.text(b": ")
            out.unsigned(self.counts[index])
            out.text(b", together ")
            out.fixed(f64(clock.nanoseconds(self.lost[index])) / 1e6, 3)
            console.line(b" ms")
            total += self.lost[index]
        out.text(b"longest ")
        out.fixed(f64(clock.nanoseconds(self.longest)) / 1e6, 3)
        out.text(b" ms; lost ")
        out.fixed(f64(clock.nanoseconds(total)) / f64(seconds) / 1e7, 3)
        out.text(b" % of ")
        out.unsigned(seconds)
        out.text(b" s; ")
        out.unsigned(self.readings)
        console.line(b" readings")


def run(arguments: Bytes) -> None:
    """Listen, and say what there was. Nothing else runs meanwhile."""
    seconds: u64 = SECONDS_DEFAULT
    if len(arguments) > 0:
        number = parse_number(arguments)
        if number is None or number == 0 or number > SECONDS_MAX:
            console.line(b"usage: noise [seconds]")
            return
        seconds = number
    noise = Noise()
    noise.listen(seconds)
    noise.report(seconds)
