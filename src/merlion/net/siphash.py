"""SipHash-2-4 over three 32-bit words: the keyed hash behind initial sequence numbers and ports.

Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012. The message is the twelve bytes
of the three words in little-endian order.
"""

from bare import Struct, u32, u64, wrap


class SipState(Struct):
    """The four words of the state."""

    v0: u64
    v1: u64
    v2: u64
    v3: u64

    def round(self) -> None:
        """One SipRound."""
        self.v0 = wrap(u64, self.v0 + self.v1)
        self.v1 = rotate(self.v1, 13) ^ self.v0
        self.v0 = rotate(self.v0, 32)
        self.v2 = wrap(u64, self.v2 + self.v3)
        self.v3 = rotate(self.v3, 16) ^ self.v2
        self.v0 = wrap(u64, self.v0 + self.v3)
        self.v3 = rotate(self.v3, 21) ^ self.v0
        self.v2 = wrap(u64, self.v2 + self.v1)
        self.v1 = rotate(self.v1, 17) ^ self.v2
        self.v2 = rotate(self.v2, 32)

    def absorb(self, word: u64) -> None:
        """Mix one 8-byte block in."""
        self.v3 ^= word
        self.round()
        self.round()
        self.v0 ^= word


def rotate(x: u64, n: u32) -> u64:
    """Rotate left by `n`, 0 < n < 64."""
    return wrap(u64, x << n) | x >> (64 - n)


def siphash(key0: u64, key1: u64, a: u32, b: u32, c: u32) -> u64:
    """SipHash-2-4 of `a`, `b`, `c` under the 128-bit key."""
    state = SipState(
        v0=key0 ^ 0x736F_6D65_7073_6575,
        v1=key1 ^ 0x646F_7261_6E64_6F6D,
        v2=key0 ^ 0x6C79_6765_6E65_7261,
        v3=key1 ^ 0x7465_6462_7974_6573,
    )
    state.absorb(u64(a) | u64(b) << 32)
    state.absorb(u64(c) | u64(12) << 56)  # The last block carries the length in its top byte.
    state.v2 ^= 0xFF
    state.round()
    state.round()
    state.round()
    state.round()
    return state.v0 ^ state.v1 ^ state.v2 ^ state.v3
