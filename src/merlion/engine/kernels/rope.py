"""Rotary position embedding, adjacent pairs (Su et al. 2021; llama's pairing).

Pair p of a head at position t turns by the angle t * scale * base**(-2p / rotary) / factor[p]. The
angles do not change while a model is loaded, so cosines and sines are tables, a row a position.
"""

from bare import Arena, Slice, Struct, f32, f64, i64, unchecked, usize
from bare.simd import multiversion
from merlion.engine.elementary import ANGLE_MAX, cos, pow, sin

TWO_PI = 6.283185307179586


class RopeTable(Struct):
    """cos and sin of every position and pair."""

    pairs: usize  # Half of the rotated dimensions of a head.
    cosines: Slice[f32]  # [position][pairs]
    sines: Slice[f32]  # [position][pairs]

    def init(
        self,
        arena: Arena,
        positions: usize,
        rotary: usize,
        base: f64,
        scale: f64,
        factors: Slice[f32],
    ) -> None:
        """Fill the tables. `factors` is `rope_freqs.weight`, or empty."""
        assert rotary % 2 == 0, "dimensions turn in pairs"
        self.pairs = rotary // 2
        self.cosines = arena.slice(f32, positions * self.pairs)
        self.sines = arena.slice(f32, positions * self.pairs)
        assert len(factors) == 0 or len(factors) == self.pairs
        for pair in range(self.pairs):
            frequency: f64 = scale * pow(base, -2.0 * f64(pair) / f64(rotary))
            if len(factors) > 0:
                frequency = frequency / f64(factors[pair])
            for position in range(positions):
                angle = f64(position) * frequency
                if angle > ANGLE_MAX:
                    angle = angle - f64(i64(angle / TWO_PI)) * TWO_PI
                self.cosines[position * self.pairs + pair] = f32(cos(angle))
                self.sines[position * self.pairs + pair] = f32(sin(angle))


@multiversion
@unchecked("the row range is asserted to lie in `values`, the position in the tables")
def rotate(
    values: Slice[f32],
    first: usize,
    last: usize,
    head_size: usize,
    table: RopeTable,
    position: usize,
) -> None:
    """Turn dimensions [first, last) of a row of heads of `head_size` dimensions."""
    pairs = table.pairs
    assert first % 2 == 0
    assert last % 2 == 0
    assert last <= len(values)
    assert (position + 1) * pairs <= len(table.cosines)
    assert (position + 1) * pairs <= len(table.sines)
    assert pairs * 2 <= head_size

    cosines = table.cosines[position * pairs : (position + 1) * pairs]
    sines = table.sines[position * pairs : (position + 1) * pairs]
    at = first
    while at < last:
        head = at // head_size * head_size
        end = min(last, head + head_size)
        low = min((at - head) // 2, pairs)
        high = min((end - head) // 2, pairs)
        turn(values[head + 2 * low : head + 2 * high], cosines[low:high], sines[low:high])
        at = end


@unchecked("the caller cut the three slices to fit")
def turn(values: Slice[f32], cosines: Slice[f32], sines: Slice[f32]) -> None:
    """Turn each pair. A plain loop: the compiler makes vectors of it."""
    for pair in range(len(cosines)):
        even = values[2 * pair]
        odd = values[2 * pair + 1]
        values[2 * pair] = even * cosines[pair] - odd * sines[pair]
        values[2 * pair + 1] = even * sines[pair] + odd * cosines[pair]
