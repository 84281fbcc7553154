"""What generates text for the server: the engine, or a script in its place.

A closed union, so that calls are static. All members have the methods of `ScriptedBackend`.
"""

from merlion.serve.engine_backend import EngineBackend
from merlion.serve.scripted import ScriptedBackend

type Backend = EngineBackend | ScriptedBackend
