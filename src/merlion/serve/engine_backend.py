"""Placeholder."""
from bare import Struct, u8
class EngineBackend(Struct):
    x: u8
