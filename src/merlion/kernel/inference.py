"""The engine, its scheduler, and the server's view of both: one of each, there from boot on.

Until a model is loaded they are empty: the server answers 503.
"""

from bare import Arena, Struct, usize
from merlion.engine.engine import Engine
from merlion.engine.scheduler import Scheduler
from merlion.serve.engine_backend import EngineBackend

NO_MODEL = b"merlion"  # What the API calls the model while there is none.


class Room(Struct):
    """The memory of the model, taken as it is loaded, sealed afterwards."""

    arena: Arena
    used_by_load: usize

    def allocated_bytes(self) -> usize:
        """Return what has been taken since the model was loaded."""
        return self.arena.used - self.used_by_load if self.arena.sealed else 0


engine = Engine.zeroed()
scheduler = Scheduler.zeroed()
backend = EngineBackend.zeroed()
room = Room.zeroed()
