"""The engine under measurement: one model in one process, told what to time over a pipe.

    python bench/our_worker.py MODEL --threads N --context N --streams N

The same requests as bench/peer_worker.py, and the machine's limits. Times contain sampling and
text.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bare.simd import level_name
from merlion.hosted import observation
from merlion.hosted.benchmark import Stopwatch
from merlion.hosted.code import Code
from merlion.hosted.measure import Limits
from merlion.hosted.model import Model, Settings


def serve(model: Model, watch: Stopwatch, limits: Limits, request: dict[str, Any]) -> Any:
    """Answer one request."""
    match request["what"]:
        case "prefill":
            return {"seconds": watch.prefill(request["count"])}
        case "streams":
            return {"times_ms": watch.streams(request["streams"], request["count"])}
        case "limits":
            return {
                "bandwidth": limits.bandwidth(model.threads),
                "int8_peak": limits.int8_peak(model.threads),
            }
        case "about":
            return {
                "level": bytes(level_name()).decode(),
                "bytes_per_token": int(model.engine.token_bytes()),
                "products_per_token": int(model.engine.layer_products()),
                "memory": observation.process_memory(),
            }
        case other:
            return {"error": f"unknown request {other}"}


def main() -> None:
    """Answer requests until the pipe closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    options = parser.parse_args()
    settings = Settings(context=options.context, sequences=options.streams, threads=options.threads)
    with Model(Code(), options.model, settings) as model:
        limits, watch = Limits(model.threads), Stopwatch(model)
        for line in sys.stdin:
            print(json.dumps(serve(model, watch, limits, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
