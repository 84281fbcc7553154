"""SmolLM2-135M against an exact reference and llama.cpp, in every format there is a file for.

Files: $MERLION_MODELS (several folders, `:` between them). Truth: shared/data/smollm2_exact.json.
The README there says how to compare: the reference tokens are fed, and where the reference's best
token leads by at least 0.5 ours must be the same; with F16 weights all 64 tokens must be equal.
"""

import json
import math
import os
from pathlib import Path

import pytest

import bare.simd
from tests.engine.compiled_engine import CompiledEngine
from tests.engine.levels import host_level

DATA = Path(os.environ.get("MERLION_DATA", "../shared/data")) / "smollm2_exact.json"
FOLDERS = [Path(name) for name in os.environ.get("MERLION_MODELS", "models").split(":")]
MARGIN = 0.5

pytestmark = [pytest.mark.model, pytest.mark.skipif(not DATA.exists(), reason="no reference data")]


def find_model(kind: str) -> Path | None:
    """A SmolLM2 file of a format."""
    for folder in FOLDERS:
        for path in sorted(folder.glob(f"**/*SmolLM2-135M*{kind}*.gguf")):
            return path
    return None


@pytest.fixture(scope="module", params=["Q4_1", "Q4_0", "Q8_0", "F16"])
def loaded(request: pytest.FixtureRequest) -> tuple[str, CompiledEngine, dict]:
    kind = request.param
    path = find_model(kind)
    if path is None:
        pytest.skip(f"no SmolLM2 in {kind}")
    bare.simd.set_level(host_level())
    return kind, CompiledEngine(path), json.loads(DATA.read_text())["files"][kind]


@pytest.mark.parametrize("prompt", ["story", "capital", "code"])
def test_greedy_tokens(loaded: tuple[str, CompiledEngine, dict], prompt: str) -> None:
    kind, engine, exact = loaded
    entry = exact["greedy"][prompt]
    ids, start = entry["ids"], entry["prompt_ids"]
    if kind == "F16":
        assert engine.generate(start, tokens=len(ids)) == [ids]
        return
    # Feed the reference's tokens; compare where its lead is clear.
    for i, top in enumerate(entry["top5"]):
        if top[0][1] - top[1][1] >= MARGIN and i % 4 == 0:
            assert engine.generate(start + ids[:i], tokens=1) == [[ids[i]]], f"token {i}"


def test_perplexity(loaded: tuple[str, CompiledEngine, dict]) -> None:
    _, engine, exact = loaded
    text = json.loads((DATA.parent / "smollm2_greedy.json").read_text())["text"]
    losses = engine.losses(engine.encode(text))
    assert len(losses) == len(exact["nll_text"]["nll"])
    perplexity = math.exp(sum(losses) / len(losses))
    assert abs(perplexity / exact["nll_text"]["ppl"] - 1) < 0.015
