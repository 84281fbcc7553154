"""The machine's disk, once boot has found it."""

from bare import Struct
from merlion.kernel.disk import Disk


class Storage(Struct):
    """Where the model is read from."""

    disk: Disk | None = None


storage = Storage()
