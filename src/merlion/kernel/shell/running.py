"""What a command left running: at most one of an answer or ping."""

from merlion.kernel.shell.generation import generation
from merlion.kernel.shell.ping import ping


def is_active() -> bool:
    """Whether anything runs."""
    return generation.active or ping.active


def poll() -> bool:
    """Drive it. Returns True when it has just ended."""
    if generation.active:
        return generation.poll()
    if ping.active:
        return ping.poll()
    return False


def cancel() -> None:
    """The user pressed Ctrl-C."""
    if generation.active:
        generation.cancel()
    if ping.active:
        ping.cancel()
