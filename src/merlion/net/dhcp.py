"""DHCP client (RFC 2131 section 4.4), sans IO.

INIT -> SELECTING -> REQUESTING -> BOUND -> RENEWING -> REBINDING; INIT-REBOOT is left out: we
have nowhere to remember an old address. `poll` decides when a message is due, `emit` writes it.
"""

from enum import IntEnum

from bare import Bytes, Slice, Struct, u8, u16, u32, u64, usize, wrap
from merlion.net import dhcp_message
from merlion.net.dhcp_message import INFINITE, Answer, MessageType
from merlion.net.ipv4 import LIMITED_BROADCAST, is_host
from merlion.net.limits import (
    DHCP_CONFLICT_TIME,
    DHCP_RENEW_RETRY_MIN,
    DHCP_REQUEST_TRIES,
    DHCP_RETRY_FIRST,
    DHCP_RETRY_MAX,
    NEVER,
    SECOND,
)
from merlion.net.siphash import siphash


class DhcpState(IntEnum):
    """RFC 2131 figure 5. OFF: the address is configured by hand."""

    OFF = 0
    SELECTING = 1
    REQUESTING = 2
    BOUND = 3
    RENEWING = 4
    REBINDING = 5


class DhcpEvent(IntEnum):
    """What the caller must do."""

    NONE = 0
    BOUND = 1  # Use `address`, `netmask`, `gateway`.
    LOST = 2  # Stop using the address.


class DhcpClient(Struct):
    """One lease."""

    state: DhcpState
    mac: u64
    key0: u64
    key1: u64
    transaction: u32
    address: u32
    server: u32
    netmask: u32
    gateway: u32
    dns: u32
    pending: u8  # The MessageType to send now; 0 for none.
    tries: u32
    started_at: u64
    retry_at: u64
    bound_at: u64
    renew_at: u64
    rebind_at: u64
    expires_at: u64

    def start(self, mac: u64, now_ns: u64) -> None:
        """Look for a server."""
        self.mac = mac
        self.restart(now_ns)

    def restart(self, now_ns: u64) -> None:
        """INIT: forget the lease and discover."""
        self.state = DhcpState.SELECTING
        self.address = 0
        self.server = 0
        self.tries = 0
        self.started_at = now_ns
        hash = siphash(self.key0, self.key1, wrap(u32, self.mac), wrap(u32, now_ns), 68)
        self.transaction = wrap(u32, hash)
        self.pending = MessageType.DISCOVER
        self.retry_at = self.retry_time(now_ns)

    def retry_time(self, now_ns: u64) -> u64:
        """Exponential backoff with up to half a second of jitter (section 4.1)."""
        delay = min(DHCP_RETRY_FIRST << min(self.tries, 8), DHCP_RETRY_MAX)
        jitter = siphash(self.key0, self.key1, self.transaction, self.tries, 0) % (SECOND // 2)
        return now_ns + delay + jitter

    def next_deadline(self) -> u64:
        """When `poll` has something to do."""
        if self.state == DhcpState.OFF:
            return NEVER
        if self.pending != 0:
            return 0
        if self.state == DhcpState.BOUND:
            return self.renew_at
        return min(self.retry_at, self.expires_at) if self.address != 0 else self.retry_at

    def poll(self, now_ns: u64) -> DhcpEvent:
        """Timers."""
        match self.state:
            case DhcpState.SELECTING | DhcpState.REQUESTING:
                self.poll_acquiring(now_ns)
            case DhcpState.BOUND | DhcpState.RENEWING | DhcpState.REBINDING:
                return self.poll_lease(now_ns)
            case _:
                pass
        return DhcpEvent.NONE

    def poll_acquiring(self, now_ns: u64) -> None:
        """Repeat DISCOVER for ever, REQUEST a few times."""
        if now_ns < self.retry_at:
            return
        self.tries += 1
        if self.state == DhcpState.REQUESTING and self.tries >= DHCP_REQUEST_TRIES:
            self.restart(now_ns)
            return
        requesting = self.state == DhcpState.REQUESTING
        self.pending = MessageType.REQUEST if requesting else MessageType.DISCOVER
        self.retry_at = self.retry_time(now_ns)

    def poll_lease(self, now_ns: u64) -> DhcpEvent:
        """T1, T2 and expiry (section 4.4.5)."""
        if now_ns >= self.expires_at:
            self.restart(now_ns)
            return DhcpEvent.LOST
        if self.state == DhcpState.BOUND and now_ns >= self.renew_at:
            self.state = DhcpState.RENEWING
            self.retry_at = now_ns
        if self.state == DhcpState.RENEWING and now_ns >= self.rebind_at:
            self.state = DhcpState.REBINDING
            self.retry_at = now_ns
        if self.state != DhcpState.BOUND and now_ns >= self.retry_at:
            self.pending = MessageType.REQUEST
            until = self.rebind_at if self.state == DhcpState.RENEWING else self.expires_at
            self.retry_at = now_ns + max((until - now_ns) // 2, DHCP_RENEW_RETRY_MIN)
        return DhcpEvent.NONE

    def destination(self) -> u32:
        """Where the pending message goes: to the server alone only while renewing."""
        return self.server if self.state == DhcpState.RENEWING else LIMITED_BROADCAST

    def source(self) -> u32:
        """The address it comes from."""
        holding = self.state in (DhcpState.RENEWING, DhcpState.REBINDING)
        return self.address if holding else 0

    def emit(self, out: Slice[u8], now_ns: u64) -> usize:
        """Write the pending message and forget that it was pending."""
        kind = self.pending
        assert kind != 0, "no DHCP message is pending"
        self.pending = 0
        seconds = u16(min((now_ns - min(now_ns, self.started_at)) // SECOND, 0xFFFF))
        requested: u32 = 0
        server: u32 = 0
        if kind == MessageType.DECLINE or self.state == DhcpState.REQUESTING:
            requested = self.address
            server = self.server
        length = dhcp_message.emit(
            out, kind, self.transaction, self.mac, seconds, self.source(), requested, server
        )
        if kind == MessageType.DECLINE:
            self.restart(now_ns)
            self.pending = 0  # Section 3.1, step 5: wait before starting over.
        return length

    def decline(self, now_ns: u64) -> DhcpEvent:
        """Someone else uses the address. Only a fresh lease is given back."""
        if self.state != DhcpState.BOUND or now_ns >= self.bound_at + DHCP_CONFLICT_TIME:
            return DhcpEvent.NONE
        self.state = DhcpState.REQUESTING
        self.pending = MessageType.DECLINE
        return DhcpEvent.LOST

    def receive(self, bytes: Bytes, now_ns: u64) -> DhcpEvent:
        """A datagram for the client port."""
        if self.state == DhcpState.OFF or self.state == DhcpState.BOUND:
            return DhcpEvent.NONE
        answer = dhcp_message.parse(bytes)
        if answer is None:
            return DhcpEvent.NONE
        if answer.transaction != self.transaction or answer.mac != self.mac:
            return DhcpEvent.NONE
        if self.state == DhcpState.SELECTING:
            if answer.kind == MessageType.OFFER and is_host(answer.address):
                self.take_offer(answer, now_ns)
            return DhcpEvent.NONE
        if answer.kind == MessageType.NAK:
            self.restart(now_ns)
            return DhcpEvent.LOST
        if answer.kind != MessageType.ACK or not is_host(answer.address):
            return DhcpEvent.NONE
        self.take_lease(answer, now_ns)
        return DhcpEvent.BOUND

    def take_offer(self, answer: Answer, now_ns: u64) -> None:
        """The first offer is as good as any."""
        self.address = answer.address
        self.server = answer.server
        self.state = DhcpState.REQUESTING
        self.tries = 0
        self.pending = MessageType.REQUEST
        self.retry_at = self.retry_time(now_ns)
        self.expires_at = NEVER

    def take_lease(self, answer: Answer, now_ns: u64) -> None:
        """BOUND, with T1 and T2 from the server or 1/2 and 7/8 of the lease."""
        self.address = answer.address
        if answer.server != 0:
            self.server = answer.server
        self.netmask = answer.netmask if answer.netmask != 0 else 0xFFFF_FF00
        self.gateway = answer.router
        self.dns = answer.dns
        self.state = DhcpState.BOUND
        self.pending = 0
        self.bound_at = now_ns
        if answer.lease == INFINITE:
            self.renew_at = NEVER
            self.rebind_at = NEVER
            self.expires_at = NEVER
            return
        lease = max(u64(answer.lease), 60)
        rebind = u64(answer.rebinding)
        if rebind == 0 or rebind >= lease:
            rebind = lease * 7 // 8
        renew = u64(answer.renewal)
        if renew == 0 or renew >= rebind:
            renew = min(lease // 2, rebind)
        self.renew_at = now_ns + renew * SECOND
        self.rebind_at = now_ns + rebind * SECOND
        self.expires_at = now_ns + lease * SECOND
