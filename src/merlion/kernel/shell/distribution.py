"""A set of times: kept, sorted, summed up in percentiles and as a histogram.

Nearest rank: p99 is the smallest value that at least 99 % of all do not exceed. The histogram's
bins are equal up to p99; what lies above shares the last one.

Times between tokens grow with the depth of the answer. What is left of p99/p50 without that growth
is the p99 of each time over the median of the WINDOW times around it: the local p99/p50.
"""

from bare import Array, Slice, Struct, array, f64, stack, static, u64, usize
from merlion.engine.limits import HISTOGRAM_BINS
from merlion.kernel.limits import SAMPLES_MAX

WINDOW = 63
HALF_WINDOW = WINDOW // 2
RATIO_ONE = 1_000_000  # Ratios are kept as whole millionths.


class Distribution(Struct):
    """Up to SAMPLES_MAX times in nanoseconds; more are not kept."""

    values: Slice[u64]
    count: usize = 0
    width: u64 = 0  # Of a bin.
    bins: Array[usize] = array(HISTOGRAM_BINS + 1)

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

    def mean(self) -> f64:
        """The mean of a set that is not empty."""
        total: u64 = 0
        for value in self.values[: self.count]:
            total += value
        return f64(total) / f64(self.count)

    def tail(self) -> f64:
        """p99 over p50 of a sorted set."""
        return f64(self.rank(990)) / f64(max(self.rank(500), 1))

    def local_ratios(self, source: "Distribution") -> None:
        """Become `source`'s values, in the order they came, over the median of those around."""
        self.clear()
        window = stack(u64, WINDOW)
        held: usize = 0
        for ahead in range(source.count + HALF_WINDOW):
            if ahead > WINDOW - 1:
                held = take_out(window[:held], source.values[ahead - WINDOW])
            if ahead < source.count:
                held = put_in(window, held, source.values[ahead])
            if ahead >= HALF_WINDOW:
                median = max(window[held // 2], 1)
                self.add(source.values[ahead - HALF_WINDOW] * RATIO_ONE // median)

    def local_tail(self) -> f64:
        """The local p99/p50: p99 of a sorted set of ratios."""
        return f64(self.rank(990)) / f64(RATIO_ONE)

    def fill_bins(self) -> None:
        """Count the values of each bin of the histogram. The set must be sorted."""
        low = self.values[0]
        self.width = (self.rank(990) - low) // HISTOGRAM_BINS + 1
        at: usize = 0
        for index in range(HISTOGRAM_BINS + 1):
            end = low + self.width * (index + 1)
            first = at
            while at < self.count and (self.values[at] < end or index == HISTOGRAM_BINS):
                at += 1
            self.bins[index] = at - first

    def bin_low(self, index: usize) -> u64:
        """The lower bound of a bin."""
        return self.values[0] + self.width * index

    def bin_high(self, index: usize) -> u64:
        """The upper bound of a bin."""
        return self.rank(1000) if index == HISTOGRAM_BINS else self.bin_low(index + 1)


def put_in(window: Slice[u64], held: usize, value: u64) -> usize:
    """Add a value to the first `held`, which are sorted; returns how many there are then."""
    at = held
    while at > 0 and window[at - 1] > value:
        window[at] = window[at - 1]
        at -= 1
    window[at] = value
    return held + 1


def take_out(window: Slice[u64], value: u64) -> usize:
    """Remove a value that is among the sorted ones; returns how many are left."""
    at: usize = 0
    while window[at] != value:
        at += 1
    while at + 1 < len(window):
        window[at] = window[at + 1]
        at += 1
    return at


samples = Distribution.zeroed(static(u64, SAMPLES_MAX))
ratios = Distribution.zeroed(static(u64, SAMPLES_MAX))
