"""What must stay at rest while tokens are made: page faults, interrupts, allocations."""

from bare import u64
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.inference import room
from merlion.kernel.panic import state


def page_faults() -> u64:
    """Page faults since boot. The first one stops the machine, so this is 0."""
    return state.page_faults


def interrupts() -> u64:
    """Interrupts that any core has taken since boot; all are wake-ups of a halted core."""
    return smp.interrupts()


def interrupts_at_work() -> u64:
    """Of them, those that did not just end a sleep for want of work."""
    return smp.interrupts_at_work()


def allocated_bytes() -> u64:
    """Memory taken from the model's arena since it was loaded."""
    return room.allocated_bytes()
