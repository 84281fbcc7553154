"""The compiled functions that hosted calls: one unit, so that its object is cached once.

Struct methods called here run as machine code; reading a field of a Struct is plain Python on the
same memory.
"""

import os
from collections.abc import Callable
from typing import Any

from bare.compiler.host import host_levels
from bare.simd import LEVELS, level_name, set_level
from merlion.engine.engine import Engine
from merlion.engine.scheduler import Scheduler
from merlion.engine.scoring import score_tokens
from merlion.engine.team import Team
from merlion.engine.tokenizer import Tokenizer
from merlion.hosted.errors import HostedError
from merlion.hosted.passes import compute, next_text, outgoing, sent
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
    Scheduler.release,
    compute,
    next_text,
    outgoing,
    sent,
    score_tokens,
    EngineBackend.start,
    EngineBackend.attach,
    Server.start,
    Server.open,
    Server.receive,
    Server.pending,
    Server.wants_close,
    Server.finish_input,
    Server.hangup,
    Server.poll,
)


def host_level() -> int:
    """The instruction set level to use: the machine's highest, at most $MERLION_SIMD.

    Raises HostedError when the variable names no level.
    """
    highest = os.environ.get("MERLION_SIMD") or LEVELS[-1]
    if highest not in LEVELS:
        raise HostedError(
            f"MERLION_SIMD is {highest!r}, which is no instruction set",
            f"one of {', '.join(LEVELS)}",
        )
    return max(level for level in host_levels() if level <= LEVELS.index(highest))


def level() -> str:
    """The instruction set that the engine uses, once `Code` is loaded."""
    return bytes(level_name()).decode()


class Code:
    """The unit, loaded."""

    def __init__(self) -> None:
        """Compile, or take the object from the cache. Raises CompileError, CodegenError."""
        from bare.compiler.jit import load

        self._program = load(ENTRIES)
        set_level(host_level())

    def __call__[**P, R](self, function: Callable[P, R]) -> Callable[P, R]:
        """The compiled counterpart of one of ENTRIES."""
        return self._program.function(function)
