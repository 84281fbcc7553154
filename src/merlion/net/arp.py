"""ARP (RFC 826) with conflict detection (RFC 5227): the packet and the cache.

The cache only learns from answers to its own questions and from hosts that ask for us; nothing
else may add an entry, but any announcement may refresh one.
"""

from enum import IntEnum

from bare import (
    Array,
    Bytes,
    Slice,
    Struct,
    Wire,
    array,
    be16,
    be32,
    u8,
    u16,
    u32,
    u64,
    usize,
    wrap,
)
from merlion.net.ethernet import BROADCAST, is_group
from merlion.net.limits import (
    ARP_ENTRIES,
    ARP_LIFETIME,
    ARP_REFRESH_AFTER,
    ARP_RETRY,
    ARP_TRIES,
    NEVER,
)

HARDWARE_ETHERNET = 1
PROTOCOL_IPV4 = 0x0800
REQUEST = 1
REPLY = 2
ARP_BYTES = 28

PENDING = 0  # `resolve`: ask again later.
UNREACHABLE = 1 << 48  # `resolve`: nobody answers.


class ArpPacket(Wire):
    """RFC 826 for Ethernet and IPv4."""

    hardware: be16
    protocol: be16
    hardware_bytes: u8
    protocol_bytes: u8
    operation: be16
    sender_mac_high: be16
    sender_mac_low: be32
    sender: be32
    target_mac_high: be16
    target_mac_low: be32
    target: be32

    @property
    def sender_mac(self) -> u64:
        """The sender's hardware address."""
        return u64(self.sender_mac_high) << 32 | self.sender_mac_low


def parse(bytes: Bytes) -> ArpPacket | None:
    """A request or reply for IPv4 over Ethernet from a proper host, or None."""
    packet = ArpPacket.view(bytes)
    if packet is None:
        return None
    if packet.hardware != HARDWARE_ETHERNET or packet.protocol != PROTOCOL_IPV4:
        return None
    if packet.hardware_bytes != 6 or packet.protocol_bytes != 4:
        return None
    if packet.operation != REQUEST and packet.operation != REPLY:
        return None
    if is_group(packet.sender_mac) or packet.sender_mac == 0:
        return None
    return packet


def emit(
    out: Slice[u8], operation: u16, mac: u64, sender: u32, target_mac: u64, target: u32
) -> None:
    """Write a packet of ARP_BYTES."""
    packet = ArpPacket.view(out)
    assert packet is not None, "no room for an ARP packet"
    packet.hardware = HARDWARE_ETHERNET
    packet.protocol = PROTOCOL_IPV4
    packet.hardware_bytes = 6
    packet.protocol_bytes = 4
    packet.operation = operation
    packet.sender_mac_high = u16(mac >> 32)
    packet.sender_mac_low = wrap(u32, mac)
    packet.sender = sender
    packet.target_mac_high = u16(target_mac >> 32)
    packet.target_mac_low = wrap(u32, target_mac)
    packet.target = target


class EntryState(IntEnum):
    """Life of a cache entry."""

    FREE = 0
    ASKING = 1  # Nothing known yet.
    KNOWN = 2


class Entry(Struct):
    """One neighbour."""

    state: EntryState
    tries: u8
    address: u32
    mac: u64
    expires_at: u64  # KNOWN: end of life. ASKING: when to ask again or give up.
    asked_at: u64
    used_at: u64


class ArpCache(Struct):
    """A small table; the entry unused for longest makes room."""

    entries: Array[Entry] = array(ARP_ENTRIES)
    used: usize  # Entries from here on were never used.

    def find(self, address: u32) -> Entry | None:
        """The entry of a neighbour."""
        for i in range(self.used):
            entry = self.entries[i]
            if entry.state != EntryState.FREE and entry.address == address:
                return entry
        return None

    def make(self, address: u32, now_ns: u64) -> Entry:
        """A new entry, over the one unused for longest if need be."""
        best: usize = 0
        best_at: u64 = NEVER
        for i in range(ARP_ENTRIES):
            entry = self.entries[i]
            if entry.state == EntryState.FREE:
                best = i
                break
            if entry.used_at < best_at:
                best = i
                best_at = entry.used_at
        self.used = max(self.used, best + 1)
        made = self.entries[best]
        made.state = EntryState.ASKING
        made.address = address
        made.mac = 0
        made.tries = 0
        made.expires_at = now_ns
        made.asked_at = 0
        made.used_at = now_ns
        return made

    def resolve(self, address: u32, now_ns: u64) -> u64:
        """The MAC of a neighbour on our link, PENDING (a question goes out), or UNREACHABLE."""
        entry = self.find(address)
        if entry is None:
            self.make(address, now_ns)
            return PENDING
        entry.used_at = now_ns
        if entry.state == EntryState.KNOWN:
            if now_ns < entry.expires_at:
                return entry.mac
            entry.state = EntryState.ASKING
            entry.tries = 0
            entry.expires_at = now_ns
        if entry.tries >= ARP_TRIES:
            if now_ns < entry.expires_at:
                return UNREACHABLE
            entry.tries = 0
            entry.expires_at = now_ns
        return PENDING

    def learn(self, address: u32, mac: u64, create: bool, now_ns: u64) -> bool:
        """A neighbour said where it is. True when someone was waiting for that."""
        entry = self.find(address)
        if entry is None:
            if not create:
                return False
            entry = self.make(address, now_ns)
        waited = entry.state == EntryState.ASKING
        entry.state = EntryState.KNOWN
        entry.mac = mac
        entry.tries = 0
        entry.expires_at = now_ns + ARP_LIFETIME
        entry.asked_at = now_ns
        return waited

    def next_question(self, now_ns: u64) -> Entry | None:
        """An entry for which a request must be sent now; it counts as sent."""
        for i in range(self.used):
            entry = self.entries[i]
            if self.wants_question(entry, now_ns):
                entry.asked_at = now_ns
                entry.tries = min(entry.tries + 1, ARP_TRIES)
                if entry.state == EntryState.ASKING:
                    entry.expires_at = now_ns + ARP_RETRY
                return entry
        return None

    def wants_question(self, entry: Entry, now_ns: u64) -> bool:
        """ASKING entries ask every second, KNOWN ones when they are used and getting old."""
        if entry.state == EntryState.ASKING:
            return entry.tries < ARP_TRIES and now_ns >= entry.expires_at
        if entry.state != EntryState.KNOWN:
            return False
        if entry.used_at + ARP_REFRESH_AFTER + ARP_LIFETIME < now_ns:
            return False
        old = now_ns + ARP_REFRESH_AFTER >= entry.expires_at and now_ns < entry.expires_at
        return old and entry.used_at >= entry.asked_at and now_ns >= entry.asked_at + ARP_RETRY

    def question_target(self, entry: Entry) -> u64:
        """Refreshing asks the known host alone (RFC 1122 section 2.3.2.1)."""
        return entry.mac if entry.state == EntryState.KNOWN else BROADCAST

    def next_deadline(self) -> u64:
        """When a question may next be due."""
        deadline: u64 = NEVER
        for i in range(self.used):
            entry = self.entries[i]
            if entry.state == EntryState.ASKING and entry.tries < ARP_TRIES:
                deadline = min(deadline, entry.expires_at)
        return deadline

    def clear(self) -> None:
        """Our address changed: forget everything."""
        for i in range(self.used):
            self.entries[i].state = EntryState.FREE
        self.used = 0
