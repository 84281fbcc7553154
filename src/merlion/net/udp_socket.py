"""UDP sockets: a port and a few received datagrams each. Newcomers are dropped when full."""

from bare import Arena, Array, Bytes, Slice, Struct, array, u8, u16, u32, u64, usize
from merlion.net.limits import UDP_DATAGRAM_BYTES, UDP_DATAGRAMS, UDP_SOCKETS


class Message(Struct):
    """One received datagram."""

    address: u32
    port: u16
    length: usize
    bytes: Slice[u8]


class UdpSocket(Struct):
    """`port` is 0 while it is free."""

    port: u16
    head: usize
    count: usize
    messages: Slice[Message]


class UdpTable(Struct):
    """All sockets."""

    sockets: Array[UdpSocket] = array(UDP_SOCKETS)
    dropped: u64

    def start(self, arena: Arena) -> None:
        """Take the storage."""
        for i in range(UDP_SOCKETS):
            messages = arena.slice(Message, UDP_DATAGRAMS)
            storage = arena.slice(u8, UDP_DATAGRAMS * UDP_DATAGRAM_BYTES)
            for k in range(UDP_DATAGRAMS):
                start = k * UDP_DATAGRAM_BYTES
                messages[k].bytes = storage[start : start + UDP_DATAGRAM_BYTES]
            self.sockets[i].messages = messages

    def bind(self, port: u16) -> u32 | None:
        """A socket on `port`, or None when it is taken or there are too many."""
        if port == 0 or self.find(port) is not None:
            return None
        for i in range(UDP_SOCKETS):
            if self.sockets[i].port == 0:
                self.sockets[i].port = port
                self.sockets[i].head = 0
                self.sockets[i].count = 0
                return u32(i)
        return None

    def find(self, port: u16) -> UdpSocket | None:
        """The socket of a port."""
        for i in range(UDP_SOCKETS):
            if self.sockets[i].port == port:
                return self.sockets[i]
        return None

    def deliver(self, socket: UdpSocket, address: u32, port: u16, payload: Bytes) -> None:
        """Keep a datagram for the application."""
        if socket.count == UDP_DATAGRAMS or len(payload) > UDP_DATAGRAM_BYTES:
            self.dropped += 1
            return
        message = socket.messages[(socket.head + socket.count) % UDP_DATAGRAMS]
        socket.count += 1
        message.address = address
        message.port = port
        message.length = len(payload)
        message.bytes[: len(payload)].copy_from(payload)

    def first(self, socket: u32) -> Message | None:
        """The oldest datagram, valid until `drop`."""
        s = self.sockets[socket]
        if s.count == 0:
            return None
        return s.messages[s.head]

    def drop(self, socket: u32) -> None:
        """Done with the oldest datagram."""
        s = self.sockets[socket]
        assert s.count > 0, "no datagram to drop"
        s.head = (s.head + 1) % UDP_DATAGRAMS
        s.count -= 1
