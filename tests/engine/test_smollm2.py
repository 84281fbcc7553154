"""SmolLM2-135M against an exact reference and llama.cpp, in every format there is a file for.

Files: see tests/models.py. Truth: shared/data/smollm2_exact.json.
The README there says how to compare: the reference tokens are fed, and where the reference's best
token leads by at least 0.5 ours must be the same; with F16 weights all 64 tokens must be equal.
"""

import json
import math

import pytest

import bare.simd
from tests.engine.compiled_engine import CompiledEngine
from tests.engine.files import DATA
from tests.engine.levels import host_level
from tests.models import find_smollm2

EXACT = DATA / "smollm2_exact.json"
MARGIN = 0.5
POSITIONS = 16  # Of a text, that are looked at: each costs a prompt.
COMPARED_MIN = 6  # The shortest text has 8 positions, 6 of them with a clear lead.

pytestmark = [pytest.mark.model, pytest.mark.skipif(not EXACT.exists(), reason="no reference data")]


@pytest.fixture(scope="module", params=["Q4_1", "Q4_0", "Q8_0", "F16"])
def loaded(request: pytest.FixtureRequest) -> tuple[str, CompiledEngine, dict]:
    kind = request.param
    path = find_smollm2(kind)
    if path is None:
        pytest.skip(f"no SmolLM2 in {kind}")
    bare.simd.set_level(host_level())
    return kind, CompiledEngine(path), json.loads(EXACT.read_text())["files"][kind]


@pytest.mark.parametrize("prompt", ["story", "capital", "code"])
def test_greedy_tokens(loaded: tuple[str, CompiledEngine, dict], prompt: str) -> None:
    kind, engine, exact = loaded
    entry = exact["greedy"][prompt]
    ids, start = entry["ids"], entry["prompt_ids"]
    if kind == "F16":
        assert len(ids) > COMPARED_MIN
        assert engine.generate(start, tokens=len(ids)) == [ids]
        return
    # Feed the reference's tokens; compare where its lead is clear.
    compared = 0
    for i in range(0, len(ids), max(len(ids) // POSITIONS, 1)):
        best, second, *_ = entry["top5"][i]
        if best[1] - second[1] >= MARGIN:
            assert engine.generate(start + ids[:i], tokens=1) == [[ids[i]]], f"token {i}"
            compared += 1
    assert compared >= COMPARED_MIN


def test_perplexity(loaded: tuple[str, CompiledEngine, dict]) -> None:
    _, engine, exact = loaded
    text = json.loads((DATA / "smollm2_greedy.json").read_text())["text"]
    losses = engine.losses(engine.encode(text))
    assert len(losses) == len(exact["nll_text"]["nll"])
    perplexity = math.exp(sum(losses) / len(losses))
    assert abs(perplexity / exact["nll_text"]["ppl"] - 1) < 0.015
