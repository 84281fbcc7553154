"""The API server on this machine's network stack.

It is there from boot on; `ai-serve` opens the port, and until a model is loaded requests are
answered with 503.
"""

from bare import Arena, Struct, u16, u64, usize
from merlion.kernel import counters
from merlion.kernel.config import config
from merlion.kernel.inference import NO_MODEL, backend
from merlion.kernel.limits import SERVER_BODY_BYTES, SERVER_CONNECTIONS
from merlion.kernel.network import random_u64, stack
from merlion.serve.bridge import Bridge
from merlion.serve.server import Server, ServerConfig

server = Server.zeroed()
bridge = Bridge.zeroed()


class Serving(Struct):
    """Where the server listens."""

    started: bool = False
    port: u16 = 0

    def start(self, arena: Arena) -> None:
        """Take all storage."""
        backend.start(NO_MODEL, arena)
        settings = ServerConfig(
            connection_count=SERVER_CONNECTIONS,
            large_body_bytes=SERVER_BODY_BYTES,
            api_key=config.api_key,
            boot_unix_s=config.boot_unix_s,
            entropy=random_u64(),
        )
        server.start(arena, settings, backend)
        bridge.start(arena, usize(SERVER_CONNECTIONS))
        self.started = True

    def listen(self, port: u16) -> bool:
        """Open the port. False when the stack listens to too many."""
        assert self.port == 0, "the API has one port"
        if not stack.listen(port):
            return False
        self.port = port
        return True

    def close(self) -> None:
        """Close the port: new clients are refused, those that are there are served to the end."""
        stack.unlisten(self.port)
        self.port = 0

    def poll(self, now_ns: u64) -> bool:
        """Move bytes between the stack and the server, and let it work. False when idle."""
        if not self.started:
            return False
        machine = server.service.metrics.machine
        machine.present = True
        machine.page_faults = counters.page_faults()
        machine.interrupts = counters.interrupts()
        machine.interrupts_at_work = counters.interrupts_at_work()
        machine.allocated_bytes = counters.allocated_bytes()
        return bridge.poll(stack, server, now_ns)


serving = Serving.zeroed()
