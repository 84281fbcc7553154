"""Where the time of a forward pass goes: each phase beside what the machine could do at best.

    python bench/phases.py MODEL [--rows 64] [--depth 256] [--level NAME]

One thread. `--rows` tokens of one sequence at positions `--depth` and up: 1 is decoding, 64 a piece
of a prompt. The least of several passes. The floor of a phase is what its weights take to read and
its multiply-adds to compute, whichever is more, at the limits measured in the same run.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

from phase_clock import timed_pass

from bare import Arena, Slice, u64
from bare.compiler.host import host_levels
from bare.compiler.jit import load
from bare.simd import LEVELS, set_level
from merlion.engine.engine import Engine, EngineConfig
from merlion.engine.llama import Llama, Phase
from merlion.engine.model import Layer
from merlion.engine.tensor import Matrix
from merlion.hosted import memory
from merlion.hosted.code import host_level
from merlion.hosted.measure import Limits
from merlion.hosted.threads import pin

ENTRIES = (Engine.load, timed_pass)


def matrices(llama: Llama, layer: Layer, phase: Phase) -> tuple[Matrix, ...]:
    """What a phase multiplies."""
    match phase:
        case Phase.HEADS:
            return layer.query, layer.key, layer.value
        case Phase.OUTPUT:
            return (layer.output,)
        case Phase.FEED:
            return layer.gate, layer.up
        case Phase.DOWN:
            return (layer.down,)
        case _:
            return ()


def floor(llama: Llama, phase: Phase, rows: int, bandwidth: float, peak: float) -> float:
    """Seconds that a phase of all layers takes at the limits, 0 for one without weights."""
    layers = [matrices(llama, layer, phase) for layer in llama.model.layers]
    if phase == Phase.LOGITS:
        layers, rows = [(llama.model.output,)], 1
    seconds = 0.0
    for matrix in (matrix for layer in layers for matrix in layer):
        work = rows * matrix.rows * matrix.columns / peak
        seconds += max(work, matrix.stored_bytes() / bandwidth)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--depth", type=int, default=256)
    levels = [LEVELS[level] for level in host_levels()]
    parser.add_argument("--level", choices=levels, default=LEVELS[host_level()])
    parser.add_argument("--passes", type=int, default=15)
    options = parser.parse_args()
    program = load(ENTRIES)
    call = {entry: program.function(entry) for entry in ENTRIES}
    set_level(LEVELS.index(options.level))
    pin(0)

    data = memory.read_file(options.model, None)
    arena = Arena(memory.reserve(len(data)))
    engine: Engine = arena.alloc(Engine)
    context = options.depth + options.rows
    config = EngineConfig(context=context, sequences=1, threads=1)
    config.batch_rows = max(config.batch_rows, options.rows)
    refused = call[Engine.load](engine, data, arena, config)
    if refused is not None:
        raise SystemExit(bytes(refused.message).decode())
    limits = Limits(1)
    llama = engine.team.llama
    llama.members = 1

    ticks = Slice.of(u64, [0] * (Phase.END + 1))
    seconds: dict[Phase, list[float]] = defaultdict(list)
    for number in range(options.passes):
        llama.batch.clear()
        for row in range(options.rows):
            is_last = row == options.rows - 1
            llama.batch.add(100 + 7 * row, 0, options.depth + row, is_last)
        start = time.perf_counter()
        call[timed_pass](llama, ticks)
        tick = (time.perf_counter() - start) / sum(ticks)
        if number >= 2:
            for phase in Phase:
                seconds[phase].append(ticks[phase] * tick)
    bandwidth, peak = limits.bandwidth(1), limits.int8_peak(1)
    floors = {phase: floor(llama, phase, options.rows, bandwidth, peak) for phase in Phase}
    spent = {phase: min(values) for phase, values in seconds.items() if min(values) > 0}

    total = sum(spent.values())
    print(f"bandwidth {bandwidth / 1e9:.1f} GB/s, int8 peak {peak / 1e9:.0f} G/s, one thread")
    print(f"{'phase':12} {'us':>9} {'share':>6} {'floor us':>9} {'reached':>8}")
    for phase, value in spent.items():
        name = "embed" if phase == Phase.END else phase.name.lower()
        reached = f"{floors[phase] / value:8.0%}" if floors[phase] else ""
        line = f"{value / total:6.1%} {floors[phase] * 1e6:9.0f} {reached}"
        print(f"{name:12} {value * 1e6:9.0f} {line}")
    least = sum(floors.values())
    print(f"{'all':12} {total * 1e6:9.0f} {'':6} {least * 1e6:9.0f} {least / total:8.0%}")
    print(f"{options.rows / total:.1f} tok/s")


if __name__ == "__main__":
    main()
