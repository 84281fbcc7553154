"""The server behind the network stack: a client's stack, a bad wire, HTTP at both ends."""

from __future__ import annotations

import heapq
import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from bare import Arena, static, u8
from bare.testing import implementations
from merlion.net.limits import FRAME_MAX, NEVER

impl = implementations(
    "merlion.serve.bridge", "merlion.serve.server", "merlion.serve.scripted", "merlion.net.stack"
)
PATH = Path(__file__).parents[1] / "sim" / "network.py"


def load_network() -> Any:
    spec = importlib.util.spec_from_file_location("sim_network", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sim_network"] = module
    spec.loader.exec_module(module)
    return module


network = load_network()
SIZES = {"connections": 8, "syn_queue": 8, "backlog": 8}
BUFFER = static(u8, FRAME_MAX)
LINKS = static(u8, 4096)


class World:
    """A server host, a client host, and the wire between them."""

    def __init__(self, impl: Any, kit: Any, seed: int, wire: Any, **stage: Any) -> None:
        self.rng = random.Random(seed)
        self.stage = kit.stage(impl, **stage)
        self.stacks = [network.make_stack(i, seed, **SIZES) for i in (0, 1)]
        self.wires = [network.Wire(**vars(wire)) for _ in (0, 1)]
        self.events: list[tuple[int, int, int, bytes]] = []
        self.count = 0
        LINKS.fill(0)
        self.bridge = impl.Bridge.zeroed()
        self.bridge.start(Arena(LINKS), 4)
        self.stacks[0].listen(8080)
        for stack in self.stacks:
            stack.poll(self.stage.now)
        self.clients: dict[int, bytes] = {}
        self.outgoing: dict[int, bytes] = {}

    def connect(self, data: bytes) -> int:
        slot = self.stacks[1].connect(network.address(0), 8080)
        assert slot is not None
        self.clients[slot] = b""
        self.outgoing[slot] = data
        self.step()  # The SYN is on its way before `run` looks for the next event.
        return int(slot)

    def step(self) -> None:
        now = self.stage.now
        while self.events and self.events[0][0] <= now:
            _, _, index, frame = heapq.heappop(self.events)
            self.stacks[index].receive(frame, now)
        client = self.stacks[1]
        for slot, data in self.outgoing.items():
            if data and client.is_established(slot):
                self.outgoing[slot] = data[client.send(slot, data) :]
        for slot in self.clients:
            while len(part := client.readable(slot)) > 0:
                self.clients[slot] += part.tobytes()
                client.consume(slot, len(part))
        self.stage.backend.step(now)
        self.bridge.poll(self.stacks[0], self.stage.server, now)
        for index, stack in enumerate(self.stacks):
            stack.poll(now)
            while (length := stack.transmit(BUFFER, now)) > 0:
                frame = BUFFER[:length].tobytes()
                for at, copy in self.wires[index].carry(frame, now, self.rng):
                    self.count += 1
                    heapq.heappush(self.events, (at, self.count, 1 - index, copy))
        self.stage.now += 1_000_000

    def run(self, until: Any, steps: int = 4000) -> None:
        for _ in range(steps):
            if until():
                return
            soonest = min(stack.next_deadline() for stack in self.stacks)
            if self.events:
                soonest = min(soonest, self.events[0][0])
            if self.stage.busy_slots == 0 and NEVER > soonest > self.stage.now:
                self.stage.now = soonest
            self.step()
        raise AssertionError("it does not come to an end")


@pytest.mark.parametrize(("seed", "loss"), [(1, 0.0), (2, 0.05), (3, 0.15)])
def test_streams_over_a_bad_wire(impl: Any, kit: Any, seed: int, loss: float) -> None:
    wire = network.Wire(loss=loss, reorder=loss, duplicate=loss, delay_ns=2_000_000)
    world = World(impl, kit, seed, wire)
    raw = kit.request("/v1/chat/completions", kit.chat("x" * 300, stream=True))
    slots = [world.connect(raw) for _ in range(3)]
    world.run(lambda: all(world.clients[s].endswith(b"0\r\n\r\n") for s in slots))
    for slot in slots:
        (reply,) = kit.read_replies(world.clients[slot], ["POST"])
        assert reply.events[-1] is None


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_client_that_leaves_frees_its_slot(impl: Any, kit: Any, how: str) -> None:
    world = World(impl, kit, 1, network.Wire(delay_ns=1_000_000), script=b"word " * 2000)
    world.stage.backend.context = 4000
    slot = world.connect(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    world.run(lambda: b"word" in world.clients[slot])
    assert world.stage.busy_slots == 1
    getattr(world.stacks[1], how)(slot)
    start = world.stage.now
    world.run(lambda: world.stage.busy_slots == 0)
    assert world.stage.now - start < 5_000_000
    assert world.stage.backend.cancel_count == 1
    world.run(lambda: all(link.state == 0 for link in world.bridge.links))


def test_the_server_closes_politely(impl: Any, kit: Any) -> None:
    """An error reply to a client that is still sending arrives whole."""
    world = World(impl, kit, 1, network.Wire(delay_ns=1_000_000))
    head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
    slot = world.connect(head + b"x" * 60_000)
    world.run(lambda: world.stacks[1].peer_closed(slot) and not world.outgoing[slot])
    (reply,) = kit.read_replies(world.clients[slot], ["POST"], closed=True)
    assert reply.status == 404
    assert reply.complete
    world.stacks[1].close(slot)
    world.run(lambda: all(link.state == 0 for link in world.bridge.links))


def test_more_clients_than_places(impl: Any, kit: Any) -> None:
    world = World(impl, kit, 1, network.Wire(delay_ns=1_000_000))
    raw = kit.request("/health", connection="close")
    slots = []
    for _ in range(3):
        slots += [world.connect(raw) for _ in range(2)]
        for _ in range(3):
            world.step()
    world.run(lambda: all(b'{"status":"ok"}' in world.clients[slot] for slot in slots))


def test_idle_clients_stay_until_others_wait(impl: Any, kit: Any) -> None:
    world = World(impl, kit, 1, network.Wire(delay_ns=1_000_000))
    raw = kit.request("/health")
    idle = [world.connect(raw) for _ in range(4)]
    world.run(lambda: all(b'{"status":"ok"}' in world.clients[slot] for slot in idle))
    for _ in range(10):
        world.stage.now += kit.second // 2
        world.step()
    assert not any(world.stacks[1].peer_closed(slot) for slot in idle)
    late = world.connect(raw)
    world.run(lambda: b'{"status":"ok"}' in world.clients[late])
    for _ in range(5):
        world.step()
    assert sum(world.stacks[1].peer_closed(slot) for slot in idle) == 1
