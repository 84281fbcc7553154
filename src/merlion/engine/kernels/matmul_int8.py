"""Matrix product with quantised weights: exact int8 dot products by block, f32 across blocks.

Stored weights are unsigned (tensor.py). Of a block of 32 columns,

    output += (w_scale * x_scale) * dot(u - bias, x) + w_minimum * (x_scale * sum(x))

where dot(u - bias, x) = dot(u, x) - bias * sum(x), and that correction is where the integer sum
starts. Blocks are added in order, whatever is computed beside them.

Many inputs: a block of weights is unpacked into registers once and multiplied with every input,
whose totals wait in the L1 cache. So weights stream through once, in the order they have in memory,
and a broadcast input serves two groups: an operand in memory costs a seventh of the rate of
vpdpbusd. One input: the total stays in a register.
"""

from typing import ClassVar

from bare import Slice, f32, i8, i16, i32, stack, u8, unchecked, unroll, usize
from bare.cpu import prefetch, prefetch_l2
from bare.simd import (
    Vec,
    dot2_i16,
    dot4,
    dot4_small,
    exact_dot4,
    fma,
    multiversion,
    times_sign,
)
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.packing import (
    LINE,
    Packing,
    minimums_at,
    packed_bytes,
    quants_at,
    scales_at,
)
from merlion.engine.kernels.shapes import BLOCK, GROUP
from merlion.engine.tensor import Matrix

SLAB = 64  # Inputs whose totals, of two groups, take 8 KiB of the L1 cache.
PARTS_MAX = 4  # Vectors of a group, of the narrowest.
# What is asked for before it is needed: by one row into the L1 cache, or only into the L2; by many
# rows into the L2, of each group.
ROW_AHEAD_BYTES = 7168
ROW_AHEAD_L2_BYTES = 2048
AHEAD_BYTES = 4096


class Groups:
    """How many groups one pass multiplies (compile time only)."""

    COUNT: ClassVar[int] = 1


class One(Groups):
    """Eight registers of weights: for 16 registers, and for an odd group at the end."""


class Two(Groups):
    """16 of the 32 registers of AVX-512 hold weights."""

    COUNT = 2


@multiversion
@unchecked("the group range and the sizes of all three operands are asserted at entry")
def matmul_int8[P: Packing](
    packing: type[P],
    matrix: Matrix,
    inputs: Activations,
    count: usize,
    output: Slice[f32],
    stride: usize,
    first: usize,
    last: usize,
    accumulate: bool,
) -> None:
    """As `matmul`."""
    blocks = matrix.blocks
    assert first < last
    assert packed_bytes(packing, last * blocks) <= len(matrix.packed)
    assert len(matrix.packed) <= 2 * len(matrix.halves)
    assert 0 < count <= inputs.rows
    assert inputs.rows * blocks <= len(inputs.scales)
    assert (count - 1) * stride + (last - first) * GROUP <= len(output)

    lanes = Vec[f32].lanes
    if count == 1:
        for group in range(first, last):
            out = output[(group - first) * GROUP :]
            multiply_row(packing, matrix, inputs, out, group, accumulate)
        return
    totals = stack(Vec[f32], SLAB * Two.COUNT)
    for start in range(0, count, SLAB):
        rows = min(count - start, SLAB)
        group = first
        if lanes == GROUP:
            while group + 2 <= last:
                out = output[start * stride + (group - first) * GROUP :]
                multiply_slab(packing, Two, matrix, inputs, start, rows, totals, group, 0)
                put(Two, totals, rows, out, stride, accumulate)
                group += 2
        while group < last:
            for part in range(0, GROUP, lanes):
                out = output[start * stride + (group - first) * GROUP + part :]
                multiply_slab(packing, One, matrix, inputs, start, rows, totals, group, part)
                put(One, totals, rows, out, stride, accumulate)
            group += 1


@unchecked("the caller asserted the ranges")
def multiply_row[P: Packing](
    packing: type[P],
    matrix: Matrix,
    inputs: Activations,
    output: Slice[f32],
    group: usize,
    accumulate: bool,
) -> None:
    """One group, for one input."""
    blocks = matrix.blocks
    lanes = Vec[f32].lanes
    totals = stack(Vec[f32], PARTS_MAX)
    first = group * blocks
    last = first + blocks
    if first % 2 != 0:
        add_block(packing, matrix, inputs, first, 0, totals)
    # Two blocks a round: each load then goes on by the same step, which the hardware's
    # prefetching recognises.
    for pair in range((first + 1) // 2, last // 2):
        for half in unroll(2):
            at = pair * 2 + half
            add_block(packing, matrix, inputs, at, at - first, totals)
    if last % 2 != 0:
        add_block(packing, matrix, inputs, last - 1, blocks - 1, totals)
    for k in unroll(PARTS_MAX):
        if k * lanes < GROUP:
            total = totals[k]
            if accumulate:
                total = total + Vec[f32].load(output, k * lanes)
            total.store(output, k * lanes)


@unchecked("the caller asserted the ranges")
def add_block[P: Packing](
    packing: type[P],
    matrix: Matrix,
    inputs: Activations,
    at: usize,
    block: usize,
    totals: Slice[Vec[f32]],
) -> None:
    """totals [part] += the product of one block, number `at`, with that of the one input."""
    # Where a block takes many instructions they fill the processor's window, so that loads start
    # late: their lines must be in the L1 cache. Bytes for vpdpbusd are loaded as they are.
    if packing.IS_NIBBLES or not exact_dot4():
        prefetch_block(packing, matrix, at + ROW_AHEAD_BYTES // packing.BYTES, True)
    else:
        prefetch_block(packing, matrix, at + ROW_AHEAD_L2_BYTES // packing.BYTES, False)
    lanes = Vec[f32].lanes
    x = block * inputs.rows
    for k in unroll(PARTS_MAX):
        if k * lanes < GROUP:
            part = k * lanes
            weights = stack(Vec[u8], 8)
            unpack(packing, matrix, at, part, weights, 0)
            dots = block_products(packing, inputs, x, weights)
            totals[k] = add_scaled(packing, matrix, inputs, at, part, x, dots, totals[k])


@unchecked("the caller asserted the ranges")
def block_products[P: Packing](
    packing: type[P], inputs: Activations, x: usize, weights: Slice[Vec[u8]]
) -> Vec[i32]:
    """The integer sums of one block.

    In two chains for nibbles, which gains a twentieth; bytes would lose a tenth by it.
    """
    dots = first_sum(packing, inputs, x)
    rest = Vec[i32].splat(0)
    halves = Vec[i16].splat(0)
    for j in unroll(8):
        values = Vec[i8].broadcast4(inputs.quants, x * BLOCK + j * 4)
        if sums_fit_i16(packing):
            halves = dot2_i16(halves, weights[j], values)
        elif packing.IS_NIBBLES and j >= 4:
            rest = add_products(rest, weights[j], values)
        else:
            dots = add_products(dots, weights[j], values)
    if sums_fit_i16(packing):
        return dots + halves.sum_pairs()
    return dots + rest if packing.IS_NIBBLES else dots


@unchecked("the caller asserted the ranges")
def multiply_slab[P: Packing, G: Groups](
    packing: type[P],
    groups: type[G],
    matrix: Matrix,
    inputs: Activations,
    start: usize,
    rows: usize,
    totals: Slice[Vec[f32]],
    group: usize,
    part: usize,
) -> None:
    """totals [input][group] += lanes [part, part + lanes) of `groups.COUNT` groups."""
    blocks = matrix.blocks
    ahead_blocks = AHEAD_BYTES // packing.BYTES
    for block in range(blocks):
        # The block to fetch ahead: of this pass, or at the beginning of the next.
        ahead = group * blocks + block + ahead_blocks
        if block + ahead_blocks >= blocks:
            ahead += (groups.COUNT - 1) * blocks
        weights = stack(Vec[u8], 8 * groups.COUNT)
        for g in unroll(groups.COUNT):
            prefetch_block(packing, matrix, ahead + g * blocks, False)
            unpack(packing, matrix, (group + g) * blocks + block, part, weights, g * 8)
        for c in range(rows):
            x = block * inputs.rows + start + c
            dots = stack(Vec[i32], groups.COUNT)
            multiply_groups(packing, groups, inputs, x, weights, dots)
            for g in unroll(groups.COUNT):
                at = (group + g) * blocks + block
                place = c * groups.COUNT + g
                total = totals[place]
                totals[place] = add_scaled(packing, matrix, inputs, at, part, x, dots[g], total)


@unchecked("the caller asserted the ranges")
def multiply_groups[P: Packing, G: Groups](
    packing: type[P],
    groups: type[G],
    inputs: Activations,
    x: usize,
    weights: Slice[Vec[u8]],
    dots: Slice[Vec[i32]],
) -> None:
    """dots [group] = the integer sums of a block, for one input."""
    halves = stack(Vec[i16], groups.COUNT)
    for g in unroll(groups.COUNT):
        dots[g] = first_sum(packing, inputs, x)
    for j in unroll(8):
        values = Vec[i8].broadcast4(inputs.quants, x * BLOCK + j * 4)
        for g in unroll(groups.COUNT):
            if sums_fit_i16(packing):
                halves[g] = dot2_i16(halves[g], weights[g * 8 + j], values)
            else:
                dots[g] = add_products(dots[g], weights[g * 8 + j], values)
    if sums_fit_i16(packing):
        for g in unroll(groups.COUNT):
            dots[g] = dots[g] + halves[g].sum_pairs()


@unchecked("the caller asserted the ranges")
def add_scaled[P: Packing](
    packing: type[P],
    matrix: Matrix,
    inputs: Activations,
    at: usize,
    part: usize,
    x: usize,
    dots: Vec[i32],
    total: Vec[f32],
) -> Vec[f32]:
    """`total` and the integer sums of one block and one input, by the scales of both."""
    if packing.HAS_MINIMUM:
        minimum = Vec[f32].load(matrix.halves, minimums_at(packing, at) + part)
        total = fma(minimum, Vec[f32].splat(inputs.sums[x]), total)
    scale = Vec[f32].load(matrix.halves, scales_at(packing, at) + part)
    return fma(dots.to(f32), scale * Vec[f32].splat(inputs.scales[x]), total)


@unchecked("the caller asserted the ranges")
def put[G: Groups](
    groups: type[G],
    totals: Slice[Vec[f32]],
    rows: usize,
    output: Slice[f32],
    stride: usize,
    accumulate: bool,
) -> None:
    """Store the totals of `rows` inputs, or add them to what is there; then clear them."""
    for c in range(rows):
        for g in unroll(groups.COUNT):
            place = c * stride + g * GROUP
            total = totals[c * groups.COUNT + g]
            if accumulate:
                total = total + Vec[f32].load(output, place)
            total.store(output, place)
            totals[c * groups.COUNT + g] = Vec[f32].splat(0.0)


@unchecked("a prefetch does not fault")
def prefetch_block[P: Packing](packing: type[P], matrix: Matrix, at: usize, near: bool) -> None:
    """Ask for a block of a group, which need not exist."""
    for line in unroll(packing.BYTES // LINE):
        fetch(matrix.packed, quants_at(packing, at) + line * LINE, near)
    fetch(matrix.halves, scales_at(packing, at), near)
    if packing.HAS_MINIMUM:
        fetch(matrix.halves, minimums_at(packing, at), near)


@unchecked("a prefetch does not fault")
def fetch[E](data: Slice[E], index: usize, near: bool) -> None:
    """Ask for a line: to the L1 cache, or only to the L2. Callers give a constant."""
    if near:
        prefetch(data, index)
    else:
        prefetch_l2(data, index)


@unchecked("the caller asserted the ranges")
def unpack[P: Packing](
    packing: type[P],
    matrix: Matrix,
    at: usize,
    part: usize,
    weights: Slice[Vec[u8]],
    first: usize,
) -> None:
    """Unsigned bytes of a block: vector j holds columns 4j to 4j + 3 of each row."""
    start = quants_at(packing, at) + part * 4
    if packing.IS_NIBBLES:
        mask = Vec[u8].splat(15)
        for j in unroll(4):
            pairs = Vec[u8].load(matrix.packed, start + j * LINE)
            weights[first + j] = pairs & mask
            weights[first + 4 + j] = pairs >> 4
    else:
        for j in unroll(8):
            weights[first + j] = Vec[u8].load(matrix.packed, start + j * LINE)


@unchecked("the caller asserted the ranges")
def first_sum[P: Packing](packing: type[P], inputs: Activations, x: usize) -> Vec[i32]:
    """Where the integer sum of a block starts."""
    if packing.BIAS == 8:
        return Vec[i32].splat(inputs.offsets_8[x])
    if packing.BIAS == 128 and exact_dot4():
        return Vec[i32].splat(inputs.offsets_128[x])
    return Vec[i32].splat(0)


def sums_fit_i16[P: Packing](packing: type[P]) -> bool:
    """Whether sums of 16 bits are the shorter way (known while compiling).

    16 products of a nibble and a byte are at most 16 * 15 * 127 = 30,480.
    """
    return packing.IS_NIBBLES and not exact_dot4()


def add_products(dots: Vec[i32], weights: Vec[u8], values: Vec[i8]) -> Vec[i32]:
    """Add the four products of every lane.

    Where no instruction does this exactly for bytes beyond 127, the same integer comes from |q|
    times x with the sign of q: |q| <= 128 and |x| <= 127, so a pair's sum fits 16 bits.
    """
    if exact_dot4():
        return dot4(dots, weights, values)
    quants = (weights ^ Vec[u8].splat(128)).bits(i8)
    return dot4_small(dots, quants.abs().bits(u8), times_sign(values, quants))
