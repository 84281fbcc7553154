"""Keys and values of every cached position, in bf16: the pairs that `dot2` multiplies.

    keys    [layer][slot][head][position / 32][parity][dimension / 2][16 positions][2 dimensions]
    values  [layer][slot][head][position / 2][value_stride][2 positions]

A vector of keys holds two dimensions of 16 positions, so scores need no horizontal sum; a vector
of values holds 16 dimensions of two positions. `value_stride` is the head size rounded up to 16.
A slot belongs to one sequence; positions at or after its length are never read into a result, so
the storage starts with whatever was there. Only the last position's partner is read, and weighted
with 0: storing an even position makes its values 0.
"""

from bare import Arena, Slice, Struct, bf16, f32, reinterpret, stack, u32, unchecked, usize
from bare.simd import Vec, multiversion, pack, pairs
from merlion.engine.kernels.attention import value_stride
from merlion.engine.kernels.attention_tile import SPAN
from merlion.engine.kernels.shapes import GROUP


def whole_spans(context: usize) -> usize:
    """Positions of a slot: scores are computed in spans."""
    return (context + SPAN - 1) // SPAN * SPAN


class KvCache(Struct):
    """The cache of a whole model."""

    slot_count: usize
    head_count: usize
    head_size: usize
    context: usize  # Positions of a slot, a multiple of SPAN.
    value_stride: usize
    keys: Slice[bf16]
    values: Slice[bf16]

    def init(
        self,
        arena: Arena,
        layer_count: usize,
        slot_count: usize,
        head_count: usize,
        head_size: usize,
        context: usize,
    ) -> None:
        """Take the storage for `slot_count` sequences of up to `context` positions."""
        self.slot_count = slot_count
        self.head_count = head_count
        self.head_size = head_size
        self.context = whole_spans(context)
        self.value_stride = value_stride(head_size)
        heads = layer_count * slot_count * head_count
        self.keys = arena.unset(bf16, heads * self.context * head_size)
        self.values = arena.unset(bf16, heads * self.context * self.value_stride)

    def head_keys(self, layer: usize, slot: usize, head: usize) -> Slice[bf16]:
        """Keys of one head: [position / 32][parity][dimension / 2][16][2]."""
        assert slot < self.slot_count
        assert head < self.head_count
        size = self.context * self.head_size
        at = ((layer * self.slot_count + slot) * self.head_count + head) * size
        return self.keys[at : at + size]

    def head_values(self, layer: usize, slot: usize, head: usize) -> Slice[bf16]:
        """Values of one head: [position / 2][value_stride][2]."""
        assert slot < self.slot_count
        assert head < self.head_count
        size = self.context * self.value_stride
        at = ((layer * self.slot_count + slot) * self.head_count + head) * size
        return self.values[at : at + size]

    def store_key(
        self, layer: usize, slot: usize, position: usize, row: Slice[f32], first: usize, last: usize
    ) -> None:
        """Keep dimensions [first, last), both even, of a row of keys [head][dimension]."""
        dimension = first
        while dimension < last:
            head = dimension // self.head_size
            end = min(last, (head + 1) * self.head_size)
            within = dimension - head * self.head_size
            vector = position // SPAN * 2 + position % 2
            at = (vector * self.head_size + within) * GROUP + position % SPAN // 2 * 2
            scatter_pairs(row[dimension:end], self.head_keys(layer, slot, head), at)
            dimension = end

    def store_value(
        self, layer: usize, slot: usize, position: usize, row: Slice[f32], first: usize, last: usize
    ) -> None:
        """Keep dimensions [first, last) of a row of values [head][dimension]."""
        dimension = first
        while dimension < last:
            head = dimension // self.head_size
            end = min(last, (head + 1) * self.head_size)
            within = dimension - head * self.head_size
            at = (position // 2 * self.value_stride + within) * 2
            target = self.head_values(layer, slot, head)[at : at + (end - dimension) * 2]
            if position % 2 == 0:
                start_pairs(row[dimension:end], target)
            else:
                finish_pairs(row[dimension:end], target)
            dimension = end


def kv_bytes(
    layer_count: usize, slot_count: usize, head_count: usize, head_size: usize, context: usize
) -> usize:
    """Bytes a cache takes."""
    heads = layer_count * slot_count * head_count
    return heads * whole_spans(context) * (head_size + value_stride(head_size)) * 2 + 128


@multiversion
@unchecked("the last index written is asserted to lie in `target`")
def scatter_pairs(source: Slice[f32], target: Slice[bf16], first: usize) -> None:
    """Pairs of neighbours of `source`, rounded, to every 16th pair of `target` from `first`."""
    assert len(source) % 2 == 0
    assert first % 2 == 0
    assert first + len(source) * GROUP < len(target) + 2 * GROUP
    words = reinterpret(u32, target)
    rounded = stack(bf16, 32)
    pair = reinterpret(u32, rounded)
    lanes = Vec[f32].lanes
    at = first // 2
    done: usize = 0
    while done + 2 * lanes <= len(source):
        pack(Vec[f32].load(source, done), Vec[f32].load(source, done + lanes)).store(rounded, 0)
        for i in range(lanes):
            words[at] = pair[i]
            at += GROUP
        done += 2 * lanes
    for i in range(done, len(source), 2):
        rounded[0] = source[i]
        rounded[1] = source[i + 1]
        words[at] = pair[0]
        at += GROUP


@multiversion
@unchecked("the lengths are asserted")
def start_pairs(source: Slice[f32], target: Slice[bf16]) -> None:
    """`source`, rounded, each with a 0 behind it."""
    assert len(target) == 2 * len(source)
    lanes = Vec[f32].lanes
    whole = len(source) // lanes * lanes
    for i in range(0, whole, lanes):
        pairs(Vec[f32].load(source, i), Vec[f32].splat(0.0)).store(target, 2 * i)
    for i in range(whole, len(source)):
        target[2 * i] = source[i]
        target[2 * i + 1] = 0.0


@multiversion
@unchecked("the lengths are asserted")
def finish_pairs(source: Slice[f32], target: Slice[bf16]) -> None:
    """`source`, rounded, behind the values that are there."""
    assert len(target) == 2 * len(source)
    lanes = Vec[f32].lanes
    whole = len(source) // lanes * lanes
    for i in range(0, whole, lanes):
        first = Vec[bf16].load(target, 2 * i).even()
        pairs(first, Vec[f32].load(source, i)).store(target, 2 * i)
    for i in range(whole, len(source)):
        target[2 * i + 1] = source[i]
