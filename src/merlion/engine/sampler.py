"""From logits to the next token, in llama-server's order:

    penalties -> top_k -> top_p -> min_p -> temperature -> draw

Candidates are ordered by logit, of equal ones the lower id first, so a temperature of 0 takes the
lowest id of the likeliest. Everything depends on the logits, the parameters, the tokens so far and
(seed, number of tokens drawn) alone: the random numbers are a hash of a counter, so a request gives
the same tokens alone and in company. Sums are in f64. Logits are left as they were found.

No input traps; with logits that are not numbers the choice is arbitrary, but some token.
"""

from bare import Arena, Array, Slice, Struct, array, f32, f64, u16, u32, u64, unchecked, usize, wrap
from bare.simd import Vec, multiversion
from merlion.engine.elementary import exp, log
from merlion.engine.limits import PENALTY_WINDOW_MAX
from merlion.engine.params import GenerateParams

GOLDEN = 0x9E37_79B9_7F4A_7C15  # 2**64 / golden ratio: splitmix64's increment.
TWO_MINUS_53 = 1.0 / (1 << 53)
NEGATIVE_INFINITY = float("-inf")
ARGMAX_RUN = 1_024  # Logits whose highest is found before looking where it is.


class SamplerState(Struct):
    """What one sequence carries from token to token."""

    seed: u64
    drawn: u64
    accepted: u64
    recent: Array[u32] = array(PENALTY_WINDOW_MAX)  # The last tokens, a ring.

    def start(self, seed: u64) -> None:
        """Begin a sequence."""
        self.seed = seed
        self.drawn = 0
        self.accepted = 0

    def accept(self, token: u32) -> None:
        """Count a token towards the penalties. `sample` does so itself; the prompt is yours."""
        self.recent[usize(self.accepted % PENALTY_WINDOW_MAX)] = token
        self.accepted += 1

    def window(self, last: u32) -> u32:
        """How many tokens the penalties look back on."""
        return u32(min(last, min(self.accepted, PENALTY_WINDOW_MAX)))

    def token_back(self, distance: u32) -> u32:
        """The token accepted `distance` tokens ago, 0 being the last."""
        return self.recent[usize((self.accepted - 1 - distance) % PENALTY_WINDOW_MAX)]


class SamplerScratch(Struct):
    """Working memory for one vocabulary, shared by all sequences."""

    ids: Slice[u32]
    logits: Slice[f32]
    counts: Slice[u16]  # All zero between calls.
    touched: Array[u32] = array(PENALTY_WINDOW_MAX)
    original: Array[f32] = array(PENALTY_WINDOW_MAX)
    touched_count: u32

    def allocate(self, arena: Arena, vocabulary_size: usize) -> bool:
        """Reserve the memory; False when the arena is too small."""
        if not arena.fits(u32, vocabulary_size * 3 + 64):
            return False
        self.ids = arena.slice(u32, vocabulary_size)
        self.logits = arena.slice(f32, vocabulary_size)
        self.counts = arena.slice(u16, vocabulary_size)
        self.touched_count = 0
        return True

    def put(self, at: usize, token: u32, logit: f32) -> None:
        """Set candidate `at`."""
        self.ids[at] = token
        self.logits[at] = logit

    def better(self, a: usize, b: usize) -> bool:
        """Whether candidate `a` comes before `b`."""
        if self.logits[a] != self.logits[b]:
            return self.logits[a] > self.logits[b]
        return self.ids[a] < self.ids[b]

    def swap(self, a: usize, b: usize) -> None:
        """Exchange two candidates."""
        token = self.ids[a]
        logit = self.logits[a]
        self.put(a, self.ids[b], self.logits[b])
        self.put(b, token, logit)

    def sift_down(self, start: usize, count: usize, best_first: bool) -> None:
        """Restore the heap of `count` candidates below `start`."""
        at = start
        child = at * 2 + 1
        while child < count:
            if child + 1 < count and self.better(child + 1, child) == best_first:
                child += 1
            if self.better(child, at) != best_first:
                return
            self.swap(at, child)
            at = child
            child = at * 2 + 1

    def make_heap(self, count: usize, best_first: bool) -> None:
        """Order the first `count` candidates as a heap."""
        for i in range(count // 2):
            self.sift_down(count // 2 - 1 - i, count, best_first)


def sample(
    logits: Slice[f32], params: GenerateParams, state: SamplerState, scratch: SamplerScratch
) -> u32:
    """Choose the next token of a sequence and count it."""
    assert len(logits) == len(scratch.ids), "scratch was made for this vocabulary"
    penalise(logits, params, state, scratch)
    token: u32 = 0
    if not params.temperature > 0.0:
        token = argmax(logits)
    else:
        count = select_top(logits, params.top_k, scratch)
        first, last = cut_tail(params, scratch, count)
        token = draw(params, state, scratch, first, last)
    restore(logits, scratch)
    state.accept(token)
    return token


def argmax(logits: Slice[f32]) -> u32:
    """The lowest id of the highest logit."""
    best: usize = 0
    highest: f32 = NEGATIVE_INFINITY
    for first in range(0, len(logits), ARGMAX_RUN):
        found = peak(logits[first : min(first + ARGMAX_RUN, len(logits))])
        if found > highest:
            highest = found
            best = first
    end = min(best + ARGMAX_RUN, len(logits))
    for i in range(best, end):
        if logits[i] == highest:
            return u32(i)
    return u32(best)


@multiversion
@unchecked("whole vectors end before the slice does")
def peak(logits: Slice[f32]) -> f32:
    """The highest of some logits."""
    lanes = Vec[f32].lanes
    highest = logits[0]
    whole = len(logits) // lanes * lanes
    if whole > 0:
        peaks = Vec[f32].load(logits, 0)
        for i in range(lanes, whole, lanes):
            peaks = Vec[f32].load(logits, i).max(peaks)
        highest = peaks.max_lane()
    for i in range(whole, len(logits)):
        if logits[i] > highest:
            highest = logits[i]
    return highest


def penalise(
    logits: Slice[f32], params: GenerateParams, state: SamplerState, scratch: SamplerScratch
) -> None:
    """Lower the logits of recent tokens (CTRL's repeat penalty, OpenAI's other two)."""
    scratch.touched_count = 0
    neutral = params.presence_penalty == 0.0 and params.frequency_penalty == 0.0
    if neutral and params.repeat_penalty == 1.0:
        return
    window = state.window(params.penalty_last_n)
    for i in range(window):
        token = state.token_back(u32(i))
        if token < len(logits):
            scratch.counts[token] += 1
    for i in range(window):
        token = state.token_back(u32(i))
        if token < len(logits) and scratch.counts[token] > 0:
            times = f32(scratch.counts[token])
            scratch.counts[token] = 0
            logit = logits[token]
            scratch.touched[scratch.touched_count] = token
            scratch.original[scratch.touched_count] = logit
            scratch.touched_count += 1
            if logit <= 0.0:
                logit *= params.repeat_penalty
            else:
                logit /= params.repeat_penalty
            logits[token] = logit - times * params.frequency_penalty - params.presence_penalty


def restore(logits: Slice[f32], scratch: SamplerScratch) -> None:
    """Undo `penalise`."""
    for i in range(scratch.touched_count):
        logits[scratch.touched[i]] = scratch.original[i]


def select_top(logits: Slice[f32], top_k: u32, scratch: SamplerScratch) -> usize:
    """Make the `top_k` best tokens (0: all) the candidates, in no order. Returns their number."""
    count = len(logits)
    if top_k > 0 and top_k < count:
        count = top_k
    for i in range(count):
        scratch.put(i, u32(i), logits[i])
    if count == len(logits):
        return count
    scratch.make_heap(count, False)  # The worst of the kept ones is first.
    for i in range(count, len(logits)):
        if logits[i] > scratch.logits[0]:
            scratch.put(0, u32(i), logits[i])
            scratch.sift_down(0, count, False)
    return count


def highest(scratch: SamplerScratch, count: usize) -> f64:
    """The highest candidate logit."""
    best = scratch.logits[0]
    for i in range(1, count):
        if scratch.logits[i] > best:
            best = scratch.logits[i]
    return f64(best)


def cut_tail(params: GenerateParams, scratch: SamplerScratch, count: usize) -> tuple[usize, usize]:
    """top_p and min_p: candidates [first, last) stay, the best one last. Returns both ends."""
    if params.top_p >= 1.0 and params.min_p <= 0.0:
        return 0, count
    top = highest(scratch, count)
    target: f64 = 0.0
    if params.top_p < 1.0:
        for i in range(count):
            target += exp(f64(scratch.logits[i]) - top)
        target *= f64(params.top_p)

    # min_p keeps the best of whatever top_p keeps, so it may go first: far fewer to order.
    last = count
    if params.min_p > 0.0:
        last = drop_below(scratch, count, top + log(f64(min(params.min_p, 1.0))))
    scratch.make_heap(last, True)
    first = last
    covered: f64 = 0.0
    while first > 0:
        # The best leaves the heap for the place behind it, so the very best ends up last.
        first -= 1
        covered += exp(f64(scratch.logits[0]) - top)
        scratch.swap(0, first)
        scratch.sift_down(0, first, True)
        if params.top_p < 1.0 and covered >= target:
            break
    return first, last


def drop_below(scratch: SamplerScratch, count: usize, floor: f64) -> usize:
    """Keep the candidates of at least `floor`; one, if there is none. Returns their number."""
    kept: usize = 0
    for i in range(count):
        if f64(scratch.logits[i]) >= floor:
            scratch.put(kept, scratch.ids[i], scratch.logits[i])
            kept += 1
    return max(kept, 1)


def draw(
    params: GenerateParams, state: SamplerState, scratch: SamplerScratch, first: usize, last: usize
) -> u32:
    """Draw one of the candidates [first, last) at the temperature."""
    top = f64(scratch.logits[first])
    for i in range(first, last):
        top = max(top, f64(scratch.logits[i]))
    inverse = 1.0 / f64(params.temperature)
    total: f64 = 0.0
    for i in range(first, last):
        total += exp((f64(scratch.logits[i]) - top) * inverse)
    target = uniform(state.seed, state.drawn) * total
    state.drawn += 1
    covered: f64 = 0.0
    for i in range(first, last):
        at = last - 1 - (i - first)
        covered += exp((f64(scratch.logits[at]) - top) * inverse)
        if covered > target:
            return scratch.ids[at]
    return scratch.ids[last - 1]


def uniform(seed: u64, counter: u64) -> f64:
    """Number `counter` of the stream `seed`, in [0, 1): splitmix64 over a mixed seed."""
    value = mix(wrap(u64, mix(seed) + (counter + 1) * GOLDEN))
    return f64(value >> 11) * TWO_MINUS_53


def mix(value: u64) -> u64:
    """Splitmix64's finaliser: a bijection that spreads every bit."""
    z: u64 = value
    z = wrap(u64, (z ^ z >> 30) * 0xBF58_476D_1CE4_E5B9)
    z = wrap(u64, (z ^ z >> 27) * 0x94D0_49BB_1331_11EB)
    return z ^ z >> 31


def suppress(logits: Slice[f32], tokens: Slice[u32]) -> None:
    """Make tokens impossible (`ignore_eos`)."""
    for token in tokens:
        if token < len(logits):
            logits[token] = NEGATIVE_INFINITY
