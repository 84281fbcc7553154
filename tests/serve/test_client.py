"""The official client against the server, over real sockets on this machine."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from bare.testing import implementations

impl = implementations("merlion.serve.server", "merlion.serve.scripted")


class Live(threading.Thread):
    """A stage whose clients are sockets. `pace` is the time between two tokens."""

    def __init__(self, stage: Any, pace: float = 0.0) -> None:
        super().__init__(daemon=True)
        self.stage = stage
        self.pace = pace
        self.stopping = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets: dict[int, socket.socket] = {}

    def run(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self.listener, selectors.EVENT_READ)
        while not self.stopping:
            if selector.select(timeout=0.002):
                self.accept(selector)
                self.read(selector)
            self.stage.tick(2_000_000)
            time.sleep(self.pace)
            self.write(selector)
        for sock in self.sockets.values():
            sock.close()
        self.listener.close()

    def accept(self, selector: Any) -> None:
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        index = self.stage.server.open(self.stage.now)
        if index is None:
            sock.close()
            return
        self.sockets[index] = sock
        selector.register(sock, selectors.EVENT_READ)

    def read(self, selector: Any) -> None:
        for index, sock in list(self.sockets.items()):
            try:
                data = sock.recv(4096)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if data:
                self.stage.server.receive(index, data, self.stage.now)
            else:
                self.drop(selector, index)

    def write(self, selector: Any) -> None:
        server = self.stage.server
        for index, sock in list(self.sockets.items()):
            while len(out := server.pending(index)) > 0:
                server.sent(index, sock.send(bytes(out)))
            if server.wants_close(index):
                self.drop(selector, index)

    def drop(self, selector: Any, index: int) -> None:
        sock = self.sockets.pop(index)
        selector.unregister(sock)
        sock.close()
        self.stage.server.hangup(index)


@pytest.fixture
def live(impl: Any, kit: Any) -> Iterator[Any]:
    server = Live(kit.stage(impl, connection_count=8, api_key=b"secret"))
    server.start()
    yield server
    server.stopping = True
    server.join(5)


@pytest.fixture
def client(live: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=live.url + "/v1", api_key="secret", max_retries=0) as client:
        yield client


MESSAGES: Any = [{"role": "user", "content": "hi"}]


def test_chat(client: openai.OpenAI, kit: Any) -> None:
    reply = client.chat.completions.create(model="smol", messages=MESSAGES)
    assert reply.choices[0].message.content == kit.script.decode()
    assert reply.usage is not None
    assert reply.usage.total_tokens == 26


def test_chat_stream(client: openai.OpenAI, kit: Any) -> None:
    stream = client.chat.completions.create(
        model="smol", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == kit.script.decode()
    assert chunks[-1].usage is not None


def test_chat_stream_helper(client: openai.OpenAI, kit: Any) -> None:
    with client.chat.completions.stream(model="smol", messages=MESSAGES) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == kit.script.decode()
    assert final.choices[0].finish_reason == "stop"


def test_completions(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="smol", prompt="x", max_tokens=1)
    assert reply.choices[0].text == "Hello "
    stream = client.completions.create(model="smol", prompt="x", max_tokens=2, stream=True)
    assert "".join(c.choices[0].text for c in stream) == "Hello there, "


def test_models(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list()] == ["smol"]
    assert client.models.retrieve("smol").id == "smol"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_base_url_without_v1(live: Any, kit: Any) -> None:
    with openai.OpenAI(base_url=live.url, api_key="secret") as client:
        reply = client.chat.completions.create(model="smol", messages=MESSAGES)
    assert reply.choices[0].message.content == kit.script.decode()


def test_errors(client: openai.OpenAI, live: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="smol", messages=MESSAGES, n=3)
    assert caught.value.param == "n"
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="smol", prompt="x" * 600)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    live.stage.backend.queue_max = 0
    with pytest.raises(openai.RateLimitError):
        client.completions.create(model="smol", prompt="x")
    live.stage.backend.loaded = False
    with pytest.raises(openai.InternalServerError):
        client.completions.create(model="smol", prompt="x")


def test_hang_up_frees_the_slot(client: openai.OpenAI, live: Any) -> None:
    live.pace = 0.05
    stream = client.chat.completions.create(model="smol", messages=MESSAGES, stream=True)
    next(iter(stream))
    assert live.stage.busy_slots == 1
    stream.close()
    deadline = time.monotonic() + 5
    while live.stage.busy_slots and time.monotonic() < deadline:
        time.sleep(0.01)
    assert live.stage.backend.cancel_count == 1


def test_many_at_once(client: openai.OpenAI, kit: Any) -> None:
    results: list[str | None] = []

    def ask() -> None:
        reply = client.chat.completions.create(model="smol", messages=MESSAGES)
        results.append(reply.choices[0].message.content)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [kit.script.decode()] * 4
