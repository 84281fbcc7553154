"""Whole transfers between two stacks over a bad wire, in virtual time."""

import random
from typing import Any

import pytest

from bare.testing import implementations
from merlion.net.limits import MILLISECOND
from tests.sim.network import Flow, Simulation, Wire

impl = implementations("merlion.net.stack")


def transfer(wire: Wire, size: int, seed: int, flows: int = 1, **sizes: int) -> Simulation:
    rng = random.Random(seed)
    moved = [Flow(rng.randbytes(size)) for _ in range(flows)]
    simulation = Simulation(wire, moved, seed, **sizes)
    if flows > 100:
        simulation.application_ns = 10 * MILLISECOND  # Asking all of them takes Python long.
    simulation.run()
    # The listener accepts in the order in which handshakes end, which loss may change.
    assert sorted(bytes(f.received) for f in moved) == sorted(f.data for f in moved)
    return simulation


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.1, 0.3])
def test_loss(impl: Any, loss: float, seed: int) -> None:
    transfer(Wire(loss=loss), 40_000, seed)


@pytest.mark.parametrize("seed", range(4))
def test_everything_at_once(impl: Any, seed: int) -> None:
    wire = Wire(loss=0.05, reorder=0.1, duplicate=0.1, corrupt=0.05)
    transfer(wire, 40_000, seed, flows=3)


@pytest.mark.parametrize("size", [512, 4096])
def test_small_buffers(impl: Any, size: int) -> None:
    wire = Wire(loss=0.05, reorder=0.05)
    transfer(wire, 10_000, 1, receive_bytes=size, transmit_bytes=size)


def test_a_run_is_repeated_by_its_seed(impl: Any) -> None:
    wire = Wire(loss=0.1, reorder=0.1, duplicate=0.1, corrupt=0.1)
    first, second = (transfer(wire, 10_000, 7) for _ in range(2))
    assert (first.now, first.frames) == (second.now, second.frames)


@pytest.mark.slow
def test_ten_megabytes_at_five_percent_loss(impl: Any) -> None:
    transfer(Wire(loss=0.05), 10_000_000, 1)


@pytest.mark.slow
def test_a_thousand_connections_at_once(impl: Any) -> None:
    """With 2 KiB rings and full tables; every client gets in, none is refused."""
    n = 1024
    sizes = {"receive_bytes": 2048, "transmit_bytes": 2048}
    tables = {"connections": n, "backlog": n, "syn_queue": n, "time_waits": n}
    wire = Wire(loss=0.01, queue_frames=4 * n)
    simulation = transfer(wire, 3000, 1, flows=n, **sizes, **tables)
    server, client = (stack.tcp.table for stack in simulation.stacks)
    assert server.counters.opened == n
    assert server.counters.accept_overflows == 0
    for _ in range(2000):  # The very last ACK may be lost: LAST_ACK then takes a time-out more.
        if server.flows.count == 0:
            break
        simulation.step()
    assert server.flows.count == 0
    assert client.counters.failed == 0
