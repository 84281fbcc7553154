"""Keys and values of every cached position, in f16.

    keys    [layer][slot][head][position / 16][dimension][16 positions]
    values  [layer][slot][head][position][value_stride]

A vector of keys holds one dimension of 16 positions, so scores need no horizontal sum; a vector
of values holds 16 dimensions of one position. `value_stride` is the head size rounded up to 16.
A slot belongs to one sequence; positions at or after its length are never read into a result, so
the storage starts with whatever was there.
"""

from bare import Arena, Slice, Struct, f16, f32, unchecked, usize
from bare.simd import Vec, multiversion

LANES = 16  # Positions in a vector of keys, dimensions in a vector of values.


def round_up(value: usize) -> usize:
    """The next multiple of 16."""
    return (value + LANES - 1) // LANES * LANES


class KvCache(Struct):
    """The cache of a whole model."""

    slot_count: usize
    head_count: usize
    head_size: usize
    context: usize  # Positions of a slot, a multiple of 16.
    value_stride: usize
    keys: Slice[f16]
    values: Slice[f16]

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
        self.context = round_up(context)
        self.value_stride = round_up(head_size)
        heads = layer_count * slot_count * head_count
        self.keys = arena.unset(f16, heads * self.context * head_size)
        self.values = arena.unset(f16, heads * self.context * self.value_stride)

    def head_keys(self, layer: usize, slot: usize, head: usize) -> Slice[f16]:
        """Keys of one head: [position / 16][dimension][16]."""
        assert slot < self.slot_count
        assert head < self.head_count
        size = self.context * self.head_size
        at = ((layer * self.slot_count + slot) * self.head_count + head) * size
        return self.keys[at : at + size]

    def head_values(self, layer: usize, slot: usize, head: usize) -> Slice[f16]:
        """Values of one head: [position][value_stride]."""
        assert slot < self.slot_count
        assert head < self.head_count
        size = self.context * self.value_stride
        at = ((layer * self.slot_count + slot) * self.head_count + head) * size
        return self.values[at : at + size]

    def store_key(
        self, layer: usize, slot: usize, position: usize, row: Slice[f32], first: usize, last: usize
    ) -> None:
        """Keep dimensions [first, last) of a row of keys [head][dimension]."""
        dimension = first
        while dimension < last:
            head = dimension // self.head_size
            end = min(last, (head + 1) * self.head_size)
            within = dimension - head * self.head_size
            at = (position // LANES * self.head_size + within) * LANES + position % LANES
            scatter(row[dimension:end], self.head_keys(layer, slot, head), at, LANES)
            dimension = end

    def store_value(
        self, layer: usize, slot: usize, position: usize, row: Slice[f32], first: usize, last: usize
    ) -> None:
        """Keep dimensions [first, last) of a row of values [head][dimension]."""
        dimension = first
        while dimension < last:
            head = dimension // self.head_size
            end = min(last, (head + 1) * self.head_size)
            at = position * self.value_stride + dimension - head * self.head_size
            scatter(row[dimension:end], self.head_values(layer, slot, head), at, 1)
            dimension = end


def kv_bytes(
    layer_count: usize, slot_count: usize, head_count: usize, head_size: usize, context: usize
) -> usize:
    """Bytes a cache takes."""
    heads = layer_count * slot_count * head_count
    return heads * round_up(context) * (head_size + round_up(head_size)) * 2 + 128


@multiversion
@unchecked("the last index written is asserted to lie in `target`")
def scatter(source: Slice[f32], target: Slice[f16], first: usize, step: usize) -> None:
    """target[first + i * step] = source[i], rounded to f16."""
    assert len(source) == 0 or first + (len(source) - 1) * step < len(target)
    at = first
    done: usize = 0
    if step == 1:
        while done + Vec[f32].lanes <= len(source):
            Vec[f32].load(source, done).store(target, at)
            done += Vec[f32].lanes
            at += Vec[f32].lanes
    for i in range(done, len(source)):
        target[at] = source[i]
        at += step
