"""Our place on the link: addresses, neighbours, and the frames around IP packets.

Routing is one subnet and one gateway (RFC 1122 section 3.3.1).
"""

from bare import Arena, Bytes, Slice, Struct, u8, u16, u32, u64, usize
from merlion.net import arp, ethernet, ipv4
from merlion.net.frame_queue import FrameQueue, QueuedFrame
from merlion.net.limits import (
    ARP_DEFEND_INTERVAL,
    ETHERNET_BYTES,
    FRAME_MIN,
    IPV4_BYTES,
    NEVER,
    UNRESOLVED_LIFETIME,
)

PACKET_AT = ETHERNET_BYTES
PAYLOAD_AT = ETHERNET_BYTES + IPV4_BYTES


class Link(Struct):
    """One Ethernet interface. `address` is 0 while there is none."""

    mac: u64
    address: u32
    netmask: u32
    gateway: u32
    neighbours: arp.ArpCache
    frames: FrameQueue
    conflicts: u64
    defended_at: u64
    arp_malformed: u64

    def start(self, arena: Arena) -> None:
        """Take the storage."""
        self.frames.start(arena)

    def set_address(self, address: u32, netmask: u32, gateway: u32, now_ns: u64) -> None:
        """Use this address from now on and say so (gratuitous ARP, RFC 5227 section 3)."""
        if address != self.address:
            self.neighbours.clear()
        self.address = address
        self.netmask = netmask
        self.gateway = gateway
        if address != 0:
            self.queue_arp(arp.REQUEST, ethernet.BROADCAST, 0, address, now_ns)

    def is_broadcast(self, address: u32) -> bool:
        """Limited, or directed to our subnet."""
        if address == ipv4.LIMITED_BROADCAST:
            return True
        return self.address != 0 and address == (self.address | (self.netmask ^ 0xFFFF_FFFF))

    def next_hop(self, address: u32) -> u32:
        """The neighbour that packets for `address` go to; 0 when there is none."""
        if (address ^ self.address) & self.netmask == 0:
            return address
        return self.gateway

    def resolve(self, address: u32, now_ns: u64) -> u64:
        """The MAC for packets to `address`, arp.PENDING or arp.UNREACHABLE."""
        if self.is_broadcast(address):
            return ethernet.BROADCAST
        hop = self.next_hop(address)
        if hop == 0 or hop == self.address or self.address == 0:
            return arp.UNREACHABLE
        return self.neighbours.resolve(hop, now_ns)

    def receive_arp(self, bytes: Bytes, now_ns: u64) -> bool:
        """One ARP packet. True when someone else uses our address."""
        packet = arp.parse(bytes)
        if packet is None:
            self.arp_malformed += 1
            return False
        mac = packet.sender_mac
        sender = packet.sender
        if self.address == 0 or mac == self.mac:
            return False
        if sender == self.address:
            self.defend(now_ns)
            return True
        asked = packet.target == self.address and packet.operation == arp.REQUEST
        if ipv4.is_host(sender):
            self.neighbours.learn(sender, mac, asked, now_ns)
        if asked:
            self.queue_arp(arp.REPLY, mac, mac, sender, now_ns)
        return False

    def defend(self, now_ns: u64) -> None:
        """RFC 5227 section 2.4 (b): announce ourselves again, but not in a duel."""
        self.conflicts += 1
        if self.defended_at != 0 and now_ns < self.defended_at + ARP_DEFEND_INTERVAL:
            return
        self.defended_at = now_ns
        self.queue_arp(arp.REQUEST, ethernet.BROADCAST, 0, self.address, now_ns)

    def queue_arp(
        self, operation: u16, destination: u64, target_mac: u64, target: u32, now_ns: u64
    ) -> None:
        """Queue an ARP packet of ours."""
        frame = self.frames.make(ETHERNET_BYTES + arp.ARP_BYTES, 0, now_ns)
        if frame is None:
            return
        ethernet.emit(frame.bytes, destination, self.mac, ethernet.ETHERTYPE_ARP)
        body = frame.bytes[ETHERNET_BYTES:]
        arp.emit(body, operation, self.mac, self.address, target_mac, target)

    def new_packet(self, destination: u32, payload_bytes: usize, now_ns: u64) -> QueuedFrame | None:
        """A queued frame whose payload, at PAYLOAD_AT, the caller fills before `seal_packet`."""
        hop: u32 = 0
        if not self.is_broadcast(destination):
            hop = self.next_hop(destination)
            if hop == 0:
                return None
        return self.frames.make(PAYLOAD_AT + payload_bytes, hop, now_ns)

    def seal_packet(self, frame: QueuedFrame, destination: u32, protocol: u8) -> None:
        """Write the headers of a queued packet. A waiting one gets its MAC when it leaves."""
        self.emit_headers(
            frame.bytes,
            ethernet.BROADCAST,
            destination,
            protocol,
            frame.length - PAYLOAD_AT,
        )

    def emit_headers(
        self, frame: Slice[u8], mac: u64, destination: u32, protocol: u8, payload_bytes: usize
    ) -> None:
        """Ethernet and IPv4 headers before a payload at PAYLOAD_AT."""
        ethernet.emit(frame, mac, self.mac, ethernet.ETHERTYPE_IPV4)
        packet = frame[PACKET_AT:]
        ipv4.emit(packet, self.address, destination, protocol, payload_bytes)

    def transmit_question(self, out: Slice[u8], now_ns: u64) -> usize:
        """The next ARP question that is due; 0 when there is none."""
        if self.address == 0:
            return 0
        entry = self.neighbours.next_question(now_ns)
        if entry is None:
            return 0
        target = self.neighbours.question_target(entry)
        ethernet.emit(out, target, self.mac, ethernet.ETHERTYPE_ARP)
        body = out[ETHERNET_BYTES:]
        arp.emit(body, arp.REQUEST, self.mac, self.address, 0, entry.address)
        return pad(out, ETHERNET_BYTES + arp.ARP_BYTES)

    def transmit_queued(self, out: Slice[u8], now_ns: u64) -> usize:
        """The first queued frame whose neighbour is known."""
        i: usize = 0
        while i < self.frames.span:
            frame = self.frames.at(i)
            i += 1
            if frame.length == 0:
                continue
            length = frame.length
            if frame.next_hop == 0:
                out[:length].copy_from(frame.bytes[:length])
                self.frames.free(frame)
                return pad(out, length)
            mac = self.neighbours.resolve(frame.next_hop, now_ns)
            if mac == arp.PENDING and now_ns < frame.queued_at + UNRESOLVED_LIFETIME:
                continue
            if mac != arp.PENDING and mac != arp.UNREACHABLE:
                out[:length].copy_from(frame.bytes[:length])
                ethernet.emit(out, mac, self.mac, ethernet.ETHERTYPE_IPV4)
                self.frames.free(frame)
                return pad(out, length)
            self.frames.dropped += 1
            self.frames.free(frame)
            i = 0  # Freeing may have moved the head.
        return 0

    def next_deadline(self) -> u64:
        """When an ARP question is due."""
        return self.neighbours.next_deadline() if self.address != 0 else NEVER


def pad(frame: Slice[u8], length: usize) -> usize:
    """Zeros up to the smallest frame: nothing of an earlier one leaks (CVE-2003-0001)."""
    if length >= FRAME_MIN:
        return length
    frame[length:FRAME_MIN].fill(0)
    return FRAME_MIN
