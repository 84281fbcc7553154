"""The whole stack, sans IO: frames in by `receive`, frames out by `transmit`, time by argument.

One Ethernet interface, one IPv4 address (static or from DHCP), TCP, UDP, ICMP echo. Everything is
allocated by `create`; after that nothing allocates, blocks, or reads a clock. Whatever arrives, a
frame is either handled or counted and dropped: it never traps.

Order of transmission: queued frames, DHCP, segments without connection, connections
in turn, ARP questions. Datagram sockets are `stack.udp`; sending is `stack.udp_send`.
"""

from bare import Arena, Bytes, Slice, Struct, u8, u16, u32, u64, usize
from merlion.net import arp, ethernet, icmp, ipv4, udp
from merlion.net.dhcp import DhcpClient, DhcpEvent, DhcpState
from merlion.net.dhcp_message import CLIENT_PORT, SERVER_PORT
from merlion.net.ipv4 import Ipv4Error, Packet
from merlion.net.limits import (
    DHCP_MESSAGE_BYTES,
    ETHERNET_BYTES,
    FRAME_MAX,
    ICMP_ERRORS_PER_SECOND,
    NO_SLOT,
    UDP_BYTES,
    UDP_DATAGRAM_BYTES,
)
from merlion.net.link import PAYLOAD_AT, Link, pad
from merlion.net.rate_limit import RateLimit
from merlion.net.stack_config import StackConfig, StackCounters
from merlion.net.tcp import Tcp
from merlion.net.tcp_connection import CloseReason, State
from merlion.net.tcp_table import TcpConfig
from merlion.net.udp_socket import UdpTable


class Stack(Struct):
    """One interface and everything above it."""

    link: Link
    tcp: Tcp
    udp: UdpTable
    dhcp: DhcpClient
    icmp_limit: RateLimit
    counters: StackCounters
    echo_sequence: u16  # Of the latest echo reply,
    echo_received_ns: u64  # which came then; 0 before the first.
    now_ns: u64  # The latest time that was passed in.

    def start(self, arena: Arena, config: StackConfig) -> None:
        """Take all storage."""
        self.link.start(arena)
        tcp_config = TcpConfig(
            connections=config.connections,
            receive_bytes=config.receive_bytes,
            transmit_bytes=config.transmit_bytes,
            backlog=config.backlog,
            syn_queue=config.syn_queue,
            time_waits=config.time_waits,
            key0=config.key0,
            key1=config.key1,
        )
        self.tcp.start(arena, tcp_config)
        self.udp.start(arena)
        self.dhcp.key0 = config.key1
        self.dhcp.key1 = config.key0
        self.icmp_limit.per_second = ICMP_ERRORS_PER_SECOND

    def configure(self, mac: u64, address: u32, netmask: u32, gateway: u32) -> None:
        """Use a static address (or none, when `address` is 0)."""
        self.link.mac = mac
        self.dhcp.state = DhcpState.OFF
        self.use_address(address, netmask, gateway)

    def configure_dhcp(self, mac: u64, now_ns: u64) -> None:
        """Ask the network for an address."""
        self.now_ns = now_ns
        self.link.mac = mac
        self.use_address(0, 0, 0)
        self.dhcp.start(mac, now_ns)

    def use_address(self, address: u32, netmask: u32, gateway: u32) -> None:
        """Tell every layer."""
        if address == self.link.address and address != 0:
            self.link.netmask = netmask
            self.link.gateway = gateway
            return  # A renewed lease.
        self.link.set_address(address, netmask, gateway, self.now_ns)
        self.tcp.set_address(address)

    def on_dhcp(self, event: DhcpEvent) -> None:
        """Act on what the client found out."""
        if event == DhcpEvent.BOUND:
            self.use_address(self.dhcp.address, self.dhcp.netmask, self.dhcp.gateway)
        elif event == DhcpEvent.LOST:
            self.use_address(0, 0, 0)

    def has_address(self) -> bool:
        """Whether the stack can talk."""
        return self.link.address != 0

    def poll(self, now_ns: u64) -> None:
        """Fire timers. Call often; `next_deadline` says when it matters."""
        self.now_ns = max(self.now_ns, now_ns)
        self.on_dhcp(self.dhcp.poll(now_ns))
        self.tcp.poll(now_ns)

    def next_deadline(self) -> u64:
        """The earliest time at which `poll` and `transmit` have something to do by themselves."""
        below = min(self.dhcp.next_deadline(), self.link.next_deadline())
        return min(below, self.tcp.next_deadline())

    # Frames in.

    def receive(self, frame: Bytes, now_ns: u64) -> None:
        """One frame from the wire, without its check sequence."""
        self.now_ns = max(self.now_ns, now_ns)
        self.counters.frames_in += 1
        header = ethernet.EthernetHeader.view(frame)
        if header is None:
            self.counters.malformed += 1
            return
        destination = header.destination
        if destination != self.link.mac and destination != ethernet.BROADCAST:
            self.counters.ignored += 1
            return
        payload = frame[ETHERNET_BYTES:]
        if header.ethertype == ethernet.ETHERTYPE_IPV4:
            self.receive_ipv4(payload, destination == ethernet.BROADCAST)
        elif header.ethertype == ethernet.ETHERTYPE_ARP:
            if self.link.receive_arp(payload, self.now_ns):
                self.on_dhcp(self.dhcp.decline(self.now_ns))
        else:
            self.counters.ignored += 1

    def receive_ipv4(self, bytes: Bytes, link_broadcast: bool) -> None:
        """Check an IPv4 packet and hand it to its protocol."""
        packet = ipv4.parse(bytes)
        if isinstance(packet, Ipv4Error):
            self.count_refused(packet)
            return
        ours = packet.destination == self.link.address and self.link.address != 0
        if packet.protocol == ipv4.PROTOCOL_UDP:
            self.receive_udp(packet, ours, link_broadcast)
            return
        # Only UDP is answered when it was broadcast (RFC 1122 sections 3.2.2 and 4.2.3.10).
        if not ours or link_broadcast or packet.source == self.link.address:
            self.counters.ignored += 1
            return
        if packet.source == 0 or self.link.is_broadcast(packet.source):
            self.counters.ignored += 1
        elif packet.protocol == ipv4.PROTOCOL_TCP:
            self.tcp.receive(packet.source, packet.payload, self.now_ns)
        elif packet.protocol == ipv4.PROTOCOL_ICMP:
            self.receive_icmp(packet)
        else:
            self.counters.ignored += 1
            self.queue_unreachable(packet, icmp.CODE_PROTOCOL)

    def count_refused(self, error: Ipv4Error) -> None:
        """Why a packet was dropped."""
        if error == Ipv4Error.CHECKSUM:
            self.counters.checksum_errors += 1
        elif error == Ipv4Error.FRAGMENT:
            self.counters.fragments += 1
        else:
            self.counters.malformed += 1

    def receive_icmp(self, packet: Packet) -> None:
        """Answer echo; learn from errors about our segments."""
        message = packet.payload
        header = icmp.parse(message)
        if header is None:
            self.counters.checksum_errors += 1
            return
        if header.type == icmp.ECHO_REQUEST and header.code == 0:
            self.counters.echo_requests += 1
            frame = self.link.new_packet(packet.source, len(message), self.now_ns)
            if frame is None:
                return
            end = PAYLOAD_AT + len(message)
            icmp.emit_echo_reply(frame.bytes[PAYLOAD_AT:end], message)
            self.link.seal_packet(frame, packet.source, ipv4.PROTOCOL_ICMP)
        elif header.type == icmp.ECHO_REPLY and header.identifier == icmp.PING_IDENTIFIER:
            self.echo_sequence = header.mtu
            self.echo_received_ns = self.now_ns
        elif header.type == icmp.UNREACHABLE:
            self.receive_tcp_error(message)

    def receive_tcp_error(self, message: Bytes) -> None:
        """Believe as much of an ICMP error as RFC 5927 advises."""
        error = icmp.parse_tcp_error(message)
        if error is None or error.source != self.link.address:
            return
        remote = error.remote_port
        local = error.local_port
        if error.code == icmp.CODE_TOO_BIG:
            self.tcp.on_too_big(error.destination, remote, local, error.sequence, error.mtu)
        else:
            self.tcp.on_unreachable(error.destination, remote, local, error.sequence)

    def receive_udp(self, packet: Packet, ours: bool, link_broadcast: bool) -> None:
        """DHCP first: it must work before we have an address."""
        datagram = udp.parse(packet.source, packet.destination, packet.payload)
        if datagram is None:
            self.counters.malformed += 1
            return
        if datagram.destination_port == CLIENT_PORT and self.dhcp.state != DhcpState.OFF:
            if datagram.source_port == SERVER_PORT:
                self.on_dhcp(self.dhcp.receive(datagram.payload, self.now_ns))
            return
        if not ours and not self.link.is_broadcast(packet.destination):
            self.counters.ignored += 1
            return
        socket = self.udp.find(datagram.destination_port)
        if socket is not None and datagram.destination_port != 0:
            self.udp.deliver(socket, packet.source, datagram.source_port, datagram.payload)
        elif ours and not link_broadcast and packet.source != 0:
            self.counters.udp_unreachable += 1
            self.queue_unreachable(packet, icmp.CODE_PORT)

    def queue_unreachable(self, packet: Packet, code: u8) -> None:
        """Tell the sender, at a limited rate."""
        if not self.icmp_limit.allow(self.now_ns):
            return
        length = icmp.ICMP_BYTES + min(len(packet.bytes), icmp.QUOTED_BYTES)
        frame = self.link.new_packet(packet.source, length, self.now_ns)
        if frame is None:
            return
        icmp.emit_unreachable(frame.bytes[PAYLOAD_AT:], code, packet.bytes)
        self.link.seal_packet(frame, packet.source, ipv4.PROTOCOL_ICMP)

    def transmit(self, frame: Slice[u8], now_ns: u64) -> usize:
        """Build the next frame in `frame` (at least FRAME_MAX long); 0 when there is none."""
        assert len(frame) >= FRAME_MAX, "the transmit buffer is shorter than a frame"
        self.now_ns = max(self.now_ns, now_ns)
        length = self.link.transmit_queued(frame, self.now_ns)
        if length == 0 and self.dhcp.pending != 0:
            length = self.transmit_dhcp(frame)
        if length == 0 and self.tcp.table.reply_count > 0:
            length = self.transmit_replies(frame)
        if length == 0 and self.tcp.table.output.count > 0:
            length = self.transmit_connections(frame)
        if length == 0:  # Last, because all of the above may raise the question.
            length = self.link.transmit_question(frame, self.now_ns)
        if length > 0:
            self.counters.frames_out += 1
        return length

    def transmit_dhcp(self, frame: Slice[u8]) -> usize:
        """The pending DHCP message."""
        destination = self.dhcp.destination()
        mac: u64 = ethernet.BROADCAST
        if destination != ipv4.LIMITED_BROADCAST:
            mac = self.link.resolve(destination, self.now_ns)
            if mac == arp.PENDING or mac == arp.UNREACHABLE:
                return 0  # It stays pending; the lease has time.
        source = self.dhcp.source()
        self.dhcp.emit(frame[PAYLOAD_AT + UDP_BYTES :], self.now_ns)
        length = UDP_BYTES + DHCP_MESSAGE_BYTES
        datagram = frame[PAYLOAD_AT : PAYLOAD_AT + length]
        udp.emit(datagram, source, destination, CLIENT_PORT, SERVER_PORT, DHCP_MESSAGE_BYTES)
        ethernet.emit(frame, mac, self.link.mac, ethernet.ETHERTYPE_IPV4)
        ipv4.emit(frame[ETHERNET_BYTES:], source, destination, ipv4.PROTOCOL_UDP, length)
        return pad(frame, PAYLOAD_AT + length)

    def transmit_replies(self, frame: Slice[u8]) -> usize:
        """The next segment without connection whose neighbour is known."""
        for _ in range(self.tcp.table.reply_count):
            reply = self.tcp.first_reply()
            if reply is None:
                return 0
            mac = self.link.resolve(reply.address, self.now_ns)
            if mac == arp.PENDING:
                self.tcp.rotate_replies()
                continue
            if mac == arp.UNREACHABLE:
                self.tcp.drop_reply()
                continue
            length = self.tcp.emit_reply(reply, frame[PAYLOAD_AT:])
            self.link.emit_headers(frame, mac, reply.address, ipv4.PROTOCOL_TCP, length)
            self.tcp.drop_reply()
            return pad(frame, PAYLOAD_AT + length)
        return 0

    def transmit_connections(self, frame: Slice[u8]) -> usize:
        """The next segment of the connections, each in its turn."""
        for _ in range(self.tcp.table.output.count):
            slot = self.tcp.pop_output()
            if slot == NO_SLOT:
                return 0
            connection = self.tcp.table.connections[slot]
            mac = self.link.resolve(connection.address, self.now_ns)
            if mac == arp.PENDING:
                self.tcp.table.wake(connection)
                continue
            if mac == arp.UNREACHABLE:
                self.tcp.cannot_transmit(slot, self.now_ns)
                continue
            length = self.tcp.transmit(slot, frame[PAYLOAD_AT:], self.now_ns)
            if length == 0:
                continue
            self.link.emit_headers(frame, mac, connection.address, ipv4.PROTOCOL_TCP, length)
            return pad(frame, PAYLOAD_AT + length)
        return 0

    # Connections, for the application. See tcp.py for the details.

    def listen(self, port: u16) -> bool:
        """Accept connections to `port`. False when too many ports are listened to."""
        return self.tcp.listen(port)

    def unlisten(self, port: u16) -> None:
        """Refuse new connections to `port`; those that exist live on."""
        self.tcp.unlisten(port)

    def accept(self) -> u32 | None:
        """A new connection, or None."""
        return self.tcp.accept()

    def connect(self, address: u32, port: u16) -> u32 | None:
        """Begin to connect; `is_established` or `is_dead` tells how it ended."""
        return self.tcp.connect(address, port, self.now_ns)

    def readable(self, connection: u32) -> Bytes:
        """What has arrived and was not consumed, up to where the ring wraps."""
        return self.tcp.readable(connection)

    def consume(self, connection: u32, n: usize) -> None:
        """Done with the first `n` readable bytes."""
        self.tcp.consume(connection, n)

    def send(self, connection: u32, bytes: Bytes) -> usize:
        """Queue bytes; returns how many were accepted."""
        return self.tcp.send(connection, bytes)

    def close(self, connection: u32) -> None:
        """FIN after the queued data."""
        self.tcp.close(connection)

    def abort(self, connection: u32) -> None:
        """RST at once."""
        self.tcp.abort(connection)

    def release(self, connection: u32) -> None:
        """The number is not used any more; what was not closed is closed in the background."""
        self.tcp.release(connection, self.now_ns)

    def is_established(self, connection: u32) -> bool:
        """The handshake is done and the connection is not dead."""
        return self.tcp.table.connections[connection].synchronized()

    def peer_closed(self, connection: u32) -> bool:
        """The peer will send nothing more; readable bytes may remain."""
        return self.tcp.table.connections[connection].fin_received

    def is_dead(self, connection: u32) -> bool:
        """Nothing can be sent or received any more; readable bytes may remain."""
        return self.tcp.table.connections[connection].state == State.CLOSED

    def close_reason(self, connection: u32) -> CloseReason:
        """Why it is dead."""
        return self.tcp.table.connections[connection].reason

    def unsent(self, connection: u32) -> usize:
        """Bytes queued and not yet acknowledged by the peer."""
        return self.tcp.table.connections[connection].tx.count

    # Datagrams and echo.

    def ping(self, address: u32, sequence: u16) -> bool:
        """Queue an echo request; `echo_sequence` and `echo_received_ns` tell of the reply."""
        if self.link.address == 0:
            return False
        frame = self.link.new_packet(address, icmp.PING_BYTES, self.now_ns)
        if frame is None:
            return False
        message = frame.bytes[PAYLOAD_AT : PAYLOAD_AT + icmp.PING_BYTES]
        icmp.emit_echo_request(message, sequence)
        self.link.seal_packet(frame, address, ipv4.PROTOCOL_ICMP)
        return True

    def udp_send(self, socket: u32, address: u32, port: u16, payload: Bytes) -> bool:
        """Queue one datagram; False when it cannot be sent now."""
        if self.link.address == 0 or len(payload) > UDP_DATAGRAM_BYTES:
            return False
        length = UDP_BYTES + len(payload)
        frame = self.link.new_packet(address, length, self.now_ns)
        if frame is None:
            return False
        datagram = frame.bytes[PAYLOAD_AT : PAYLOAD_AT + length]
        datagram[UDP_BYTES:].copy_from(payload)
        source_port = self.udp.sockets[socket].port
        udp.emit(datagram, self.link.address, address, source_port, port, len(payload))
        self.link.seal_packet(frame, address, ipv4.PROTOCOL_UDP)
        return True


def create(arena: Arena, config: StackConfig) -> Stack:
    """A stack without address in memory from `arena`."""
    stack = arena.alloc(Stack)
    stack.start(arena, config)
    return stack
