"""Linux sockets joined to the server: what serve/bridge.py does for the network stack.

Non-blocking, one thread. `poll` moves whatever can be moved and returns; it waits for at most
`timeout_s` when nothing is there. After the server's last byte a connection lingers: what the peer
still sends is read and dropped until it closes too, for otherwise our close would become a reset
and the peer could lose the reply (RFC 9112, section 9.6).
"""

import selectors
import socket
import time
from dataclasses import dataclass

from merlion.hosted.code import Code
from merlion.hosted.errors import HostedError
from merlion.serve.limits import LINGER_NS
from merlion.serve.outbox import Outbox
from merlion.serve.server import Server

BACKLOG = 1024
READ_BYTES = 64 * 1024
NO_CONNECTION = -1


@dataclass(slots=True)
class Link:
    """One socket and one connection of the server."""

    socket: socket.socket
    inner: int  # NO_CONNECTION while lingering.
    outbox: Outbox
    unread: bytes = b""  # Received, not yet taken by the server.
    ended: bool = False  # The peer sends nothing more.
    events: int = selectors.EVENT_READ
    since_ns: int = 0


class Sockets:
    """The listener and all links."""

    def __init__(self, code: Code, server: Server, host: str, port: int) -> None:
        """Listen. Raises HostedError when the address is taken or not ours."""
        self._server = server
        self._open = code(Server.open)
        self._receive = code(Server.receive)
        self._pending = code(Server.pending)
        self._sent = code(Server.sent)
        self._wants_close = code(Server.wants_close)
        self._finish_input = code(Server.finish_input)
        self._hangup = code(Server.hangup)
        self._links: dict[int, Link] = {}
        self._selector = selectors.DefaultSelector()
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise HostedError(
                f"cannot listen on {host} port {port}: {error.strerror}",
                "choose another --port or --host",
            ) from error
        self._listener.setblocking(False)
        self._accepting = True
        self._selector.register(self._listener, selectors.EVENT_READ)

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    def poll(self, timeout_s: float) -> None:
        """Wait for at most `timeout_s`; accept, and read what has come."""
        for key, events in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            elif events & selectors.EVENT_READ:
                link = self._links.get(key.fd)
                if link is not None:
                    self._read(link)

    def flush(self) -> None:
        """Send what the server has for its clients; close what it is done with."""
        now_ns = time.monotonic_ns()
        for link in list(self._links.values()):
            if link.inner == NO_CONNECTION:
                if now_ns - link.since_ns > LINGER_NS:
                    self._drop(link)
                continue
            if link.unread:
                self._feed(link)
            if not link.outbox.is_empty:
                self._write(link)
            if link.inner != NO_CONNECTION and self._wants_close(self._server, link.inner):
                self._linger(link, now_ns)
            if link.inner != NO_CONNECTION:
                self._watch(link)

    def close(self) -> None:
        """Close everything at once."""
        for link in list(self._links.values()):
            self._drop(link)
        self._listener.close()
        self._selector.close()

    def _accept(self) -> None:
        """Take what waits in the backlog while there is room; the rest waits on."""
        while True:
            inner = self._open(self._server, time.monotonic_ns())
            if inner is None:
                self._accept_more(False)
                return
            try:
                peer, _ = self._listener.accept()
            except OSError:
                self._hangup(self._server, inner)
                return
            peer.setblocking(False)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(peer, inner, self._server.connections[inner].outbox)
            self._links[peer.fileno()] = link
            self._selector.register(peer, selectors.EVENT_READ)
            self._read(link)

    def _accept_more(self, accepting: bool) -> None:
        """Watch the listener, or do not while there is no room."""
        if accepting != self._accepting:
            self._accepting = accepting
            if accepting:
                self._selector.register(self._listener, selectors.EVENT_READ)
            else:
                self._selector.unregister(self._listener)

    def _read(self, link: Link) -> None:
        """One read; the server takes it at once or later."""
        try:
            data = link.socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(link)
            return
        if link.inner == NO_CONNECTION:
            if not data:
                self._drop(link)
            return
        if not data:
            link.ended = True
        link.unread += data
        self._feed(link)

    def _feed(self, link: Link) -> None:
        """Offer the server what was read, then the end of it."""
        if link.unread:
            now_ns = time.monotonic_ns()
            taken = self._receive(self._server, link.inner, link.unread, now_ns)
            link.unread = link.unread[taken:]
        if link.ended and not link.unread:
            self._finish_input(self._server, link.inner)

    def _write(self, link: Link) -> None:
        """Send as much as the socket takes."""
        data = bytes(self._pending(self._server, link.inner))
        while data:
            try:
                count = link.socket.send(data)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._drop(link)
                return
            self._sent(self._server, link.inner, count)
            data = bytes(self._pending(self._server, link.inner))

    def _watch(self, link: Link) -> None:
        """Ask for the events that can move this link on."""
        events = 0
        if not link.unread and not link.ended:
            events |= selectors.EVENT_READ
        if not link.outbox.is_empty:
            events |= selectors.EVENT_WRITE
        if events == link.events:
            return
        if link.events == 0:
            self._selector.register(link.socket, events)
        elif events == 0:
            self._selector.unregister(link.socket)
        else:
            self._selector.modify(link.socket, events)
        link.events = events

    def _linger(self, link: Link, now_ns: int) -> None:
        """The server has said everything: send FIN, wait for the peer's."""
        self._hangup(self._server, link.inner)
        self._accept_more(True)
        link.inner = NO_CONNECTION
        link.since_ns = now_ns
        try:
            link.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(link)
            return
        if link.ended:
            self._drop(link)
        elif link.events != selectors.EVENT_READ:
            if link.events == 0:
                self._selector.register(link.socket, selectors.EVENT_READ)
            else:
                self._selector.modify(link.socket, selectors.EVENT_READ)
            link.events = selectors.EVENT_READ

    def _drop(self, link: Link) -> None:
        """The connection is gone: the server stops whatever it was doing for it."""
        if link.inner != NO_CONNECTION:
            self._hangup(self._server, link.inner)
            link.inner = NO_CONNECTION
            self._accept_more(True)
        if link.events:
            self._selector.unregister(link.socket)
            link.events = 0
        self._links.pop(link.socket.fileno(), None)
        link.socket.close()
