"""The server with the real engine behind it, compiled: text, chat, company, leaving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bare import Arena, static, u8
from bare.testing import compiled
from merlion.cli.paths import model_directory
from merlion.engine import engine as engine_module
from merlion.engine import scheduler as scheduler_module
from merlion.engine import team as team_module
from merlion.serve import engine_backend, server
from merlion.serve.limits import MODEL_NAME_BYTES_MAX
from tests.models import reference_directory

DATA = reference_directory() / "data"
STORIES = DATA / "stories260K.gguf"
MODULES = (server, engine_backend, engine_module, scheduler_module, team_module)


def find_smollm2() -> Path | None:
    found = sorted(model_directory().glob("**/*SmolLM2-135M-Instruct*Q4_1*.gguf"))
    return found[0] if found else None


def make_stage(kit: Any, path: Path, context: int) -> Any:
    """A stage whose backend is an engine; it must be used inside `compiled(*MODULES)`."""

    class EngineStage(kit.stage):  # type: ignore[misc]
        def __init__(self) -> None:
            data = path.read_bytes()
            self.file = static(u8, len(data))
            self.file.copy_from(data)
            self.storage = static(u8, len(data) * 2 + (200 << 20))
            arena = Arena(self.storage)
            engine = arena.alloc(engine_module.Engine)
            config = engine_module.EngineConfig(
                context=context, sequences=2, batch_rows=64, threads=1
            )
            assert engine.load(self.file, arena, config) is None
            scheduler = arena.alloc(scheduler_module.Scheduler)
            assert scheduler.init(engine, arena, 4)
            engine.team.start(1)
            backend = arena.alloc(engine_backend.EngineBackend)
            backend.start(b"model", arena)
            self.loading = not backend.ready()
            self.chat_error = backend.attach(engine, scheduler, arena)
            self.scheduler = scheduler
            self.start(server, arena, backend, {})

        @property
        def busy_slots(self) -> int:
            return sum(1 for request in self.scheduler.requests if request.state != 0)

    return EngineStage()


STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play in the park. One day,"
)


@pytest.fixture(scope="module")
def stories(kit: Any) -> Iterator[Any]:
    if not STORIES.exists():
        pytest.skip("no stories260K.gguf")
    with compiled(*MODULES):
        yield make_stage(kit, STORIES, 128)


def test_completion(stories: Any) -> None:
    assert stories.loading
    body = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}
    client = stories.connect()
    whole = client.call("/v1/completions", body).json
    text = whole["choices"][0]["text"]
    assert text.startswith(", there was a little girl")
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 12
    *events, done = client.call("/v1/completions", body | {"stream": True}).events
    assert done is None
    assert "".join(event["choices"][0]["text"] for event in events) == text
    stopped = client.call("/v1/completions", body | {"stop": [" girl"]}).json["choices"][0]
    assert stopped["text"] == ", there was a little"
    assert stopped["finish_reason"] == "stop"
    client.hangup()
    assert stories.busy_slots == 0


# llama-cpp-python 0.3.36, stories260K.gguf, "Once upon a time", temperature 0, no penalties.
LLAMA_CPP_TEXT = (
    ", there was a little girl named Lily. She loved to play outside in the park."
    " One day, she saw a big, red ball. She wanted to play with it,"
)


def test_text_equals_llama_cpp(stories: Any) -> None:
    body = {"prompt": "Once upon a time", "max_tokens": 48, "temperature": 0}
    client = stories.connect()
    assert client.call("/v1/completions", body).json["choices"][0]["text"] == LLAMA_CPP_TEXT
    client.hangup()


def test_company_changes_nothing(stories: Any, kit: Any) -> None:
    body = {"prompt": "Once upon", "max_tokens": 10, "seed": 7, "temperature": 1.0}
    raw = kit.request("/v1/completions", body)
    alone = stories.connect()
    wanted = alone.call("/v1/completions", body).json["choices"]
    clients = [stories.connect() for _ in range(3)]
    for client in clients:
        client.send(raw)
    for client in clients:
        (reply,) = kit.read_replies(client.run(200), ["POST"])
        assert reply.json["choices"] == wanted
    for client in (alone, *clients):
        client.hangup()


def test_a_known_prefix_is_not_computed_again(stories: Any) -> None:
    body = {"prompt": STORY, "max_tokens": 10, "temperature": 0}
    client = stories.connect()
    fresh = client.call("/v1/completions", body | {"cache_prompt": False}).json
    again = client.call("/v1/completions", body).json
    assert fresh["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert again["usage"]["prompt_tokens"] == fresh["usage"]["prompt_tokens"]
    assert again["choices"] == fresh["choices"]
    client.hangup()


def test_leaving_frees_the_sequence(stories: Any, kit: Any) -> None:
    client = stories.connect()
    client.send(kit.request("/v1/completions", {"prompt": "One", "ignore_eos": True}))
    stories.tick()
    stories.tick()
    assert stories.busy_slots == 1
    client.hangup()
    assert stories.busy_slots == 0
    assert not stories.backend.step(stories.now)


def test_tokenize(stories: Any) -> None:
    client = stories.connect()
    tokens = client.call("/tokenize", {"content": "Once upon a time"}).json["tokens"]
    assert client.call("/detokenize", {"tokens": tokens}).json["content"].strip() == (
        "Once upon a time"
    )
    client.hangup()


def test_a_model_may_not_have_a_name_of_any_length(stories: Any) -> None:
    """The machine calls the model what its file says."""
    backend = stories.server.service.backend
    name = backend.model
    backend.model = ("€" * 20_000).encode()
    try:
        client = stories.connect()
        listed = client.call("/v1/models").json["data"][0]["id"]
        assert listed == "€" * (MODEL_NAME_BYTES_MAX // 3)
        request = {"prompt": "Once", "max_tokens": 4, "temperature": 0}
        assert client.call("/v1/completions", request).json["model"] == listed
        assert client.call("/v1/completions", request | {"stream": True}).body.endswith(
            b"data: [DONE]\n\n"
        )
    finally:
        backend.model = name


def test_too_long(stories: Any) -> None:
    client = stories.connect()
    for count in (200, 5000):
        error = client.call("/v1/completions", {"prompt": "word " * count}).json["error"]
        assert error["type"] == "exceed_context_size_error"
        assert error["n_ctx"] == 128
        assert error["param"] == "prompt"
        assert error["n_prompt_tokens"] > 128
    client.hangup()


def test_a_model_without_a_template(stories: Any, kit: Any) -> None:
    assert stories.chat_error is not None
    client = stories.connect()
    error = client.call("/v1/chat/completions", kit.chat()).json["error"]
    assert "template" in error["message"]
    client.hangup()


@pytest.mark.model
def test_chat_with_smollm2(kit: Any) -> None:
    path = find_smollm2()
    if path is None:
        pytest.skip("no SmolLM2")
    with compiled(*MODULES):
        stage = make_stage(kit, path, 512)
        assert stage.chat_error is None
        client = stage.connect()
        body = kit.chat("What is the capital of France?", temperature=0, stream=True, max_tokens=40)
        *events, done = client.call("/v1/chat/completions", body).events
        count = stage.backend.prompt_token_count()
        prompt = [int(token) for token in stage.backend.prompt[:count]]
        known = {"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
        continued = client.call("/v1/completions", known).json["choices"][0]["text"]
    assert done is None
    assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events)
    assert "Paris" in continued
    truth = DATA / "smollm2_exact.json"
    if truth.exists():
        exact = json.loads(truth.read_text())["files"]["Q4_1"]["greedy"]["capital"]
        assert prompt == exact["prompt_ids"]
