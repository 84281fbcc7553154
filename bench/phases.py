"""Where the time of a forward pass goes: each phase beside what the machine could do at best.

    python bench/phases.py MODEL [--rows 64] [--depth 256] [--level NAME]

One thread, called phase by phase from here. `--rows` tokens of one sequence at positions
`--depth` and up: 1 is decoding, 64 a piece of a prompt. Medians over several passes. The floor of a
phase is what its weights take to read and its multiply-adds to compute, whichever is more, at the
limits measured in the same run.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from bare import Arena
from bare.compiler.jit import load
from bare.simd import LEVELS, set_level
from merlion.engine.engine import Engine, EngineConfig
from merlion.engine.llama import Llama, Phase
from merlion.engine.model import Layer
from merlion.engine.tensor import Matrix
from merlion.hosted import memory
from merlion.hosted.code import host_level
from merlion.hosted.limits import Limits
from merlion.hosted.threads import pin

ENTRIES = (Engine.load, Llama.begin, Llama.next_phase, Llama.leave_phase, Llama.compute)


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
        case Phase.LOGITS:
            return (llama.model.output,)
        case _:
            return ()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--depth", type=int, default=256)
    parser.add_argument("--level", choices=LEVELS, default=LEVELS[host_level()])
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
    config = EngineConfig(context=context, sequences=1, batch_rows=options.rows, threads=1)
    refused = call[Engine.load](engine, data, arena, config)
    if refused is not None:
        raise SystemExit(bytes(refused.message).decode())
    limits = Limits(1)
    llama = engine.team.llama
    llama.members = 1

    seconds: dict[Phase, list[float]] = defaultdict(list)
    floors: dict[Phase, float] = defaultdict(float)
    wanted = 0
    for number in range(options.passes):
        llama.batch.clear()
        for row in range(options.rows):
            wanted = int(row == options.rows - 1)
            llama.batch.add(100 + 7 * row, 0, options.depth + row, bool(wanted))
        bandwidth, peak = limits.bandwidth(1), limits.int8_peak(1)
        spent: dict[Phase, float] = defaultdict(float)
        floors.clear()
        start = time.thread_time()
        call[Llama.begin](llama)
        spent[Phase.END] = time.thread_time() - start
        while chunks := call[Llama.next_phase](llama):
            phase = Phase(llama.phase)
            layer = llama.model.layers[llama.layer]
            start = time.thread_time()
            for chunk in range(chunks):
                call[Llama.compute](llama, 0, chunk)
            spent[phase] += time.thread_time() - start
            rows = wanted if phase == Phase.LOGITS else options.rows
            for matrix in matrices(llama, layer, phase):
                work = rows * matrix.rows * matrix.columns / peak
                floors[phase] += max(work, matrix.stored_bytes() / bandwidth)
            call[Llama.leave_phase](llama)
        if number >= 2:
            for phase, value in spent.items():
                seconds[phase].append(value)

    total = sum(median(values) for values in seconds.values())
    print(f"bandwidth {bandwidth / 1e9:.1f} GB/s, int8 peak {peak / 1e9:.0f} G/s, one thread")
    print(f"{'phase':12} {'us':>9} {'share':>6} {'floor us':>9} {'reached':>8}")
    for phase, values in seconds.items():
        name = "embed" if phase == Phase.END else phase.name.lower()
        value, floor = median(values), floors[phase]
        reached = f"{floor / value:8.0%}" if floor else ""
        print(f"{name:12} {value * 1e6:9.0f} {value / total:6.1%} {floor * 1e6:9.0f} {reached}")
    floor = sum(floors.values())
    print(f"{'all':12} {total * 1e6:9.0f} {'':6} {floor * 1e6:9.0f} {floor / total:8.0%}")
    print(f"{options.rows / total:.1f} tok/s")


if __name__ == "__main__":
    main()
