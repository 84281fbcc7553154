"""What must stay at rest while tokens are made: page faults, interrupts, allocations."""

from bare import u64
from bare.unsafe import slice_at, symbol_address
from merlion.kernel.inference import room
from merlion.kernel.panic import state


def page_faults() -> u64:
    """Page faults since boot. The first one stops the machine, so this is 0."""
    return state.page_faults


def interrupts() -> u64:
    """Interrupts that any core has taken since boot; all are wake-ups of a halted core."""
    return slice_at(u64, symbol_address("interrupt_count"), 1)[0]


def allocated_bytes() -> u64:
    """Memory taken from the model's arena since it was loaded."""
    return room.allocated_bytes()
