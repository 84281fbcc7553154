"""SmolLM2 on the booted machine against the reference data, at native speed.

How to compare: shared/data/README.md. The reference's tokens are fed as prompts; where its best
token leads by at least 0.5 ours must be the same. With F16 weights all tokens must be equal.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from merlion.cli.accelerator import Accelerator
from merlion.cli.qemu import GUEST_PORT
from merlion.hosted import observation
from tests.boot.machines import HTTP_SECONDS, TINY_MODEL, Booted, boot, serving
from tests.models import find_smollm2

pytestmark = [pytest.mark.qemu, pytest.mark.model]
DATA = TINY_MODEL.parent / "smollm2_exact.json"
MARGIN = 0.5
STEP = 3  # Every third position: a prompt each.
BENCHES_MAX = 4
SECONDS_TO_PROMPT = 5.0  # 0.1 on an idle machine; tests must not fail on a busy one.


@pytest.fixture(scope="module", params=["Q4_0", "Q4_1", "Q8_0", "F16"])
def loaded(
    request: pytest.FixtureRequest, accelerator: Accelerator
) -> Iterator[tuple[str, Booted, Any]]:
    kind = request.param
    path = find_smollm2(kind)
    if path is None or not DATA.exists():
        pytest.skip(f"no SmolLM2 in {kind}, or no reference data")
    with serving(accelerator, path, cores=2) as machine:
        yield kind, machine, json.loads(DATA.read_text())["files"][kind]["greedy"]


@pytest.mark.parametrize("prompt", ["story", "capital", "code"])
def test_tokens(loaded: tuple[str, Booted, Any], prompt: str) -> None:
    kind, machine, exact = loaded
    entry = exact[prompt]
    ids, start = entry["ids"], entry["prompt_ids"]
    if kind == "F16":
        wanted = machine.detokenize(ids)
        assert machine.complete(start, len(ids)) == wanted
        return
    checked = 0
    for i in range(0, len(ids), STEP):
        top = entry["top5"][i]
        wanted = machine.detokenize([ids[i]])
        if top[0][1] - top[1][1] < MARGIN or "\ufffd" in wanted:
            continue
        assert machine.complete([*start, *ids[:i]], 1) == wanted, f"token {i}"
        checked += 1
    assert checked > 0


@pytest.mark.parametrize("special", [False, True])
def test_tokenizer(fast: Booted, special: bool) -> None:
    cases = json.loads((DATA.parent / "smollm2_tokenize.json").read_text())["cases"]
    assert len(cases) > 40
    for case in cases:
        body = {"content": case["text"], "parse_special": special}
        ids = fast.request("/tokenize", body).json["tokens"]
        assert ids == case[f"ids_parse_special_{str(special).lower()}"], case["text"]
        if not special and case["roundtrip_false"]:  # Control tokens have no text.
            assert fast.detokenize(ids) == case["text"]


def test_prompt_and_load_times_are_shown(fast: Booted) -> None:
    assert fast.prompt_seconds < SECONDS_TO_PROMPT
    text = fast.execute("ai-info")
    assert re.search(r"\d+ MiB in \d+ ms", text)


def test_loading_answers_503(accelerator: Accelerator, smollm2: Path) -> None:
    words = [f"serve={GUEST_PORT}"]
    with boot(accelerator, disk=smollm2, network=True, words=words, wait=False) as machine:
        seen: list[int] = []

        def is_ready() -> bool:
            try:
                reply = machine.request("/health", timeout=HTTP_SECONDS)
            except OSError:  # QEMU does not listen yet.
                return False
            seen.append(reply.status)
            assert reply.status == 200 or "Retry-After" in reply.headers
            return reply.status == 200

        machine.wait_for(is_ready, HTTP_SECONDS)
        assert seen[0] == 503
        assert set(seen) == {200, 503}
        assert "Paris" in machine.chat("What is the capital of France?", 16)


def test_chat_streams(fast: Booted) -> None:
    messages: Any = [{"role": "user", "content": "What is the capital of France?"}]
    with openai.OpenAI(base_url=fast.url, api_key="x", timeout=HTTP_SECONDS) as client:
        whole = client.chat.completions.create(
            model="x", messages=messages, max_tokens=24, temperature=0
        )
        stream = client.chat.completions.create(
            model="x", messages=messages, max_tokens=24, temperature=0, stream=True
        )
        parts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "Paris" in (whole.choices[0].message.content or "")
    assert "".join(parts) == whole.choices[0].message.content
    assert len([part for part in parts if part]) > 4


def test_shell_answers(fast: Booted) -> None:
    text = fast.execute("ai What is the capital of France?")
    assert re.search(r"\[\d+ tokens in \S+ s \| \S+ tok/s \| first token \S+ ms \| ", text)


def test_two_cores_wait_for_each_other_without_interrupts(
    accelerator: Accelerator, smollm2: Path
) -> None:
    with boot(accelerator, disk=smollm2, cores=2, words=["load"]) as machine:
        for _ in range(BENCHES_MAX):
            before = observation.read([machine.guest.pid])
            text = machine.execute("ai-bench 64 16")
            usage = observation.between(before, observation.read([machine.guest.pid]))
            if ", interrupts 0," in text:
                return
            if usage.disturbed:
                pytest.skip(f"{usage.disturbed}: waiting cores nap then (patience.py)")
        pytest.fail(text)
