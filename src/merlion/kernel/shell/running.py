"""What a command left running: at most one of generation or ping."""

from bare import u64
from merlion.kernel.shell.generation import generation


def is_active() -> bool:
    """Whether anything runs."""
    return generation.active


def poll(now_ns: u64) -> bool:
    """Drive it. Returns True when it has just ended."""
    if generation.active:
        return generation.poll(now_ns)
    return False


def cancel() -> None:
    """The user pressed Ctrl-C."""
    if generation.active:
        generation.cancel()
