"""What a command left running: at most one of generation or ping."""

from merlion.kernel.shell.generation import generation


def is_active() -> bool:
    """Whether anything runs."""
    return generation.active


def poll() -> bool:
    """Drive it. Returns True when it has just ended."""
    if generation.active:
        return generation.poll()
    return False


def cancel() -> None:
    """The user pressed Ctrl-C."""
    if generation.active:
        generation.cancel()
