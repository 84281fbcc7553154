"""What the compiler knows of each level of the instruction set.

Two levels only add a few instructions to the one below. A function that uses none of them, nor
calls one that does, has no body of its own there: the lower level's runs. So such a level has the
same vectors as the one below it, and more features, so that its functions may call, and LLVM may
inline, those of the other.
"""

from dataclasses import dataclass

from bare import levels

DOT4 = frozenset(("dot4", "dot4_small", "exact_dot4"))
DOT2 = frozenset(("dot2", "pairs", "pack", "native_dot2"))
# LLVM's model of x86-64-v4 in general reorders so that kernels spill.
TUNE_512 = '"tune-cpu"="znver4" "prefer-vector-width"="512" "min-legal-vector-width"="512"'
V3_FLAGS = frozenset(("avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"))
V4_FLAGS = V3_FLAGS | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"}


@dataclass(frozen=True, slots=True)
class Level:
    """One level; `adds` are the operations that differ from the level below, empty for all."""

    attributes: str  # Of LLVM functions.
    flags: frozenset[str] = frozenset()  # What it assumes, in the words of /proc/cpuinfo.
    adds: frozenset[str] = frozenset()
    dot4: bool = False  # It has vpdpbusd.
    dot2: bool = False  # It has vdpbf16ps.


LEVELS = {
    "baseline": Level('"target-cpu"="x86-64-v2"'),
    "avx2": Level('"target-cpu"="x86-64-v3"', V3_FLAGS),
    "avxvnni": Level(
        '"target-cpu"="x86-64-v3" "target-features"="+avxvnni"',
        V3_FLAGS | {"avx_vnni"},
        DOT4,
        dot4=True,
    ),
    "avx512": Level(
        f'"target-cpu"="x86-64-v4" "target-features"="+avx512vnni" {TUNE_512}',
        V4_FLAGS,
        dot4=True,
    ),
    "avx512bf16": Level(
        f'"target-cpu"="x86-64-v4" "target-features"="+avx512vnni,+avx512bf16" {TUNE_512}',
        V4_FLAGS | {"avx512_bf16"},
        DOT2,
        dot4=True,
        dot2=True,
    ),
}
assert tuple(LEVELS) == levels.LEVELS
BY_NUMBER = tuple(LEVELS.values())
NUMBERS = range(len(BY_NUMBER))
SHARING = tuple(n for n in NUMBERS if BY_NUMBER[n].adds)
# The levels whose every function has a body of its own: the module its functions are in.
MODULE = {n: levels.LEVELS[n - 1 if n in SHARING else n] for n in NUMBERS}
