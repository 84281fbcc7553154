"""The network: frames between the device and the stack.

Frames are moved in batches between two looks at anything else; nothing waits. What came of the
address (DHCP or `ip=`) is logged once it is there.
"""

from bare import Arena, Slice, Struct, u8, u32, u64, usize
from bare.cpu import cpuid, rdtsc
from merlion.kernel.arch.x86_64.features import Leaf1, features
from merlion.kernel.arch.x86_64.stubs import hardware_random
from merlion.kernel.config import config
from merlion.kernel.limits import (
    FRAME_BATCH,
    NET_CONNECTIONS_MAX,
    NET_CONNECTIONS_MIN,
    NET_RAM_SHARE,
    NET_RECEIVE_BYTES,
    NET_TABLE_BYTES,
    NET_TRANSMIT_BYTES,
)
from merlion.kernel.log import log
from merlion.kernel.nic import Nic
from merlion.net.limits import FRAME_MAX
from merlion.net.siphash import siphash
from merlion.net.stack import Stack
from merlion.net.stack_config import StackConfig

CONNECTION_BYTES = NET_RECEIVE_BYTES + NET_TRANSMIT_BYTES + NET_TABLE_BYTES
TIMING_SAMPLES = 32  # Each leaves the virtual machine: some bits of jitter, 25 µs at most.

stack = Stack.zeroed()


class Network(Struct):
    """The device and its frame buffers."""

    nic: Nic | None
    receive_frame: Slice[u8]
    transmit_frame: Slice[u8]
    announced: u32  # The address the log knows of.

    def start(self, nic: Nic, arena: Arena, connections: usize, now_ns: u64) -> None:
        """Take storage; configure the address or ask for one."""
        self.nic = nic
        self.receive_frame = arena.slice(u8, FRAME_MAX)
        self.transmit_frame = arena.slice(u8, FRAME_MAX)
        settings = StackConfig(
            key0=random_u64(),
            key1=random_u64(),
            connections=connections,
            receive_bytes=NET_RECEIVE_BYTES,
            transmit_bytes=NET_TRANSMIT_BYTES,
        )
        stack.start(arena, settings)
        mac: u64 = 0
        for byte in nic.mac:
            mac = mac << 8 | byte
        if config.dhcp:
            stack.configure_dhcp(mac, now_ns)
        else:
            stack.configure(mac, config.address, config.netmask, config.gateway)

    def poll(self, now_ns: u64) -> bool:
        """Take what has come and send what is due. False when no frame moved."""
        active = self.receive(now_ns)
        return self.transmit(now_ns) or active

    def receive(self, now_ns: u64) -> bool:
        """Take what has come, and fire timers. False when there was no frame."""
        nic = self.nic
        if nic is None:
            return False
        active = False
        for _ in range(FRAME_BATCH):
            length = nic.receive(self.receive_frame)
            if length == 0:
                break
            stack.receive(self.receive_frame[:length], now_ns)
            active = True
        stack.poll(now_ns)
        if stack.link.address != self.announced:
            self.announce()
        return active

    def transmit(self, now_ns: u64) -> bool:
        """Send what the stack has. A full ring takes no frame: the stack is asked again later."""
        nic = self.nic
        if nic is None:
            return False
        active = False
        for _ in range(FRAME_BATCH):
            if not nic.has_room():
                break
            length = stack.transmit(self.transmit_frame, now_ns)
            if length == 0:
                break
            nic.transmit(self.transmit_frame[:length])
            active = True
        nic.flush()
        return active

    def announce(self) -> None:
        """Log a new address."""
        self.announced = stack.link.address
        line = log.begin()
        line.text(b"address ")
        for shift in range(4):
            if shift > 0:
                line.byte(0x2E)
            line.unsigned(self.announced >> 24 - 8 * shift & 0xFF)
        log.end()


network = Network.zeroed()


def connection_count(ram_bytes: u64) -> usize:
    """Return how many connections a machine with so much RAM affords."""
    affordable = ram_bytes // NET_RAM_SHARE // CONNECTION_BYTES
    return usize(min(max(affordable, NET_CONNECTIONS_MIN), NET_CONNECTIONS_MAX))


class TimingPool(Struct):
    """Randomness for a CPU without RDRAND: a SipHash key that every timing sample changes."""

    key0: u64
    key1: u64
    warned: bool

    def draw(self) -> u64:
        """Mix samples in, and return a number that does not show the key."""
        if not self.warned:
            self.warned = True
            log.say(b"no RDRAND: random numbers come from timing, an attacker may guess them")
        self.key0 ^= config.boot_unix_s
        for index in range(TIMING_SAMPLES):
            cpuid(0, 0)  # The hypervisor answers: how long it takes depends on the whole host.
            sample = rdtsc()
            low = u32(sample & 0xFFFF_FFFF)
            mixed = siphash(self.key0, self.key1, low, u32(sample >> 32), u32(index))
            self.key0 = self.key1
            self.key1 = mixed
        return siphash(self.key0, self.key1, 0, 0, TIMING_SAMPLES)


timing_pool = TimingPool.zeroed()


def random_u64() -> u64:
    """Return RDRAND's number; without it one made of timing, which is harder to guess than known.

    It keeps sequence numbers and hash chains from strangers on the network; it is no secret key.
    """
    if features.leaf1_ecx & Leaf1.RDRAND:
        value = hardware_random()
        if value != 0:
            return value
    return timing_pool.draw()
