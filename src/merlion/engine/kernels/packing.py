"""How quantised weights lie in memory: one stream a matrix, in the order the kernels read it.

Blocks of a group of 16 rows follow each other, and groups too: block b of group g is number
g * blocks + b. Two neighbours in this order make a pair:

    scales f16 [2][row in group] | minimums f16 [2][row in group], Q4_1 only | quants [2][...]

so that everything starts on a cache line, and a matrix, and the next one after it, is one
sequential stream of memory. The number of blocks is made even.
"""

from typing import ClassVar

from bare import unchecked, usize
from merlion.engine.kernels.shapes import GROUP

LINE = 64  # Bytes that hold 4 columns (nibbles: 8) of a group.


class Packing:
    """How a format keeps a block (compile time only)."""

    IS_NIBBLES: ClassVar[bool] = True
    BYTES: ClassVar[int] = 256  # Quants of a block.
    HEADER: ClassVar[int] = 64  # Bytes before the quants of a pair.
    BIAS: ClassVar[int] = 0  # What makes a quant unsigned.
    HAS_MINIMUM: ClassVar[bool] = False


class PackedQ4_0(Packing):
    """Nibbles q + 8."""

    BIAS = 8


class PackedQ4_1(Packing):
    """Nibbles q, and a minimum a block."""

    HEADER = 128
    HAS_MINIMUM = True


class PackedQ8_0(Packing):
    """Bytes q + 128."""

    IS_NIBBLES = False
    BYTES = 512
    BIAS = 128


def packed_bytes[P: Packing](packing: type[P], blocks: usize) -> usize:
    """Bytes of `blocks` blocks."""
    return (blocks + 1) // 2 * (packing.HEADER + 2 * packing.BYTES)


@unchecked("blocks are counted in the storage, whose bytes fit usize")
def quants_at[P: Packing](packing: type[P], at: usize) -> usize:
    """The first byte of the quants of block number `at`."""
    return at * packing.BYTES + (at // 2 + 1) * packing.HEADER


@unchecked("blocks are counted in the storage, whose bytes fit usize")
def scales_at[P: Packing](packing: type[P], at: usize) -> usize:
    """The first scale of block number `at`, counted in f16."""
    pair = packing.HEADER // 2 + packing.BYTES
    return at // 2 * pair + at % 2 * GROUP


@unchecked("blocks are counted in the storage, whose bytes fit usize")
def minimums_at[P: Packing](packing: type[P], at: usize) -> usize:
    """The first minimum of block number `at`, counted in f16."""
    return scales_at(packing, at) + 2 * GROUP
