"""A client on a wire to the server, with a fake clock; h11 judges what the server says."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h11
import pytest

from bare import Arena, static, u8, u32

MS = 1_000_000
SECOND = 1000 * MS
CONTEXT = 500
SCRIPT = "Hello there, kind Wörld 👋 bye".encode()
STORAGE = static(u8, 1 << 20)


@dataclass
class Reply:
    """One response as h11 read it."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    parts: list[bytes] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The events of a stream; the last must be `[DONE]`, given as None."""
        text = self.body.decode()
        assert text.endswith("\n\n")
        datas = [e for e in text[:-2].split("\n\n") if not e.startswith(":")]
        assert all(e.startswith("data: ") for e in datas)
        return [None if e == "data: [DONE]" else json.loads(e[6:]) for e in datas]


class Stage:
    """One server, its scripted backend, and time."""

    def __init__(self, impl: Any, script: bytes = SCRIPT, **config: Any) -> None:
        STORAGE.fill(0)
        arena = Arena(STORAGE)
        backend = arena.alloc(impl.ScriptedBackend)
        backend.script = script
        backend.model = b"smol"
        backend.prompt = arena.slice(u32, CONTEXT * 4)
        backend.context = CONTEXT
        self.start(impl, arena, backend, config)
        arena.seal()

    def start(self, impl: Any, arena: Arena, backend: Any, config: dict[str, Any]) -> None:
        self.now = 5 * SECOND
        self.backend = backend
        sizes = {"connection_count": 4, "input_bytes": 33_000, "large_body_bytes": 70_000}
        settings = impl.ServerConfig(**(sizes | {"boot_unix_s": 1_700_000_000} | config))
        self.server = arena.alloc(impl.Server)
        self.server.start(arena, settings, self.backend)

    def connect(self) -> "Client":
        index = self.server.open(self.now)
        assert index is not None
        return Client(self, index)

    def tick(self, duration_ns: int = MS, *, step: bool = True) -> None:
        """One turn of the main loop."""
        self.now += duration_ns
        if step:
            self.backend.step(self.now)
        self.server.poll(self.now)

    @property
    def busy_slots(self) -> int:
        return sum(1 for slot in self.backend.slots if slot.used)


class Client:
    """One connection."""

    def __init__(self, stage: Stage, index: int) -> None:
        self.stage = stage
        self.index = index
        self.received = b""
        self.closed = False

    def send(self, data: bytes, cut: int = 0) -> int:
        """Give bytes to the server, `cut` at a time (0: all at once). Returns how many it took."""
        taken = 0
        size = cut or max(len(data), 1)
        for at in range(0, len(data), size):
            part = data[at : at + size]
            count = self.stage.server.receive(self.index, part, self.stage.now)
            taken += count
            if count < len(part):
                break
        return taken

    def drain(self, limit: int = 1 << 30) -> bytes:
        """Take what is pending, as a transport does."""
        server = self.stage.server
        fresh = b""
        while limit > len(fresh) and len(part := server.pending(self.index)) > 0:
            piece = bytes(part[: min(len(part), limit - len(fresh))])
            fresh += piece
            server.sent(self.index, len(piece))
        self.received += fresh
        if not self.closed and server.wants_close(self.index):
            server.hangup(self.index)
            self.closed = True
        return fresh

    def run(self, turns: int = 60) -> bytes:
        """Let the server work until nothing comes any more."""
        start = len(self.received)
        quiet = 0
        for _ in range(turns):
            quiet = 0 if self.drain() else quiet + 1
            if self.closed or (quiet > 4 and self.stage.busy_slots == 0):
                break
            self.stage.tick()
        self.drain()
        return self.received[start:]

    def ask(self, data: bytes, method: str = "GET", cut: int = 0) -> Reply:
        """Send one request and read its reply."""
        assert self.send(data, cut) == len(data)
        (reply,) = read_replies(self.run(), [method], closed=self.closed)
        return reply

    def call(self, path: str, body: Any = None, cut: int = 0, **headers: str) -> Reply:
        """A request as a JSON client makes it."""
        method = "GET" if body is None else "POST"
        return self.ask(request(path, body, **headers), method, cut)

    def hangup(self) -> None:
        self.stage.server.hangup(self.index)
        self.closed = True


def request(path: str, body: Any = None, method: str = "", **headers: str) -> bytes:
    """The bytes of a request; `x_api_key=` becomes `x-api-key:`."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    method = method or ("GET" if body is None else "POST")
    fields = {"host": "merlion"} | {k.replace("_", "-"): v for k, v in headers.items()}
    if body is not None:
        fields |= {"content-length": str(len(raw)), "content-type": "application/json"}
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def read_replies(raw: bytes, methods: list[str], *, closed: bool = False) -> list[Reply]:
    """Parse responses with h11, as a client that sent `methods`."""
    replies: list[Reply] = []
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        headers = [("host", "x")] + ([("content-length", "0")] if method == "POST" else [])
        client.send(h11.Request(method=method, target="/", headers=headers))
        client.send(h11.EndOfMessage())
        client.receive_data(raw)
        if closed:
            client.receive_data(b"")
        reply = Reply(0, {}, b"", complete=False)
        while True:
            try:
                event = client.next_event()
            except h11.RemoteProtocolError:
                break  # The body was cut.
            if isinstance(event, h11.Response):
                reply.status = event.status_code
                reply.headers = {k.decode(): v.decode() for k, v in event.headers}
            elif isinstance(event, h11.Data):
                reply.body += bytes(event.data)
                reply.parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                reply.complete = True
                break
            elif not isinstance(event, h11.InformationalResponse):
                break
        replies.append(reply)
        raw = client.trailing_data[0]
        if not reply.complete:
            break
    return replies


def chat(text: str = "hi", **fields: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": "smol", "messages": [{"role": "user", "content": text}]} | fields


@dataclass
class Kit:
    """What tests of the server use."""

    request: Callable[..., bytes] = request
    chat: Callable[..., dict[str, Any]] = chat
    read_replies: Callable[..., list[Reply]] = read_replies
    second: int = SECOND
    script: bytes = SCRIPT
    context: int = CONTEXT
    stage: Callable[..., Stage] = Stage


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
