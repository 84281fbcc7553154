"""What the machine can do at best, and how much of it others take: all cores at once.

The memory read is the model's own weights, so a rate is what decoding could reach in these pages
and these caches. Nothing may be computed meanwhile; nothing else runs.
"""

from bare import u64
from merlion.engine.probes import READ_STEP_BYTES, products_a_round
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.clock import clock
from merlion.kernel.errands import Errand, errands
from merlion.kernel.inference import engine, room
from merlion.kernel.limits import MULTIPLY_ROUNDS, PROBE_PASSES


def on_all_cores(kind: Errand, amount: u64) -> None:
    """Have every core do something, and wait for it."""
    errands.kind = kind
    errands.amount = amount
    smp.begin_computing()
    errands.send(smp.cores.count)
    smp.end_computing()


def listen(seconds: u64) -> None:
    """Have every core read the clock for that long; the gaps are in `errands.results`."""
    on_all_cores(Errand.LISTEN, clock.khz * 1000 * seconds)


def bandwidth() -> u64:
    """Return the bytes a second that all cores together read the weights with: the best of some.

    0 without a model.
    """
    errands.data = room.arena.storage[: engine.weights_bytes]
    part = len(errands.data) // smp.cores.count // READ_STEP_BYTES * READ_STEP_BYTES
    best: u64 = 0
    for _ in range(PROBE_PASSES):
        on_all_cores(Errand.READ, 0)
        best = max(best, rate(u64(part * smp.cores.count), errands.span_ns()))
    return best


def int8_peak() -> u64:
    """Return the int8 multiply-adds a second of all cores together: the best of some."""
    errands.data = room.arena.storage[: engine.weights_bytes]
    best: u64 = 0
    for _ in range(PROBE_PASSES):
        on_all_cores(Errand.MULTIPLY, MULTIPLY_ROUNDS)
        products = u64(MULTIPLY_ROUNDS * products_a_round() * smp.cores.count)
        best = max(best, rate(products, errands.span_ns()))
    return best


def rate(amount: u64, duration_ns: u64) -> u64:
    """Return how much that is in a second, without leaving 64 bits."""
    return amount * 1000 // duration_ns * 1_000_000
