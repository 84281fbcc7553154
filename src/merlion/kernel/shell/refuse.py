"""How a command fails: it says why on one line and gives False (table.py)."""

from bare import Bytes
from merlion.kernel.console import console


def refuse(reason: Bytes) -> bool:
    """Say why the command failed. Always False."""
    console.line(reason)
    return False
