"""From file rows to the kernels' layout (tensor.py), once, at load.

Invariant: `unpacked_value` of the result equals `dequantise_row` of the file, value by value;
repacking moves and re-biases quants and never rounds.
"""

from bare import Arena, Slice, f16, f32, reinterpret, u8, u16, u32, unchecked, unroll, usize
from merlion.engine.kernels.shapes import BLOCK, GROUP, group_count
from merlion.engine.quant import Format, row_bytes
from merlion.engine.tensor import Matrix

Q4_CHUNKS = 4  # 4-byte runs in the 16 quant bytes of a Q4 block.
Q8_CHUNKS = 8  # 4-byte runs in the 32 quant bytes of a Q8_0 block.
SIGN_BITS = 0x8080_8080  # Turns i8 q into u8 q + 128, four at a time.


def allocate(matrix: Matrix, form: Format, rows: usize, columns: usize, arena: Arena) -> None:
    """Give a matrix its shape and its storage, which `repack` fills."""
    matrix.format = form
    matrix.rows = rows
    matrix.columns = columns
    padded = group_count(rows) * GROUP
    blocks = columns // BLOCK
    match form:
        case Format.F32:
            matrix.floats = arena.unset(f32, padded * columns)
        case Format.F16:
            matrix.halves = arena.unset(f16, padded * columns)
        case Format.Q8_0:
            matrix.quants = arena.unset(u8, padded * blocks * BLOCK)
            matrix.scales = arena.unset(f16, padded * blocks)
        case Format.Q4_0:
            matrix.quants = arena.unset(u8, padded * blocks * BLOCK // 2)
            matrix.scales = arena.unset(f16, padded * blocks)
        case Format.Q4_1:
            matrix.quants = arena.unset(u8, padded * blocks * BLOCK // 2)
            matrix.scales = arena.unset(f16, padded * blocks)
            matrix.minimums = arena.unset(f16, padded * blocks)


def repack(matrix: Matrix, data: Slice[u8], first: usize, last: usize) -> None:
    """Fill groups [first, last) from the tensor's file bytes."""
    stride = row_bytes(matrix.format, matrix.columns)
    assert len(data) == stride * matrix.rows, "the file holds every row"
    assert last <= matrix.groups
    for group in range(first, last):
        start = group * GROUP
        end = min(start + GROUP, matrix.rows)
        rows = data[start * stride : end * stride]
        if end < start + GROUP:
            clear_group(matrix, group)
        match matrix.format:
            case Format.F32:
                repack_f32(matrix, group, reinterpret(f32, rows))
            case Format.F16:
                repack_f16(matrix, group, reinterpret(u16, rows))
            case Format.Q8_0:
                repack_q8_0(matrix, group, reinterpret(u16, rows))
            case Format.Q4_0:
                repack_q4(matrix, group, reinterpret(u16, rows), 1)
            case Format.Q4_1:
                repack_q4(matrix, group, reinterpret(u16, rows), 2)


def clear_group(matrix: Matrix, group: usize) -> None:
    """Zero a group that has fewer than 16 rows."""
    scales = matrix.blocks * GROUP
    values = matrix.columns * GROUP
    match matrix.format:
        case Format.F32:
            matrix.floats[group * values : (group + 1) * values].fill(0.0)
        case Format.F16:
            matrix.halves[group * values : (group + 1) * values].fill(0.0)
        case Format.Q8_0:
            matrix.quants[group * values : (group + 1) * values].fill(0)
            matrix.scales[group * scales : (group + 1) * scales].fill(0.0)
        case Format.Q4_0 | Format.Q4_1:
            matrix.quants[group * values // 2 : (group + 1) * values // 2].fill(0)
            matrix.scales[group * scales : (group + 1) * scales].fill(0.0)
            if matrix.format == Format.Q4_1:
                matrix.minimums[group * scales : (group + 1) * scales].fill(0.0)


@unchecked("the group is asserted to lie in the storage, and the source to be whole rows")
def repack_f32(matrix: Matrix, group: usize, source: Slice[f32]) -> None:
    """Value k of each row to [group][k][row in group]."""
    columns = matrix.columns
    assert len(source) % columns == 0
    assert len(source) <= GROUP * columns
    assert (group + 1) * GROUP * columns <= len(matrix.floats)
    base = group * columns * GROUP
    for row in range(len(source) // columns):
        for k in range(columns):
            matrix.floats[base + k * GROUP + row] = source[row * columns + k]


@unchecked("the group is asserted to lie in the storage, and the source to be whole rows")
def repack_f16(matrix: Matrix, group: usize, source: Slice[u16]) -> None:
    """Value k of each row to [group][k][row in group], as bits."""
    columns = matrix.columns
    assert len(source) % columns == 0
    assert len(source) <= GROUP * columns
    assert (group + 1) * GROUP * columns <= len(matrix.halves)
    target = reinterpret(u16, matrix.halves)
    base = group * columns * GROUP
    rows = len(source) // columns
    for k in range(columns):
        for row in range(rows):
            target[base + k * GROUP + row] = source[row * columns + k]


@unchecked("the group is asserted to lie in the storage, and the source to be whole rows")
def repack_q8_0(matrix: Matrix, group: usize, source: Slice[u16]) -> None:
    """Rows of 34-byte blocks: scale, 32 x i8. `source` is in 16-bit words."""
    blocks = matrix.blocks
    stride = blocks * 17
    assert len(source) % stride == 0
    assert len(source) <= GROUP * stride
    assert (group + 1) * blocks * GROUP * BLOCK <= len(matrix.quants)
    assert (group + 1) * blocks * GROUP <= len(matrix.scales)
    scales = reinterpret(u16, matrix.scales)
    words = reinterpret(u32, matrix.quants)
    rows = len(source) // stride
    for block in range(blocks):
        at = group * blocks + block
        for row in range(rows):
            start = row * stride + block * 17
            scales[at * GROUP + row] = source[start]
            for chunk in unroll(Q8_CHUNKS):
                low = u32(source[start + 1 + chunk * 2])
                word = low | u32(source[start + 2 + chunk * 2]) << 16
                words[(at * Q8_CHUNKS + chunk) * GROUP + row] = word ^ SIGN_BITS


@unchecked("the group is asserted to lie in the storage, and the source to be whole rows")
def repack_q4(matrix: Matrix, group: usize, source: Slice[u16], header: usize) -> None:
    """Rows of Q4_0 (header 1: scale) or Q4_1 (header 2: scale, minimum) blocks, in 16-bit words."""
    blocks = matrix.blocks
    size = header + BLOCK // 4
    stride = blocks * size
    assert len(source) % stride == 0
    assert len(source) <= GROUP * stride
    assert (group + 1) * blocks * GROUP * BLOCK // 2 <= len(matrix.quants)
    assert (group + 1) * blocks * GROUP <= len(matrix.scales)
    assert header == 1 or (group + 1) * blocks * GROUP <= len(matrix.minimums)
    scales = reinterpret(u16, matrix.scales)
    minimums = reinterpret(u16, matrix.minimums)
    words = reinterpret(u32, matrix.quants)
    rows = len(source) // stride
    for block in range(blocks):
        at = group * blocks + block
        for row in range(rows):
            start = row * stride + block * size
            scales[at * GROUP + row] = source[start]
            if header == 2:
                minimums[at * GROUP + row] = source[start + 1]
            for chunk in unroll(Q4_CHUNKS):
                low = u32(source[start + header + chunk * 2])
                word = low | u32(source[start + header + 1 + chunk * 2]) << 16
                words[(at * Q4_CHUNKS + chunk) * GROUP + row] = word


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
