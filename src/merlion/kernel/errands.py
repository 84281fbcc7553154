"""What all cores do at once when the boot core asks: measure themselves, between two requests.

The boot core sets the errand, sends it out under a new number and waits until every worker stands
ready; then all start together. Workers look for errands whenever they look for work (worker.py).
Invariant: nothing of an errand changes from `send` until `left` is 0.
"""

from enum import IntEnum

from bare import Array, Atomic, Slice, Struct, array, u8, u32, u64, usize
from bare.cpu import pause, rdtsc
from merlion.engine.probes import READ_STEP_BYTES, multiply_int8, read_all
from merlion.kernel.clock import clock
from merlion.kernel.limits import CPU_MAX

GAP_BOUNDS_NS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)


class Errand(IntEnum):
    """What there is to do."""

    LISTEN = 0  # Only read the clock: what does not get through to us was somebody else's.
    READ = 1  # Read a share of some memory once.
    MULTIPLY = 2  # Multiply int8 as fast as can be.


class Noise(Struct):
    """Gaps between two readings of the clock, by size: from each bound up to the next."""

    counts: Array[u64] = array(len(GAP_BOUNDS_NS))
    lost: Array[u64] = array(len(GAP_BOUNDS_NS))  # Ticks in them.
    longest: u64 = 0
    readings: u64 = 0

    def listen(self, duration: u64) -> None:
        """Read the clock for so many ticks."""
        least = clock.khz * GAP_BOUNDS_NS[0] // 1_000_000
        before = rdtsc()
        end = before + duration
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
        while index + 1 < len(GAP_BOUNDS_NS) and duration_ns >= GAP_BOUNDS_NS[index + 1]:
            index += 1
        self.counts[index] += 1
        self.lost[index] += gap

    def add(self, other: "Noise") -> None:
        """Add what another core heard."""
        for index in range(len(GAP_BOUNDS_NS)):
            self.counts[index] += other.counts[index]
            self.lost[index] += other.lost[index]
        self.longest = max(self.longest, other.longest)
        self.readings += other.readings

    def total(self) -> u64:
        """Return the ticks of all gaps."""
        total: u64 = 0
        for lost in self.lost:
            total += lost
        return total


class Result(Struct):
    """What one core found out."""

    number: u32  # Of the last errand it did.
    start: u64  # Clock ticks.
    end: u64
    noise: Noise


class Errands(Struct):
    """The errand that is out, if any."""

    number: Atomic[u32]  # Of the errand to do; 0: there was none yet.
    started: Atomic[u32]  # Of the errand that may begin.
    ready: Atomic[u32]  # Workers that wait for the start.
    left: Atomic[u32]  # Workers that have not finished.
    kind: Errand
    amount: u64  # Ticks to listen, rounds to multiply.
    data: Slice[u8]  # What is read and multiplied.
    cores: usize
    results: Array[Result] = array(CPU_MAX)

    def send(self, cores: u32) -> None:
        """Boot core: have `cores` cores do it, this one among them; return when all have."""
        self.cores = usize(cores)
        self.ready.store(0)
        self.left.store(cores - 1)
        number = self.number.load() + 1
        self.number.store(number)
        while self.ready.load() != cores - 1:
            pause()
        self.started.store(number)
        self.perform(0)
        while self.left.load() != 0:
            pause()

    def serve(self, index: usize) -> None:
        """Worker `index`: do what is out and not done yet."""
        number = self.number.load()
        result = self.results[index]
        if number == result.number or index >= self.cores:
            return
        result.number = number
        self.ready.fetch_add(1)
        while self.started.load() != number:
            pause()
        self.perform(index)
        self.left.fetch_sub(1)

    def perform(self, index: usize) -> None:
        """Do one core's part."""
        result = self.results[index]
        result.start = clock.ticks()
        match self.kind:
            case Errand.LISTEN:
                result.noise.assign(Noise())
                result.noise.listen(self.amount)
            case Errand.READ:
                part = len(self.data) // self.cores // READ_STEP_BYTES * READ_STEP_BYTES
                read_all(self.data[index * part : (index + 1) * part])
            case Errand.MULTIPLY:
                multiply_int8(self.data, usize(self.amount))
        result.end = clock.ticks()

    def span_ns(self) -> u64:
        """Return the time from the first core's start to the last one's end."""
        start = self.results[0].start
        end = self.results[0].end
        for result in self.results[: self.cores]:
            start = min(start, result.start)
            end = max(end, result.end)
        return max(clock.nanoseconds(end - start), 1)


errands = Errands.zeroed()
