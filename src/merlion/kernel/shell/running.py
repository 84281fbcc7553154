"""What a command left running: at most one of an answer, a benchmark or ping."""

from merlion.kernel.shell.bench import bench
from merlion.kernel.shell.generation import generation
from merlion.kernel.shell.ping import ping


def is_active() -> bool:
    """Whether anything runs."""
    return generation.active or bench.active or ping.active


def poll() -> bool | None:
    """Drive it. When it has just ended, whether it succeeded; None before."""
    if generation.active:
        return generation.poll()
    if bench.active:
        return bench.poll()
    if ping.active:
        return ping.poll()
    return None


def cancel() -> None:
    """The user pressed Ctrl-C."""
    if generation.active:
        generation.cancel()
    if bench.active:
        bench.cancel()
    if ping.active:
        ping.cancel()
