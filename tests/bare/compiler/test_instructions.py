"""Which instructions an operation becomes: what its speed was measured with."""

from bare.compiler.codegen import compile_assembly
from bare.compiler.unit import compile_unit
from tests.bare.compiler import differential as run

PREFETCH = """
from bare import Slice, u8, usize
from bare.cpu import prefetch, prefetch_l2


def ask(data: Slice[u8], at: usize) -> None:
    prefetch(data, at)
    prefetch_l2(data, at + 64)
"""


def assembly_of(source: str) -> str:
    """The optimised program."""
    functions = run.functions_of(run.module_of(source))
    return compile_assembly(compile_unit(functions, "jit").ir, "jit")


def test_prefetch_says_which_caches() -> None:
    words = assembly_of(PREFETCH).split()
    assert [w for w in words if w.startswith("prefetch")] == ["prefetcht0", "prefetcht1"]
