"""From file rows to the kernels' layout (tensor.py), once, at load.

Invariant: `unpacked_value` of the result (kernels/definition.py) equals `dequantise_row` of the
file, value by value; repacking moves and re-biases quants and never rounds.
"""

from bare import Arena, Slice, f16, f32, reinterpret, u8, u16, u32, unchecked, unroll, usize
from merlion.engine.kernels.packing import (
    LINE,
    PackedQ4_0,
    PackedQ4_1,
    PackedQ8_0,
    Packing,
    minimums_at,
    packed_bytes,
    quants_at,
    scales_at,
)
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
    blocks = group_count(rows) * matrix.blocks
    match form:
        case Format.F32:
            matrix.floats = arena.unset(f32, padded * columns)
        case Format.F16:
            matrix.halves = arena.unset(f16, padded * columns)
        case Format.Q8_0:
            allocate_packed(matrix, packed_bytes(PackedQ8_0, blocks), arena)
        case Format.Q4_0:
            allocate_packed(matrix, packed_bytes(PackedQ4_0, blocks), arena)
        case Format.Q4_1:
            allocate_packed(matrix, packed_bytes(PackedQ4_1, blocks), arena)


def allocate_packed(matrix: Matrix, size: usize, arena: Arena) -> None:
    """The storage of a quantised format."""
    matrix.packed = arena.unset(u8, size)
    matrix.halves = reinterpret(f16, matrix.packed)


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
                repack_bytes(matrix, group, reinterpret(u16, rows))
            case Format.Q4_0:
                repack_nibbles(PackedQ4_0, matrix, group, reinterpret(u16, rows))
            case Format.Q4_1:
                repack_nibbles(PackedQ4_1, matrix, group, reinterpret(u16, rows))


def clear_group(matrix: Matrix, group: usize) -> None:
    """Zero a group that has fewer than 16 rows."""
    values = matrix.columns * GROUP
    match matrix.format:
        case Format.F32:
            matrix.floats[group * values : (group + 1) * values].fill(0.0)
        case Format.F16:
            matrix.halves[group * values : (group + 1) * values].fill(0.0)
        case Format.Q8_0:
            clear_blocks(PackedQ8_0, matrix, group)
        case Format.Q4_0:
            clear_blocks(PackedQ4_0, matrix, group)
        case Format.Q4_1:
            clear_blocks(PackedQ4_1, matrix, group)


def clear_blocks[P: Packing](packing: type[P], matrix: Matrix, group: usize) -> None:
    """Zero the blocks of a group, and nothing of a neighbour in the same pair."""
    for block in range(matrix.blocks):
        at = group * matrix.blocks + block
        quants = quants_at(packing, at)
        matrix.packed[quants : quants + packing.BYTES].fill(0)
        scales = scales_at(packing, at)
        matrix.halves[scales : scales + GROUP].fill(0.0)
        if packing.HAS_MINIMUM:
            minimums = minimums_at(packing, at)
            matrix.halves[minimums : minimums + GROUP].fill(0.0)


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
def repack_bytes(matrix: Matrix, group: usize, source: Slice[u16]) -> None:
    """Rows of Q8_0, 34-byte blocks: scale, 32 x i8. `source` is in 16-bit words."""
    blocks = matrix.blocks
    stride = blocks * 17
    assert len(source) % stride == 0
    assert len(source) <= GROUP * stride
    assert packed_bytes(PackedQ8_0, (group + 1) * blocks) <= len(matrix.packed)
    scales = reinterpret(u16, matrix.packed)
    words = reinterpret(u32, matrix.packed)
    rows = len(source) // stride
    for block in range(blocks):
        at = group * blocks + block
        quants = quants_at(PackedQ8_0, at) // 4
        for row in range(rows):
            start = row * stride + block * 17
            scales[scales_at(PackedQ8_0, at) + row] = source[start]
            for chunk in unroll(Q8_CHUNKS):
                low = u32(source[start + 1 + chunk * 2])
                word = low | u32(source[start + 2 + chunk * 2]) << 16
                words[quants + chunk * GROUP + row] = word ^ SIGN_BITS


@unchecked("the group is asserted to lie in the storage, and the source to be whole rows")
def repack_nibbles[P: Packing](
    packing: type[P], matrix: Matrix, group: usize, source: Slice[u16]
) -> None:
    """Rows of Q4_0 (scale, nibbles) or Q4_1 (scale, minimum, nibbles) blocks, in 16-bit words."""
    header = packing.HEADER // LINE
    blocks = matrix.blocks
    size = header + BLOCK // 4
    stride = blocks * size
    assert len(source) % stride == 0
    assert len(source) <= GROUP * stride
    assert packed_bytes(packing, (group + 1) * blocks) <= len(matrix.packed)
    scales = reinterpret(u16, matrix.packed)
    words = reinterpret(u32, matrix.packed)
    rows = len(source) // stride
    for block in range(blocks):
        at = group * blocks + block
        quants = quants_at(packing, at) // 4
        for row in range(rows):
            start = row * stride + block * size
            scales[scales_at(packing, at) + row] = source[start]
            if packing.HAS_MINIMUM:
                scales[minimums_at(packing, at) + row] = source[start + 1]
            for chunk in unroll(Q4_CHUNKS):
                low = u32(source[start + header + chunk * 2])
                word = low | u32(source[start + header + 1 + chunk * 2]) << 16
                words[quants + chunk * GROUP + row] = word
