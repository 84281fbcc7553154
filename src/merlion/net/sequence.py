"""Sequence-number arithmetic, modulo 2**32 (RFC 9293 section 3.4)."""

from bare import u32, usize, wrap

HALF = 1 << 31


def seq_lt(a: u32, b: u32) -> bool:
    """`a` comes before `b`."""
    return wrap(u32, a - b) >= HALF


def seq_le(a: u32, b: u32) -> bool:
    """`a` comes before `b` or is `b`."""
    return wrap(u32, b - a) < HALF


def seq_add(a: u32, n: usize) -> u32:
    """The sequence number `n` bytes after `a`."""
    return wrap(u32, a + n)


def seq_diff(a: u32, b: u32) -> u32:
    """How many bytes `a` is past `b`; the caller knows that it is not before."""
    return wrap(u32, a - b)


def seq_max(a: u32, b: u32) -> u32:
    """The later of the two."""
    return b if seq_lt(a, b) else a


def seq_min(a: u32, b: u32) -> u32:
    """The earlier of the two."""
    return a if seq_lt(a, b) else b


def in_window(sequence: u32, start: u32, size: u32) -> bool:
    """`start <= sequence < start + size`."""
    return wrap(u32, sequence - start) < size
