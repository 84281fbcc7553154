"""How threads of a team wait for each other under Linux: spinning, and now and then giving way.

On a machine of our own a member waits by spinning, for all others are running. Linux may have put
two members on one CPU, or somebody else's process beside one; then a spinning member keeps the very
thread it waits for from running, and every barrier costs a time slice. `sched_yield` about every 64
polls mends that, and costs nothing measurable where nobody else wants the CPU.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from bare.cpu import pause, rdtsc
from bare.unsafe import external
from merlion.engine import barrier, team

# Of the time stamp counter: its low bits differ from poll to poll as dice do.
YIELD_MASK = 0x3F << 4

SYS_SCHED_YIELD = 24
YIELD_ASM = f"""
    .text
    .globl hosted_sched_yield
    .type hosted_sched_yield, @function
hosted_sched_yield:
    movl ${SYS_SCHED_YIELD}, %eax
    syscall
    ret
    .size hosted_sched_yield, . - hosted_sched_yield
"""


@external("hosted_sched_yield")
def sched_yield() -> None:
    """Let another thread of this CPU run, if one wants to."""
    os.sched_yield()


def pause_politely() -> None:
    """Take the place of `bare.cpu.pause`."""
    pause()
    if rdtsc() & YIELD_MASK == 0:
        sched_yield()


@contextmanager
def polite() -> Iterator[None]:
    """Within, the engine compiles with polite waits (and with YIELD_ASM)."""
    modules: tuple[ModuleType, ...] = (barrier, team)
    for module in modules:
        assert vars(module)["pause"] is pause, f"{module.__name__} waits in some other way"
        vars(module)["pause"] = pause_politely
    try:
        yield
    finally:
        for module in modules:
            vars(module)["pause"] = pause
