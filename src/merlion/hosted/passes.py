"""What Python would call compiled code for several times a pass, in one call each.

A pass streams all weights through the caches, so that the first thing Python does after it runs
from memory: a call that is 2 us in a loop is 30 us there.
"""

from bare import Bytes, Slice, u32, u64, usize
from merlion.engine.scheduler import Scheduler
from merlion.serve.connection import Phase
from merlion.serve.server import Server
from merlion.serve.service import NOBODY


def compute(scheduler: Scheduler, slots: Slice[u32], now_ns: u64) -> None:
    """One forward pass; the text that it gave to `slots` is taken and forgotten."""
    scheduler.step(now_ns)
    for slot in slots:
        scheduler.consume(slot, len(scheduler.text(slot)))


def next_text(scheduler: Scheduler, slot: u32, taken: usize, now_ns: u64) -> Bytes:
    """One forward pass after the first `taken` bytes of the slot's text have been taken.

    Returns the text that waits then; it stays where it is until the next call.
    """
    scheduler.consume(slot, taken)
    scheduler.step(now_ns)
    return scheduler.text(slot)


def outgoing(server: Server, first: u32) -> u32:
    """The first connection from `first` on that has bytes for its client or wants to be closed.

    NOBODY when there is none.
    """
    for index in range(first, len(server.connections)):
        connection = server.connections[usize(index)]
        if connection.phase != Phase.FREE:
            if not connection.outbox.is_empty or connection.phase == Phase.CLOSING:
                return u32(index)
    return NOBODY


def sent(server: Server, index: u32, count: usize) -> bool:
    """The socket took `count` bytes of what is pending. Whether there is more to do for it."""
    server.sent(index, count)
    connection = server.connections[index]
    return not connection.outbox.is_empty or connection.phase == Phase.CLOSING
