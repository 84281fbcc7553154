"""Linux sockets joined to the server: what serve/bridge.py does for the network stack.

Non-blocking, one thread. `poll` moves whatever can be moved and returns; it waits for at most
`timeout_s` when nothing is there. `flush` looks only at connections with something to do, and makes
as few calls of compiled code for each as it can (passes.py).

After the server's last byte a connection lingers: what the peer still sends is read and dropped
until it closes too, for otherwise our close would become a reset and the peer could lose the reply
(RFC 9112, section 9.6).
"""

import select
import socket
import time
from dataclasses import dataclass

from merlion.hosted.code import Code
from merlion.hosted.errors import HostedError
from merlion.hosted.passes import outgoing, sent
from merlion.serve.limits import LINGER_NS
from merlion.serve.server import Server
from merlion.serve.service import NOBODY

BACKLOG = 1024
READ_BYTES = 64 * 1024
NO_CONNECTION = -1


@dataclass(slots=True)
class Link:
    """One socket and one connection of the server."""

    socket: socket.socket
    inner: int  # NO_CONNECTION while lingering.
    unread: bytes = b""  # Received, not yet taken by the server.
    ended: bool = False  # The peer sends nothing more.
    blocked: bool = False  # The socket takes nothing more for now.
    events: int = select.EPOLLIN
    since_ns: int = 0


class Sockets:
    """The listener and all links."""

    def __init__(self, code: Code, server: Server, host: str, port: int) -> None:
        """Listen. Raises HostedError when the address is taken or not ours."""
        self._server = server
        self._open = code(Server.open)
        self._receive = code(Server.receive)
        self._pending = code(Server.pending)
        self._outgoing = code(outgoing)
        self._sent = code(sent)
        self._wants_close = code(Server.wants_close)
        self._finish_input = code(Server.finish_input)
        self._hangup = code(Server.hangup)
        self._links: dict[int, Link] = {}  # By file descriptor.
        self._joined: dict[int, Link] = {}  # By connection of the server.
        self._unread: dict[int, Link] = {}  # Of them, those with bytes that it did not take.
        self._lingering: dict[int, Link] = {}  # By file descriptor.
        self._epoll = select.epoll()
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
        self._listener_number = self._listener.fileno()
        self._epoll.register(self._listener_number, select.EPOLLIN)

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    def poll(self, timeout_s: float) -> None:
        """Wait for at most `timeout_s`; accept, and read what has come."""
        for number, events in self._epoll.poll(timeout_s):
            if number == self._listener_number:
                self._accept()
            elif events & ~select.EPOLLOUT:
                link = self._links.get(number)
                if link is not None:
                    self._read(link)

    def flush(self) -> None:
        """Send what the server has for its clients; close what it is done with."""
        for link in list(self._unread.values()):
            self._feed(link)
        inner = self._outgoing(self._server, 0)
        while inner != NOBODY:
            self._serve(self._joined[inner])
            inner = self._outgoing(self._server, inner + 1)
        if self._lingering:
            now_ns = time.monotonic_ns()
            for link in list(self._lingering.values()):
                if now_ns - link.since_ns > LINGER_NS:
                    self._drop(link)

    def close(self) -> None:
        """Close everything at once."""
        for link in list(self._links.values()):
            self._drop(link)
        self._listener.close()
        self._epoll.close()

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
            link = Link(peer, inner)
            self._links[peer.fileno()] = self._joined[inner] = link
            self._epoll.register(peer, link.events)
            self._read(link)

    def _accept_more(self, accepting: bool) -> None:
        """Watch the listener, or do not while there is no room."""
        if accepting != self._accepting:
            self._accepting = accepting
            if accepting:
                self._epoll.register(self._listener, select.EPOLLIN)
            else:
                self._epoll.unregister(self._listener)

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
        if link.unread:
            self._unread[link.inner] = link
        else:
            self._unread.pop(link.inner, None)
            if link.ended:
                self._finish_input(self._server, link.inner)
        self._watch(link)

    def _serve(self, link: Link) -> None:
        """Send as much as the socket takes, and close when everything was said."""
        link.blocked = False
        data = bytes(self._pending(self._server, link.inner))
        while data:
            try:
                count = link.socket.send(data)
            except (BlockingIOError, InterruptedError):
                link.blocked = True
                break
            except OSError:
                self._drop(link)
                return
            if not self._sent(self._server, link.inner, count):
                break
            data = bytes(self._pending(self._server, link.inner))
        if not data and self._wants_close(self._server, link.inner):
            self._linger(link)
        else:
            self._watch(link)

    def _watch(self, link: Link) -> None:
        """Ask for the events that can move this link on."""
        events = 0
        if not link.unread and not link.ended:
            events |= select.EPOLLIN
        if link.blocked:
            events |= select.EPOLLOUT
        self._watch_for(link, events)

    def _watch_for(self, link: Link, events: int) -> None:
        """Ask for these events; without any, not even to be told of a failure again and again."""
        if events == link.events:
            return
        if link.events == 0:
            self._epoll.register(link.socket, events)
        elif events == 0:
            self._epoll.unregister(link.socket)
        else:
            self._epoll.modify(link.socket, events)
        link.events = events

    def _let_go(self, link: Link) -> None:
        """The server's connection is free for another."""
        self._hangup(self._server, link.inner)
        self._joined.pop(link.inner, None)
        self._unread.pop(link.inner, None)
        link.inner = NO_CONNECTION
        self._accept_more(True)

    def _linger(self, link: Link) -> None:
        """The server has said everything: send FIN, wait for the peer's."""
        self._let_go(link)
        link.since_ns = time.monotonic_ns()
        try:
            link.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(link)
            return
        if link.ended:
            self._drop(link)
            return
        self._lingering[link.socket.fileno()] = link
        self._watch_for(link, select.EPOLLIN)

    def _drop(self, link: Link) -> None:
        """The connection is gone: the server stops whatever it was doing for it."""
        if link.inner != NO_CONNECTION:
            self._let_go(link)
        self._watch_for(link, 0)
        number = link.socket.fileno()
        self._links.pop(number, None)
        self._lingering.pop(number, None)
        link.socket.close()
