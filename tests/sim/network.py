"""Two stacks and a bad wire between them, in virtual time, from one seed.

Everything random comes from `random.Random(seed)`, and time only moves to the next event, so a
failing run is repeated exactly by its seed.
"""

import heapq
import random
from dataclasses import dataclass, field

from bare import Arena, Slice, static, u8
from merlion.net.limits import FRAME_MAX, MILLISECOND, NEVER, SECOND
from merlion.net.stack import Stack, create
from merlion.net.stack_config import StackConfig

NETMASK = 0xFFFF_FF00


@dataclass
class Wire:
    """What one direction of the wire does to frames. Probabilities are 0 to 1."""

    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    delay_ns: int = 5 * MILLISECOND
    bits_per_second: int = 100_000_000
    queue_frames: int = 100
    free_at: int = 0

    def carry(self, frame: bytes, now: int, rng: random.Random) -> list[tuple[int, bytes]]:
        """When which copies of a frame come out at the other end."""
        time_on_wire = len(frame) * 8 * SECOND // self.bits_per_second
        start = max(now, self.free_at)
        if start - now > self.queue_frames * FRAME_MAX * 8 * SECOND // self.bits_per_second:
            return []  # The queue before the wire is full.
        self.free_at = start + time_on_wire
        arrival = self.free_at + self.delay_ns
        result = []
        for _ in range(2 if rng.random() < self.duplicate else 1):
            if rng.random() < self.loss:
                continue
            at = arrival
            if rng.random() < self.reorder:
                at += rng.randrange(4 * time_on_wire, 40 * time_on_wire)
            copy = frame
            if rng.random() < self.corrupt:
                changed = bytearray(frame)
                changed[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
                copy = bytes(changed)
            result.append((at, copy))
        return result


def make_stack(index: int, seed: int = 1, **sizes: int) -> Stack:
    """A stack at 10.0.0.(index + 1) with small tables."""
    defaults = {
        "connections": 4,
        "receive_bytes": 65536,
        "transmit_bytes": 65536,
        "backlog": 4,
        "syn_queue": 4,
        "time_waits": 4,
    }
    chosen = {**defaults, **sizes}
    n = chosen["connections"]
    bytes_needed = n * (chosen["receive_bytes"] + chosen["transmit_bytes"] + 2048) + (1 << 18)
    arena = Arena(static(u8, bytes_needed))
    config = StackConfig(key0=seed * 7919 + index, key1=seed * 104729 + index, **chosen)
    stack = create(arena, config)
    arena.seal()
    stack.configure(mac(index), address(index), NETMASK, 0)
    return stack


def mac(index: int) -> int:
    """A locally administered MAC."""
    return 0x0200_0000_0001 + index


def address(index: int) -> int:
    """10.0.0.1 and so on."""
    return 0x0A00_0001 + index


@dataclass
class Flow:
    """Bytes to move over one connection, from the connecting side to the accepting one."""

    data: bytes
    port: int = 8080
    sent: int = 0
    received: bytearray = field(default_factory=bytearray)
    client: int | None = None
    server: int | None = None
    closed: bool = False
    echoed_end: bool = False


class Simulation:
    """Host 0 listens, host 1 connects and sends; the listener closes after the client's FIN."""

    def __init__(self, wire: Wire, flows: list[Flow], seed: int = 1, **sizes: int) -> None:
        self.rng = random.Random(seed)
        self.stacks = [make_stack(0, seed, **sizes), make_stack(1, seed, **sizes)]
        self.wires = [Wire(**vars(wire)), Wire(**vars(wire))]
        self.flows = flows
        self.now = SECOND
        self.events: list[tuple[int, int, int, bytes]] = []
        self.count = 0
        self.application_ns = 0  # How often the applications run; 0: at every event.
        self.applications_at = 0
        self.frames = [0, 0]
        self.buffer: Slice[u8] = static(u8, FRAME_MAX)
        self.stacks[0].listen(8080)
        for stack in self.stacks:
            stack.poll(self.now)
        for flow in flows:
            flow.client = self.stacks[1].connect(address(0), flow.port)
            assert flow.client is not None

    def transmit(self, index: int) -> None:
        """Put everything that a stack has to say on its wire."""
        stack = self.stacks[index]
        while (length := stack.transmit(self.buffer, self.now)) > 0:
            frame = bytes(self.buffer[:length].tobytes())
            self.frames[index] += 1
            for at, copy in self.wires[index].carry(frame, self.now, self.rng):
                self.count += 1
                heapq.heappush(self.events, (at, self.count, 1 - index, copy))

    def serve(self) -> None:
        """The listening application: read everything, close when the peer has."""
        stack = self.stacks[0]
        while (slot := stack.accept()) is not None:
            waiting = next(flow for flow in self.flows if flow.server is None)
            waiting.server = slot
        for flow in self.flows:
            if flow.server is None or flow.echoed_end:
                continue
            while len(part := stack.readable(flow.server)) > 0:
                flow.received += part.tobytes()
                stack.consume(flow.server, len(part))
            if stack.peer_closed(flow.server) or stack.is_dead(flow.server):
                stack.close(flow.server)
                stack.release(flow.server)
                flow.echoed_end = True

    def feed(self) -> None:
        """The connecting application: send everything, then close."""
        stack = self.stacks[1]
        for flow in self.flows:
            if flow.client is None or flow.closed:
                continue
            if flow.sent < len(flow.data):
                part = flow.data[flow.sent : flow.sent + 65536]
                flow.sent += stack.send(flow.client, part)
            if flow.sent == len(flow.data) and stack.is_established(flow.client):
                stack.close(flow.client)
                flow.closed = True

    def done(self) -> bool:
        """Every flow is delivered and closed on both sides."""
        if any(not flow.echoed_end for flow in self.flows):
            return False
        return all(f.client is not None and self.stacks[1].is_dead(f.client) for f in self.flows)

    def step(self) -> None:
        """Deliver what is due, let everyone act, and move to the next event."""
        while self.events and self.events[0][0] <= self.now:
            _, _, index, frame = heapq.heappop(self.events)
            self.stacks[index].receive(frame, self.now)
        if self.now >= self.applications_at:
            self.applications_at = self.now + self.application_ns
            self.serve()
            self.feed()
        for index in (0, 1):
            self.stacks[index].poll(self.now)
            self.transmit(index)
        soonest = min(stack.next_deadline() for stack in self.stacks)
        if self.events:
            soonest = min(soonest, self.events[0][0])
        assert soonest < NEVER, "nothing will ever happen again"
        if self.application_ns > 0:
            soonest = min(soonest, self.applications_at)
        self.now = max(soonest, self.now + 1000)

    def run(self, limit_s: int = 600) -> int:
        """Run until done; returns the virtual nanoseconds it took."""
        start = self.now
        while not self.done():
            self.step()
            assert self.now < start + limit_s * SECOND, "the transfer does not finish"
        return self.now - start
