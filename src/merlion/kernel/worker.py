"""What a worker core does: its share of the engine's jobs."""

from bare import u32
from bare.cpu import pause


def work(index: u32, spin_limit: u32) -> None:
    """Take part in jobs as worker `index`; return after `spin_limit` idle polls."""
    assert index > 0, "the boot core is no worker"
    for _ in range(spin_limit):
        pause()
