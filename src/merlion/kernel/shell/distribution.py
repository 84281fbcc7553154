"""A set of times: kept, sorted, summed up in percentiles and drawn as a histogram.

Nearest rank: p99 is the smallest value that at least 99 % of all do not exceed. The histogram's
bins are equal up to p99; what lies above shares the last one.
"""

from bare import Slice, Struct, f64, static, u64, usize
from merlion.kernel.console import console
from merlion.kernel.limits import SAMPLES_MAX

BINS = 12
BAR_COLUMNS = 40
LABEL_COLUMNS = 26


class Distribution(Struct):
    """Up to SAMPLES_MAX times in nanoseconds; more are not kept."""

    values: Slice[u64]
    count: usize = 0

    def clear(self) -> None:
        """Forget all."""
        self.count = 0

    def add(self, value: u64) -> None:
        """Keep one time."""
        if self.count < len(self.values):
            self.values[self.count] = value
            self.count += 1

    def sort(self) -> None:
        """Shell's sort, gaps 3 n + 1: a few milliseconds for the largest set."""
        values = self.values
        gap: usize = 1
        while gap < self.count:
            gap = gap * 3 + 1
        while gap > 1:
            gap //= 3
            for i in range(gap, self.count):
                value = values[i]
                at: usize = i
                while at >= gap and values[at - gap] > value:
                    values[at] = values[at - gap]
                    at -= gap
                values[at] = value

    def rank(self, per_mille: usize) -> u64:
        """The value at a rank, of a sorted set that is not empty."""
        index = (self.count * per_mille + 999) // 1000
        return self.values[min(max(index, 1), self.count) - 1]

    def show(self) -> None:
        """Write percentiles in milliseconds. The set must be sorted."""
        out = console.out
        out.text(b"p50 ")
        out.fixed(f64(self.rank(500)) / 1e6, 2)
        out.text(b"  p90 ")
        out.fixed(f64(self.rank(900)) / 1e6, 2)
        out.text(b"  p99 ")
        out.fixed(f64(self.rank(990)) / 1e6, 2)
        out.text(b"  p99.9 ")
        out.fixed(f64(self.rank(999)) / 1e6, 2)
        out.text(b"  max ")
        out.fixed(f64(self.rank(1000)) / 1e6, 2)
        out.text(b" ms  p99/p50 ")
        out.fixed(f64(self.rank(990)) / f64(max(self.rank(500), 1)), 2)
        console.line(b"")

    def draw(self) -> None:
        """Draw the histogram, a line for each bin. The set must be sorted."""
        low = self.values[0]
        width = (self.rank(990) - low) // BINS + 1
        most: usize = 1
        for pass_number in range(2):
            at: usize = 0
            for index in range(BINS + 1):
                end = low + width * (index + 1)
                first = at
                while at < self.count and (self.values[at] < end or index == BINS):
                    at += 1
                if pass_number == 0:
                    most = max(most, at - first)
                elif index < BINS or at > first:
                    last = self.rank(1000) if index == BINS else end
                    draw_bar(low + width * index, last, at - first, most)


def draw_bar(low: u64, high: u64, count: usize, most: usize) -> None:
    """One line: bounds in milliseconds, a bar, the count."""
    out = console.out
    start = out.length
    out.text(b"  ")
    out.fixed(f64(low) / 1e6, 3)
    out.text(b" to ")
    out.fixed(f64(high) / 1e6, 3)
    out.text(b" ms")
    while out.length < start + LABEL_COLUMNS:
        out.byte(0x20)
    columns = (count * BAR_COLUMNS + most - 1) // most
    for _ in range(columns):
        out.byte(0x23)
    out.byte(0x20)
    out.unsigned(count)
    console.line(b"")


samples = Distribution.zeroed(static(u64, SAMPLES_MAX))
