"""The engine, its scheduler, and the server's view of both: one of each, there from boot on.

Until a model is loaded they are empty: the server answers 503.
"""

from merlion.engine.engine import Engine
from merlion.engine.scheduler import Scheduler
from merlion.serve.engine_backend import EngineBackend

engine = Engine.zeroed()
scheduler = Scheduler.zeroed()
backend = EngineBackend.zeroed()
