"""What a core can do at best: reading memory, multiplying int8. Any figure needs it beside it."""

from bare import Slice, i8, i32, stack, u8, unchecked, unroll, usize
from bare.cpu import prefetch_l2
from bare.simd import Vec, dot4, dot4_small, exact_dot4, multiversion

CHAINS = 12  # Independent products of a vector in a round: more than the units' latency hides.
READ_STEP_BYTES = 256  # What `read_all` reads in one go with the widest vectors.
READ_AHEAD_BYTES = 4096  # A fifth more than the hardware's own prefetching reaches.


@multiversion
@unchecked("the length is asserted to be whole steps")
def read_all(data: Slice[u8]) -> i32:
    """Load every byte once; the result only keeps the loads alive."""
    lanes = Vec[u8].lanes
    assert len(data) % (4 * lanes) == 0
    sums = stack(Vec[u8], 4)
    for at in range(0, len(data), 4 * lanes):
        for i in unroll(4):
            prefetch_l2(data, at + READ_AHEAD_BYTES + i * lanes)
            sums[i] = sums[i] ^ Vec[u8].load(data, at + i * lanes)
    total = sums[0] ^ sums[1] ^ sums[2] ^ sums[3]
    return i32(total[0])


@multiversion
@unchecked("the data is asserted to hold every index")
def multiply_int8(data: Slice[u8], rounds: usize) -> i32:
    """`rounds` times CHAINS independent int8 multiply-adds of a vector."""
    assert len(data) >= 1028
    sums = stack(Vec[i32], CHAINS)
    lefts = stack(Vec[u8], CHAINS)  # Of each chain another: equal products would be made once.
    for j in unroll(CHAINS):
        # At most 127, as dot4_small wants it.
        lefts[j] = Vec[u8].load(data, j * Vec[u8].lanes) & Vec[u8].splat(127)
    for i in range(rounds):
        right = Vec[i8].broadcast4(data, i % 256 * 4)
        for j in unroll(CHAINS):
            # What the kernels use: exact where one instruction is, else with sums of 16 bits.
            if exact_dot4():
                sums[j] = dot4(sums[j], lefts[j], right)
            else:
                sums[j] = dot4_small(sums[j], lefts[j], right)
    total = sums[0]
    for i in unroll(CHAINS):
        total = total + sums[i]
    return i32(total.sum() & 0xFF)


@multiversion
def products_a_round() -> usize:
    """Multiply-adds of one round of `multiply_int8`."""
    return CHAINS * Vec[u8].lanes
