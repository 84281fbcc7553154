"""The composition root: server, sockets and model joined by one loop.

The same loop as the kernel's: read, let the server work, one forward pass, send. A pass runs
without the interpreter lock on all threads of the team, and its token is sent before the next
begins. The model is loaded by a thread beside the loop, which answers 503 meanwhile.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from bare import Arena, Slice
from merlion.engine.chat_template import CHAT_TEMPLATE_MESSAGES
from merlion.engine.scheduler import Scheduler
from merlion.hosted import memory
from merlion.hosted.code import Code
from merlion.hosted.errors import HostedError
from merlion.hosted.model import Model, Settings
from merlion.hosted.sockets import Sockets
from merlion.serve.engine_backend import EngineBackend
from merlion.serve.limits import (
    CONNECTIONS_MAX,
    INPUT_BYTES,
    LARGE_BODY_BYTES,
    MIB,
    OUTPUT_BYTES,
)
from merlion.serve.server import Server, ServerConfig

# Buffers of all connections, the shared one for large bodies, and what is little: 39 MiB.
SERVER_BYTES = CONNECTIONS_MAX * (INPUT_BYTES + OUTPUT_BYTES) + LARGE_BODY_BYTES + MIB
IDLE_S = 0.1  # Between looks at timers while nothing happens.
LOADING_S = 0.02


class Application:
    """One server and its model."""

    def __init__(
        self,
        code: Code,
        path: Path,
        host: str,
        port: int,
        settings: Settings,
        api_key: bytes = b"",
        alias: bytes = b"",
    ) -> None:
        """Open the port; the model is not loaded yet.

        Without `api_key` anybody may ask; without `alias` the model has its own name.
        """
        self._path, self._settings = path, settings
        self._stopping = False
        self._model: Model | None = None
        self._failure: BaseException | None = None
        self.progress: memory.Progress | None = None
        self.code = code
        self._storage = Arena(Slice.over(memory.anonymous(SERVER_BYTES)))
        self._name = alias or os.fsencode(path.stem)
        self.backend: EngineBackend = EngineBackend.zeroed(is_alias=bool(alias))
        self.code(EngineBackend.start)(self.backend, Slice.from_bytes(self._name), self._storage)
        self.server: Server = Server.zeroed()
        self._poll = self.code(Server.poll)
        config = ServerConfig(
            api_key=Slice.from_bytes(api_key),
            boot_unix_s=int(time.time() - time.monotonic()),
            entropy=int.from_bytes(os.urandom(8), "little"),
        )
        self.code(Server.start)(self.server, self._storage, config, self.backend)
        self.sockets = Sockets(self.code, self.server, host, port)

    def run(self, ready: Callable[[Model, str], None]) -> None:
        """Serve until a signal says stop.

        `ready` is told when the model is loaded, and why it cannot chat (empty when it can).
        """
        handlers = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        loader = threading.Thread(target=self._load, name="loader", daemon=True)
        loader.start()
        try:
            while loader.is_alive() and not self._stopping:
                self._exchange(LOADING_S)
            if not self._stopping:
                model, refused = self._attach()
                ready(model, refused)
                self._serve(model)
        finally:
            self.sockets.close()
            if self._model is not None:
                self._model.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """End `run` after the current pass."""
        self._stopping = True

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _load(self) -> None:
        try:
            self._model = Model(self.code, self._path, self._settings, self.progress)
        except BaseException as error:
            self._failure = error

    def _attach(self) -> tuple[Model, str]:
        """The loaded model, served from now on; and why it cannot chat."""
        if self._failure is not None:
            raise self._failure
        model = self._model
        if model is None:
            raise HostedError(f"{self._path} was not loaded")
        attach = self.code(EngineBackend.attach)
        error = attach(self.backend, model.engine, model.scheduler, model.arena)
        return model, "" if error is None else CHAT_TEMPLATE_MESSAGES[error].decode()

    def _exchange(self, timeout_s: float) -> None:
        """Read, let the server work, send."""
        self.sockets.poll(timeout_s)
        self._poll(self.server, time.monotonic_ns())
        self.sockets.flush()

    def _serve(self, model: Model) -> None:
        """The loop. The pass's tokens leave in the exchange after it, which does not wait."""
        step, has_work = self.code(Scheduler.step), self.code(Scheduler.has_work)
        computing = False  # The last pass computed something, so the next one probably does.
        while not self._stopping:
            self._exchange(0.0)
            if computing or has_work(model.scheduler):
                model.helpers.begin()
                computing = step(model.scheduler, time.monotonic_ns())
                continue
            model.helpers.end()
            self.sockets.poll(IDLE_S)
