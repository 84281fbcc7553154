"""What a worker core does: its share of the engine's forward passes.

Workers start before a model is loaded; `workers.ready` says that the team may be joined.
"""

from bare import Atomic, Struct, u32, u64, usize
from bare.cpu import pause
from merlion.kernel.errands import errands
from merlion.kernel.inference import engine


class Workers(Struct):
    """What the boot core tells the workers."""

    ready: Atomic[u32]  # Nonzero: the engine's team may be joined.
    inside: Atomic[u32]  # Workers that may be looking at the engine.


workers = Workers.zeroed()


def work(index: u32, spin_limit: u32) -> None:
    """Take part in what the engine computes as worker `index`, until nothing came for a while."""
    errands.serve(usize(index))
    workers.inside.fetch_add(1)
    if workers.ready.load() != 0:
        engine.team.help(usize(index), spin_limit)
    workers.inside.fetch_sub(1)
    pause()


def computed(index: u64) -> u64:
    """Return how many pieces of work core `index` has done. Only while the team is open."""
    return engine.team.members[usize(index)].chunks


def in_pass() -> bool:
    """Whether something is being computed. Only while the team is open."""
    return engine.team.running.load() != 0


def open_team() -> None:
    """Let the workers in: from before a model is loaded, so that they repack it too."""
    workers.ready.store(1)


def close_team() -> None:
    """Turn the workers out, and wait until none looks at the engine: its memory is about to go."""
    engine.team.close()
    workers.ready.exchange(0)
    while workers.inside.load() != 0:
        pause()
