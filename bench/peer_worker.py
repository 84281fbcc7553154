"""llama.cpp under measurement: one model in one process, told what to time over a pipe.

    build/peer-env/bin/python bench/peer_worker.py MODEL --threads N [--copy]

Runs in the peer's own environment and imports nothing of ours. Reads one JSON request a line,
answers with one (`serve` lists them). As `llama-bench` does, it times `llama_decode` alone, without
sampling and text; our side is timed with both.
"""

import argparse
import ctypes
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp as llama  # type: ignore[import-not-found]

SEED = 1
CONTEXT_SPARE = 16


class Peer:
    """A model, and one context for each set of flags asked for."""

    def __init__(self, path: str, threads: int, copy: bool) -> None:
        """Load the model; `copy` reads it into memory of its own instead of mapping the file."""
        llama.llama_backend_init()
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.use_extra_bufts = True  # Weights repacked for the vector units.
        parameters.load_mode = llama.LLAMA_LOAD_MODE_NONE if copy else llama.LLAMA_LOAD_MODE_MMAP
        self._model = llama.llama_model_load_from_file(path.encode(), parameters)
        if not self._model:
            sys.exit(f"llama.cpp cannot load {path}")
        vocabulary = llama.llama_model_get_vocab(self._model)
        self._vocabulary = llama.llama_vocab_n_tokens(vocabulary)
        self._threads = threads
        self._key: tuple[int, ...] = ()
        self._context: Any = None

    def context(self, positions: int, sequences: int, flags: dict[str, int]) -> Any:
        """A context with an empty cache; the last one is kept for requests like the one before."""
        key = (positions, sequences, flags["flash"], flags["ubatch"])
        if key != self._key:
            if self._context is not None:
                llama.llama_free(self._context)
            parameters = llama.llama_context_default_params()
            parameters.n_ctx = positions * sequences
            parameters.n_batch = max(flags["ubatch"], 512)
            parameters.n_ubatch = flags["ubatch"]
            parameters.n_seq_max = sequences
            parameters.n_threads = parameters.n_threads_batch = self._threads
            parameters.flash_attn_type = flags["flash"]
            parameters.no_perf = True
            self._context = llama.llama_init_from_model(self._model, parameters)
            if not self._context:
                sys.exit("llama.cpp cannot make the context")
            self._key = key
        llama.llama_memory_clear(llama.llama_get_memory(self._context), False)
        return self._context

    def compute(self, context: Any, rows: list[tuple[int, int, int, bool]]) -> None:
        """One `llama_decode` of rows (token, position, sequence, wants logits)."""
        batch = llama.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = wanted
        status = llama.llama_decode(context, batch)
        llama.llama_synchronize(context)
        llama.llama_batch_free(batch)
        if status != 0:
            sys.exit(f"llama_decode gave {status}")

    def tokens(self, count: int) -> list[int]:
        """Random tokens, the same every time."""
        source = random.Random(SEED)
        return [source.randrange(self._vocabulary) for _ in range(count)]

    def prefill(self, count: int, flags: dict[str, int]) -> float:
        """Seconds for a prompt of `count` tokens, with the logits of its last."""
        context = self.context(count + CONTEXT_SPARE, 1, flags)
        rows = [(token, i, 0, i == count - 1) for i, token in enumerate(self.tokens(count))]
        width = max(flags["ubatch"], 512)
        start = time.perf_counter_ns()
        for first in range(0, count, width):
            self.compute(context, rows[first : first + width])
        return (time.perf_counter_ns() - start) / 1e9

    def streams(self, streams: int, count: int, flags: dict[str, int]) -> list[float]:
        """Milliseconds of each of `count` passes that give a token to every stream."""
        context = self.context(count + CONTEXT_SPARE, streams, flags)
        tokens = self.tokens(count + 1)
        self.compute(context, [(tokens[0], 0, sequence, True) for sequence in range(streams)])
        times = []
        before = time.perf_counter_ns()
        for position in range(1, count + 1):
            token = tokens[position]
            self.compute(
                context, [(token, position, sequence, True) for sequence in range(streams)]
            )
            after = time.perf_counter_ns()
            times.append((after - before) / 1e6)
            before = after
        return times

    def serve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        flags = request.get("flags", {"flash": -1, "ubatch": 512})
        match request["what"]:
            case "prefill":
                return {"seconds": self.prefill(request["count"], flags)}
            case "streams":
                return {"times_ms": self.streams(request["streams"], request["count"], flags)}
            case "about":
                return {
                    "version": llama.__version__,
                    "system": llama.llama_print_system_info().decode().strip(),
                    "memory": memory(),
                }
            case other:
                return {"error": f"unknown request {other}"}


def memory() -> dict[str, int]:
    """Bytes resident, and of those in huge pages."""
    found = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("Rss", "AnonHugePages"):
            found["resident" if name == "Rss" else "huge_pages"] = int(value.split()[0]) * 1024
    return found


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def silence(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """Print nothing: standard output is the pipe."""


def main() -> None:
    """Answer requests until the pipe closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--copy", action="store_true")
    options = parser.parse_args()
    llama.llama_log_set(silence, ctypes.c_void_p(0))
    peer = Peer(options.model, options.threads, options.copy)
    for line in sys.stdin:
        print(json.dumps(peer.serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
