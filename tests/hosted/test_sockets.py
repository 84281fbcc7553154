"""Real sockets joined to the compiled server: back-pressure, ends, and who is looked at."""

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from merlion.hosted.code import Code
from merlion.hosted.main import Application
from merlion.hosted.model import Settings
from merlion.hosted.sockets import NO_CONNECTION

pytestmark = pytest.mark.slow
SECONDS = 10.0
PAGES = 150
GET_PAGE = b"GET / HTTP/1.1\r\nHost: x\r\nX-Padding: " + b"x" * 1000 + b"\r\n\r\n"
GET_LAST = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def code() -> Code:
    return Code()


@pytest.fixture
def server(code: Code) -> Iterator[Application]:
    """A server without a model."""
    found = Application(code, Path("none.gguf"), "127.0.0.1", 0, Settings())
    yield found
    found.sockets.close()


def connect(server: Application) -> socket.socket:
    client = socket.create_connection(server.sockets.address)
    client.setblocking(False)
    return client


def exchange(server: Application, client: socket.socket, wanted: int = 1) -> bytes:
    """Let the server work until the client has `wanted` bytes, or its end."""
    data = b""
    end = time.monotonic() + SECONDS
    while len(data) < wanted and time.monotonic() < end:
        server._exchange(0.01)
        if select.select([client], [], [], 0)[0]:
            part = client.recv(1 << 20)
            if not part:
                break
            data += part
    return data


def work(server: Application, rounds: int = 20) -> None:
    for _ in range(rounds):
        server._exchange(0.001)


def test_a_client_that_does_not_read_is_waited_for(server: Application) -> None:
    client = connect(server)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    client.send(GET_PAGE)
    page = exchange(server, client)
    work(server)
    while select.select([client], [], [], 0)[0]:
        page += client.recv(1 << 20)
    assert page.startswith(b"HTTP/1.1 200")
    (link,) = server.sockets._links.values()
    link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
    client.setblocking(True)
    client.sendall(GET_PAGE * PAGES)
    client.setblocking(False)
    work(server, 200)
    assert link.blocked
    assert link.unread
    assert exchange(server, client, len(page) * PAGES) == page * PAGES
    work(server)
    assert not link.blocked
    assert not link.unread
    assert link.events == select.EPOLLIN
    client.close()


def test_after_the_last_reply_the_connection_lingers(server: Application) -> None:
    client = connect(server)
    client.send(GET_LAST)
    assert exchange(server, client).startswith(b"HTTP/1.1 ")
    assert exchange(server, client) == b""
    (link,) = server.sockets._links.values()
    assert link.inner == NO_CONNECTION
    client.send(b"more that nobody wants")
    work(server)
    assert server.sockets._links
    client.close()
    work(server)
    assert not server.sockets._links
    assert not server.sockets._lingering


def test_a_peer_that_is_gone_leaves_nothing_behind(server: Application) -> None:
    clients = [connect(server) for _ in range(8)]
    for client in clients:
        client.send(GET_PAGE[:-2])
    work(server)
    assert len(server.sockets._joined) == 8
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # A reset.
        client.close()
    work(server)
    assert not server.sockets._links
    assert not server.sockets._joined
    assert all(connection.phase == 0 for connection in server.server.connections)


def test_many_clients_at_once(server: Application) -> None:
    clients = [connect(server) for _ in range(20)]
    for client in clients:
        client.send(GET_PAGE)
    replies = {exchange(server, client)[:15] for client in clients}
    assert replies == {b"HTTP/1.1 200 OK"}
    for client in clients:
        client.close()
