"""The compiled functions that hosted calls: one unit, so that its object is cached once.

Struct methods called here run as machine code; reading a field of a Struct is plain Python on the
same memory.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bare import simd
from merlion.engine.engine import Engine
from merlion.engine.scheduler import Scheduler
from merlion.engine.scoring import negative_log_likelihood, score_rows, top_tokens
from merlion.engine.team import Team
from merlion.engine.tokenizer import Tokenizer
from merlion.serve.engine_backend import EngineBackend
from merlion.serve.server import Server

ENTRIES: tuple[Any, ...] = (
    Engine.load,
    Team.start,
    Team.help,
    Tokenizer.encode,
    Tokenizer.encode_prompt,
    Scheduler.init,
    Scheduler.submit,
    Scheduler.has_work,
    Scheduler.step,
    Scheduler.text,
    Scheduler.consume,
    Scheduler.release,
    score_rows,
    negative_log_likelihood,
    top_tokens,
    EngineBackend.start,
    EngineBackend.attach,
    Server.start,
    Server.open,
    Server.receive,
    Server.pending,
    Server.sent,
    Server.wants_close,
    Server.finish_input,
    Server.hangup,
    Server.poll,
)

# What the compiler's levels assume of the CPU, best first, in /proc/cpuinfo's words.
LEVEL_FLAGS = (
    (2, {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"}),
    (1, {"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"}),
)


def host_level() -> int:
    """The highest instruction set level of this machine (bare.simd)."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.partition(":")[2].split())
            for level, needed in LEVEL_FLAGS:
                if needed <= flags:
                    return level
            break
    return 0


class Code:
    """The unit, loaded."""

    def __init__(self) -> None:
        """Compile, or take the object from the cache. Raises CompileError, CodegenError."""
        from bare.compiler.jit import load

        self._program = load(ENTRIES)
        simd.set_level(host_level())

    def __call__[**P, R](self, function: Callable[P, R]) -> Callable[P, R]:
        """The compiled counterpart of one of ENTRIES."""
        return self._program.function(function)
