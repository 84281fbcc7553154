"""The Internet checksum (RFC 1071).

The one's complement sum does not depend on byte order: we add little-endian words, as the machine
reads them, and swap the two bytes of the result once. 32-bit words are added in a 64-bit
accumulator, so carries need no care before the final fold.

`data` may be unaligned. A partial sum is only meaningful for pieces of even length, except the
last one.
"""

from bare import Bytes, Wire, u16, u32, u64, unchecked, wrap

BLOCK_BYTES = 32


class Block(Wire):
    """Eight words, read without alignment."""

    w0: u32
    w1: u32
    w2: u32
    w3: u32
    w4: u32
    w5: u32
    w6: u32
    w7: u32


@unchecked("2**32 words fit the accumulator; indices stay below len(data) by the loop bounds")
def partial(data: Bytes, total: u64) -> u64:
    """Add `data` to the running sum `total`, which starts at zero."""
    length = len(data)
    at = 0
    while at + BLOCK_BYTES <= length:
        block = Block.view(data[at : at + BLOCK_BYTES])
        if block is None:
            break
        total += u64(block.w0) + block.w1 + block.w2 + block.w3
        total += u64(block.w4) + block.w5 + block.w6 + block.w7
        at += BLOCK_BYTES
    while at + 1 < length:
        total += data[at] | data[at + 1] << 8
        at += 2
    if at < length:
        total += data[at]
    return total


def fold(total: u64) -> u16:
    """The 16-bit one's complement sum in network order (as a number, not inverted)."""
    value = (total & 0xFFFF_FFFF) + (total >> 32)
    value = (value & 0xFFFF) + (value >> 16)
    value = (value & 0xFFFF) + (value >> 16)
    value = (value & 0xFFFF) + (value >> 16)
    return wrap(u16, value << 8 | value >> 8)


def checksum(data: Bytes) -> u16:
    """The value of the checksum field over `data`; zero when `data` holds a right checksum."""
    return fold(partial(data, 0)) ^ 0xFFFF


def pseudo_header(source: u32, destination: u32, protocol: u16, length: u16) -> u64:
    """The sum that TCP (RFC 9293 section 3.1) and UDP (RFC 768) put before their header.

    The numbers are in host order: each 16-bit half is swapped, as if it had been read from memory.
    """
    total: u64 = 0
    total += swap(wrap(u16, source >> 16)) + swap(wrap(u16, source))
    total += swap(wrap(u16, destination >> 16)) + swap(wrap(u16, destination))
    total += swap(protocol) + swap(length)
    return total


def swap(value: u16) -> u16:
    """Exchange the two bytes."""
    return (value & 0xFF) << 8 | value >> 8
