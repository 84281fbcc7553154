"""What the machine can do at best, measured: reading memory and multiplying int8, by threads.

A figure of the engine means something only beside these, from the same run: on shared hardware
bandwidth moves by half within seconds, with the placement of the CPUs.
"""

import ctypes
import mmap
import os
import threading
import time
from collections.abc import Callable

from bare import Slice
from bare.compiler.jit import load
from bare.simd import vector_bytes
from merlion.engine.probes import CHAINS, multiply_int8, read_all
from merlion.hosted.memory import anonymous
from merlion.hosted.threads import usable_cpus

# Of each thread: beyond any cache it might share.
READ_BYTES = 96 << 20
MULTIPLY_ROUNDS = 1_000_000  # About 3 ms of AVX-512.
PASSES = 5

type Span = tuple[int, int]  # Start and end in nanoseconds.


class Limits:
    """The probes, compiled, and the memory they read."""

    def __init__(self, threads_max: int, huge_pages: bool = True) -> None:
        """Make room for `threads_max` threads. Called before anything is pinned."""
        self._cpus = usable_cpus()
        program = load([read_all, multiply_int8])
        self._read, self._multiply = program.function(read_all), program.function(multiply_int8)
        self._parts = []
        for _ in range(threads_max):
            memory = anonymous(READ_BYTES)
            if not huge_pages:
                memory.madvise(mmap.MADV_NOHUGEPAGE)
            # Pages that were never written would all be the one page of zeros, in the cache.
            ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 1, READ_BYTES)
            self._parts.append(Slice.over(memory))

    def bandwidth(self, threads: int, passes: int = PASSES) -> float:
        """Bytes a second that `threads` read together from memory; the best of `passes`."""
        spans = self._together(threads, passes, lambda i: self._read(self._parts[i]))
        return threads * READ_BYTES / shortest(spans)

    def reading_times(self, threads: int, passes: int) -> list[float]:
        """Milliseconds of each of `passes` in which `threads` read together: of the slowest."""
        spans = self._together(threads, passes, lambda i: self._read(self._parts[i]))
        return [max(end - start for start, end in one) / 1e6 for one in spans]

    def int8_peak(self, threads: int, passes: int = PASSES) -> float:
        """int8 multiply-adds a second of `threads`, with the instruction the kernels use."""
        spans = self._together(
            threads, passes, lambda i: self._multiply(self._parts[i], MULTIPLY_ROUNDS)
        )
        return threads * MULTIPLY_ROUNDS * CHAINS * vector_bytes() / shortest(spans)

    def _together(
        self, threads: int, passes: int, work: Callable[[int], object]
    ) -> list[tuple[Span, ...]]:
        """When each of `threads` threads began and ended `work(index)`, for every pass."""
        gate = threading.Barrier(threads)
        spans: list[list[Span]] = [[] for _ in range(threads)]

        def run(index: int) -> None:
            # A new thread inherits the affinity of the one that starts it, which may be pinned.
            alone = threads == len(self._cpus)
            os.sched_setaffinity(0, {self._cpus[index]} if alone else self._cpus)
            for _ in range(passes):
                gate.wait()
                start = time.monotonic_ns()
                work(index)
                spans[index].append((start, time.monotonic_ns()))

        workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return list(zip(*spans, strict=True))


def shortest(passes: list[tuple[Span, ...]]) -> float:
    """Seconds of the quickest pass, from its first start to its last end."""
    return min(max(end for _, end in one) - min(start for start, _ in one) for one in passes) / 1e9
