"""Which levels of the instruction set this processor has, as Linux tells."""

from functools import cache
from pathlib import Path

from bare.compiler.levels import BY_NUMBER

CPU_INFO = Path("/proc/cpuinfo")


@cache
def flags() -> frozenset[str]:
    """The processor's features in the words of /proc/cpuinfo; empty elsewhere."""
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def levels_of(words: frozenset[str]) -> tuple[int, ...]:
    """The levels a processor with these features has, ascending; the baseline always."""
    return tuple(n for n, level in enumerate(BY_NUMBER) if level.flags <= words)


def host_levels() -> tuple[int, ...]:
    """The levels this processor has, ascending."""
    return levels_of(flags())
