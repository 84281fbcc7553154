"""Kernels against the machine: GB/s of a row times a matrix, G multiply-adds/s of a batch.

    python bench/kernels.py [--level NAME]

One thread. The limits are measured in the same run: reading the same amount of memory, and
independent int8 and bf16 multiply-adds. Times are of the thread, so that a neighbour on the core
does not count (on the memory bus it does); every figure is the best of several runs.
"""

import argparse
import time
from collections.abc import Callable

import attention_rounds as rounds

from bare import Arena, bf16, f32, static, u8
from bare.compiler.host import host_levels
from bare.compiler.jit import Program, load
from bare.simd import LEVELS, set_level
from merlion.engine import probes
from merlion.engine.kernels import activations
from merlion.engine.kernels.attention import partial_stride
from merlion.engine.kernels.attention_tile import TILE_QUERIES, QueryTile
from merlion.engine.kernels.matmul import matmul
from merlion.engine.kv_cache import KvCache
from merlion.engine.quant import Format
from merlion.engine.repack import allocate
from merlion.engine.tensor import Matrix
from merlion.hosted.code import host_level

MEBIBYTE = 1 << 20
PEAK_ROUNDS = 1_000_000
ATTENTION = (rounds.attend_heads, rounds.multiply_pairs, rounds.pair_products_a_round)
FORMATS = (Format.Q4_0, Format.Q4_1, Format.Q8_0, Format.F16)


def best(action: Callable[[], object], repeats: int = 5) -> float:
    """Shortest time of `action` in seconds."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        action()
        times.append(time.thread_time() - start)
    return min(times)


def matrix_of(form: Format, rows: int, columns: int, space: Arena) -> Matrix:
    """A zero matrix."""
    matrix = space.alloc(Matrix)
    allocate(matrix, form, rows, columns, space)
    return matrix


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    levels = [LEVELS[level] for level in host_levels()]
    parser.add_argument("--level", choices=levels, default=LEVELS[host_level()])
    level = parser.parse_args().level
    entries: list[Callable[..., object]] = [
        probes.read_all,
        probes.multiply_int8,
        probes.products_a_round,
        matmul,
        activations.quantise_row,
    ]
    program = load([*entries, *ATTENTION])
    read, multiply, a_round, product, _ = (program.function(entry) for entry in entries)
    set_level(LEVELS.index(level))
    print("level", level)

    space = Arena(static(u8, 700 * MEBIBYTE))
    data = space.slice(u8, 96 * MEBIBYTE)
    data.fill(1)
    seconds = best(lambda: read(data))
    print(f"read            {len(data) / seconds / 1e9:8.1f} GB/s")
    seconds = best(lambda: multiply(data, PEAK_ROUNDS), 3)
    print(f"int8 peak       {PEAK_ROUNDS * a_round() / seconds / 1e9:8.1f} GMAC/s")

    for form in FORMATS:
        mark = space.mark()
        measure_format(form, product, space)
        space.reset(mark)
    measure_attention(program, space)


def measure_format(form: Format, product: Callable[..., object], space: Arena) -> None:
    """One row times a matrix larger than the caches; batches times one that fits them."""
    big = matrix_of(form, 96 * 1024, 1536, space)
    small = matrix_of(form, 1536, 576, space)
    wide = space.alloc(activations.Activations)
    wide.init(space, 1, 1536)
    narrow = space.alloc(activations.Activations)
    narrow.init(space, 128, 576)
    output = space.slice(f32, 128 * 1536)
    seconds = best(lambda: product(big, wide, 1, output, big.rows, 0, big.groups, False))
    line = f"{form.name:5} row {big.stored_bytes() / seconds / 1e9:8.1f} GB/s   batch of"
    for count in (1, 4, 8, 16, 64, 128):

        def batch(count: int = count) -> None:
            for _ in range(20):
                product(small, narrow, count, output, 1536, 0, small.groups, False)

        work = 20 * count * small.rows * small.columns
        line += f"  {count}: {work / best(batch) / 1e9:.0f}"
    print(line + " GMAC/s")


def measure_attention(program: Program, space: Arena) -> None:
    """A prompt's tile over one head again and again; a token's queries over cold heads."""
    attend = program.function(rounds.attend_heads)
    multiply = program.function(rounds.multiply_pairs)
    products = program.function(rounds.pair_products_a_round)()
    factors = space.slice(bf16, 512)
    peak = PEAK_ROUNDS * products / best(lambda: multiply(factors, PEAK_ROUNDS), 3)
    print(f"bf16 peak       {peak / 1e9:8.1f} GMAC/s")

    size, context, cold = 64, 1024, 384
    stride = partial_stride(size)
    queries = space.slice(f32, TILE_QUERIES * size)
    partials = space.slice(f32, 2 * TILE_QUERIES * stride)
    tile = space.alloc(QueryTile)
    tile.init(space)
    for i in range(TILE_QUERIES):
        tile.visible[i] = context
        tile.source[i] = i * size
    for name, count, heads, repeats in (("prompt", 8, 1, 500), ("token", 3, cold, cold)):
        cache = space.alloc(KvCache)
        cache.init(space, 1, 1, heads, size, context)
        cache.keys.fill(0.0)
        cache.values.fill(0.0)
        tile.count = count
        seconds = best(lambda: attend(tile, queries, cache, repeats, partials))  # noqa: B023
        work = repeats * count * context * size * 2
        read = repeats * context * size * 2 * 2
        line = f"attention {name:6}{work / seconds / 1e9:8.1f} GMAC/s"
        print(line + f"{read / seconds / 1e9:8.1f} GB/s")


if __name__ == "__main__":
    main()
