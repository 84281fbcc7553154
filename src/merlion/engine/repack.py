"""From file rows to the kernels' layout (tensor.py), once, at load.

Invariant: `unpacked_value` of the result equals `dequantise_row` of the file, value by value;
repacking moves and re-biases quants and never rounds.
"""

from bare import Arena, Slice, f16, f32, reinterpret, u8, u16, unchecked, usize, wrap
from merlion.engine.kernels.shapes import BLOCK, GROUP, group_count
from merlion.engine.quant import Format, row_bytes
from merlion.engine.tensor import Matrix

Q4_CHUNKS = 4  # 4-byte runs in the 16 quant bytes of a Q4 block.
Q8_CHUNKS = 8  # 4-byte runs in the 32 quant bytes of a Q8_0 block.
SIGN_BIT = 0x80  # Turns i8 q into u8 q + 128.


def allocate(matrix: Matrix, form: Format, rows: usize, columns: usize, arena: Arena) -> None:
    """Give a matrix its shape and its storage, zeroed (so padding rows are zero)."""
    matrix.format = form
    matrix.rows = rows
    matrix.columns = columns
    padded = group_count(rows) * GROUP
    blocks = columns // BLOCK
    match form:
        case Format.F32:
            matrix.floats = arena.slice(f32, padded * columns)
        case Format.F16:
            matrix.halves = arena.slice(f16, padded * columns)
        case Format.Q8_0:
            matrix.quants = arena.slice(u8, padded * blocks * BLOCK)
            matrix.scales = arena.slice(f16, padded * blocks)
        case Format.Q4_0:
            matrix.quants = arena.slice(u8, padded * blocks * BLOCK // 2)
            matrix.scales = arena.slice(f16, padded * blocks)
        case Format.Q4_1:
            matrix.quants = arena.slice(u8, padded * blocks * BLOCK // 2)
            matrix.scales = arena.slice(f16, padded * blocks)
            matrix.minimums = arena.slice(f16, padded * blocks)


def repack(matrix: Matrix, data: Slice[u8], first: usize, last: usize) -> None:
    """Fill groups [first, last) from the tensor's file bytes."""
    stride = row_bytes(matrix.format, matrix.columns)
    assert len(data) == stride * matrix.rows, "the file holds every row"
    last_row = min(last * GROUP, matrix.rows)
    for row in range(first * GROUP, last_row):
        source = data[row * stride : (row + 1) * stride]
        match matrix.format:
            case Format.F32:
                repack_f32(matrix, row, reinterpret(f32, source))
            case Format.F16:
                repack_f16(matrix, row, reinterpret(f16, source))
            case Format.Q8_0:
                repack_q8_0(matrix, row, source)
            case Format.Q4_0:
                repack_q4(matrix, row, source, 2)
            case Format.Q4_1:
                repack_q4(matrix, row, source, 4)


@unchecked("the row is asserted to lie in the storage")
def repack_f32(matrix: Matrix, row: usize, source: Slice[f32]) -> None:
    """One row: value k to [group][k][row in group]."""
    assert len(source) == matrix.columns
    assert (row // GROUP + 1) * GROUP * matrix.columns <= len(matrix.floats)
    at = row // GROUP * matrix.columns * GROUP + row % GROUP
    for value in source:
        matrix.floats[at] = value
        at += GROUP


@unchecked("the row is asserted to lie in the storage")
def repack_f16(matrix: Matrix, row: usize, source: Slice[f16]) -> None:
    """One row: value k to [group][k][row in group], as bits."""
    assert len(source) == matrix.columns
    assert (row // GROUP + 1) * GROUP * matrix.columns <= len(matrix.halves)
    bits = reinterpret(u16, source)
    target = reinterpret(u16, matrix.halves)
    at = row // GROUP * matrix.columns * GROUP + row % GROUP
    for value in bits:
        target[at] = value
        at += GROUP


@unchecked("the row is asserted to lie in the storage, and the source to hold its blocks")
def repack_q8_0(matrix: Matrix, row: usize, source: Slice[u8]) -> None:
    """One row of 34-byte blocks: scale, 32 x i8."""
    blocks = matrix.columns // BLOCK
    assert len(source) == blocks * 34
    assert (row // GROUP + 1) * blocks * GROUP * BLOCK <= len(matrix.quants)
    scales = reinterpret(u16, matrix.scales)
    lane = row % GROUP
    for block in range(blocks):
        at = row // GROUP * blocks + block
        start = block * 34
        scales[at * GROUP + lane] = wrap(u16, source[start] | source[start + 1] << 8)
        for chunk in range(Q8_CHUNKS):
            to = (at * Q8_CHUNKS + chunk) * 4 * GROUP + lane * 4
            for i in range(4):
                matrix.quants[to + i] = source[start + 2 + chunk * 4 + i] ^ SIGN_BIT


@unchecked("the row is asserted to lie in the storage, and the source to hold its blocks")
def repack_q4(matrix: Matrix, row: usize, source: Slice[u8], header: usize) -> None:
    """One row of Q4_0 (header 2: scale) or Q4_1 (header 4: scale, minimum) blocks."""
    blocks = matrix.columns // BLOCK
    stride = header + BLOCK // 2
    assert len(source) == blocks * stride
    assert (row // GROUP + 1) * blocks * GROUP * BLOCK // 2 <= len(matrix.quants)
    scales = reinterpret(u16, matrix.scales)
    minimums = reinterpret(u16, matrix.minimums)
    lane = row % GROUP
    for block in range(blocks):
        at = row // GROUP * blocks + block
        start = block * stride
        scales[at * GROUP + lane] = wrap(u16, source[start] | source[start + 1] << 8)
        if header == 4:
            minimums[at * GROUP + lane] = wrap(u16, source[start + 2] | source[start + 3] << 8)
        for chunk in range(Q4_CHUNKS):
            to = (at * Q4_CHUNKS + chunk) * 4 * GROUP + lane * 4
            for i in range(4):
                matrix.quants[to + i] = source[start + header + chunk * 4 + i]


def unpacked_value(matrix: Matrix, row: usize, column: usize) -> f32:
    """One value of a repacked matrix: the definition of the layouts."""
    group = row // GROUP
    lane = row % GROUP
    if matrix.format == Format.F32:
        return matrix.floats[(group * matrix.columns + column) * GROUP + lane]
    if matrix.format == Format.F16:
        return matrix.halves[(group * matrix.columns + column) * GROUP + lane]

    at = group * matrix.blocks + column // BLOCK
    within = column % BLOCK
    scale = matrix.scales[at * GROUP + lane]
    if matrix.format == Format.Q8_0:
        chunk = at * Q8_CHUNKS + within // 4
        quant = matrix.quants[chunk * 4 * GROUP + lane * 4 + within % 4]
        return scale * (f32(quant) - 128.0)
    chunk = at * Q4_CHUNKS + within % 16 // 4
    pair = matrix.quants[chunk * 4 * GROUP + lane * 4 + within % 4]
    nibble = pair & 15 if within < 16 else pair >> 4
    if matrix.format == Format.Q4_0:
        return scale * (f32(nibble) - 8.0)
    return scale * f32(nibble) + matrix.minimums[at * GROUP + lane]
