"""Joins the network stack's connections to the server's: bytes, ends and failures both ways.

A link lives from `accept` until both sides are done. After the server's last byte the stack sends
FIN, and the link lingers: what the peer still sends is read and dropped until it closes too, or for
LINGER_NS. Without that, unread bytes would turn our FIN into RST and the peer could lose the reply
(RFC 9112, section 9.6).
"""

from enum import IntEnum

from bare import Arena, Slice, Struct, u32, u64, usize
from merlion.net.stack import Stack
from merlion.serve.limits import LINGER_NS
from merlion.serve.server import Server


class LinkState(IntEnum):
    """Where a link is in its life."""

    FREE = 0
    JOINED = 1
    LINGER = 2  # The server has let go; the stack has sent, or will send, FIN.
    WAITING = 3  # Accepted, while the server has no place. An idle connection will make way.


class Link(Struct):
    """One connection of the stack and one of the server."""

    state: LinkState
    outer: u32  # In the stack.
    inner: u32  # In the server, while JOINED.
    since_ns: u64


class Bridge(Struct):
    """All links. Waiting and lingering ones count, hence twice the server's connections."""

    links: Slice[Link]

    def start(self, arena: Arena, connection_count: usize) -> None:
        """Make room for the links of a server with this many connections."""
        self.links = arena.slice(Link, connection_count * 2)

    def poll(self, stack: Stack, server: Server, now_ns: u64) -> bool:
        """Bytes in, the server's turn, bytes out: a token that is ready leaves at once.

        Returns False when nothing moved.
        """
        self.accept(stack)
        moved = False
        full = False
        for link in self.links:
            if link.state == LinkState.WAITING and not full:
                full = not self.join(link, stack, server, now_ns)
            if link.state == LinkState.JOINED:
                moved = self.take_in(link, stack, server, now_ns) or moved
            elif link.state == LinkState.LINGER:
                self.linger(link, stack, now_ns)
        moved = server.poll(now_ns) or moved
        for link in self.links:
            if link.state == LinkState.JOINED:
                moved = self.give_out(link, stack, server, now_ns) or moved
        return moved

    def accept(self, stack: Stack) -> None:
        """Take what waits in the backlog."""
        for link in self.links:
            if link.state == LinkState.FREE:
                outer = stack.accept()
                if outer is None:
                    return
                link.outer = outer
                link.state = LinkState.WAITING

    def join(self, link: Link, stack: Stack, server: Server, now_ns: u64) -> bool:
        """Find a place for a waiting connection. Returns False when there is none yet."""
        if stack.is_dead(link.outer):
            stack.release(link.outer)
            link.state = LinkState.FREE
            return True
        inner = server.open(now_ns)
        if inner is None:
            return False
        link.inner = inner
        link.state = LinkState.JOINED
        return True

    def take_in(self, link: Link, stack: Stack, server: Server, now_ns: u64) -> bool:
        """What the peer sent: bytes, its end, or a failure."""
        moved = False
        data = stack.readable(link.outer)
        while len(data) > 0:
            taken = server.receive(link.inner, data, now_ns)
            stack.consume(link.outer, taken)
            if taken == 0:
                break
            moved = True
            data = stack.readable(link.outer)
        if stack.is_dead(link.outer):
            self.drop(link, stack, server)
            return True
        if stack.peer_closed(link.outer) and len(data) == 0:
            server.finish_input(link.inner)
        return moved

    def give_out(self, link: Link, stack: Stack, server: Server, now_ns: u64) -> bool:
        """What the server has to say, and its end."""
        moved = False
        out = server.pending(link.inner)
        while len(out) > 0:
            count = stack.send(link.outer, out)
            if count == 0:
                break
            server.sent(link.inner, count)
            moved = True
            out = server.pending(link.inner)
        if server.wants_close(link.inner):
            server.hangup(link.inner)
            stack.close(link.outer)
            link.state = LinkState.LINGER
            link.since_ns = now_ns
        return moved

    def drop(self, link: Link, stack: Stack, server: Server) -> None:
        """The connection broke: the server stops whatever it was doing for it."""
        server.hangup(link.inner)
        stack.release(link.outer)
        link.state = LinkState.FREE

    def linger(self, link: Link, stack: Stack, now_ns: u64) -> None:
        """Read and drop until the peer closes, or for long enough."""
        data = stack.readable(link.outer)
        while len(data) > 0:
            stack.consume(link.outer, len(data))
            data = stack.readable(link.outer)
        done = stack.peer_closed(link.outer) or stack.is_dead(link.outer)
        if done or now_ns - link.since_ns > LINGER_NS:
            stack.release(link.outer)
            link.state = LinkState.FREE
