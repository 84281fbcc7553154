"""TCP throughput by loss rate and buffer size: two stacks, a simulated wire, virtual time.

Prints the Markdown table of docs/network.md. The wire has 100 Mbit/s, 10 ms of round trip and a
queue of 100 frames; loss is applied to each frame, both ways. The stack runs compiled.

    python bench/tcp_simulator.py [--megabytes 10] [--seeds 3] [--python]
"""

import argparse
import importlib
import random
import sys
from contextlib import nullcontext
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parents[1]))

from bare.testing import compiled
from tests.sim.network import Flow, Simulation, Wire

LOSSES = (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
BUFFERS = (16384, 32768, 65536)


def measure(loss: float, buffer: int, size: int, seed: int) -> float:
    """Mbit/s of one transfer, which must arrive whole."""
    flow = Flow(random.Random(seed).randbytes(size))
    wire = Wire(loss=loss)
    simulation = Simulation(wire, [flow], seed, receive_bytes=buffer, transmit_bytes=buffer)
    nanoseconds = simulation.run(limit_s=100_000)
    assert bytes(flow.received) == flow.data, "the data arrived changed"
    return size * 8e3 / nanoseconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--python", action="store_true", help="do not compile")
    options = parser.parse_args()
    size = int(options.megabytes * 1_000_000)
    stack = importlib.import_module("merlion.net.stack")
    with nullcontext() if options.python else compiled(stack):
        heads = " | ".join(f"{buffer // 1024} KiB" for buffer in BUFFERS)
        print(f"| loss | {heads} |")
        print("|---:|" + "---:|" * len(BUFFERS))
        for loss in LOSSES:
            # Bad wires move less, so that every row takes about as long.
            amount = size if loss <= 0.05 else size // 10
            row = [
                mean(measure(loss, buffer, amount, seed) for seed in range(options.seeds))
                for buffer in BUFFERS
            ]
            print(f"| {loss:.1%} | " + " | ".join(f"{rate:.2f}" for rate in row) + " |", flush=True)


if __name__ == "__main__":
    main()
