"""The commands that run the engine in one process, as a user calls them, on a tiny random model.

What the numbers must be is tested with the engine; here it is that they come out.
"""

import http.client
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from bare.simd import LEVELS
from merlion.cli.synth import SHAPES, synthesise

START_SECONDS = 240.0  # The first start compiles the engine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "merlion.cli", *arguments]


def merlion(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=START_SECONDS
    )


def json_of(*arguments: str) -> Any:
    done = merlion(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    synthesise(SHAPES["tiny"], "tiny", "q4_0", 1, path)
    return str(path)


class Served:
    """`merlion serve` on a free port."""

    def __init__(self, model: str, log: Path, *options: str) -> None:
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command("serve", model, "--port", "0", "--ctx-size", "512", *options), stderr=file
            )
        where = self.wait_for("http://")
        self.port = int(where.split(":")[2].split("/")[0])

    def wait_for(self, word: str) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            for line in self.log.read_text().splitlines():
                if word in line:
                    return line
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path)
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def client(self) -> openai.OpenAI:
        url = f"http://127.0.0.1:{self.port}/v1"
        return openai.OpenAI(base_url=url, api_key="none", timeout=60, max_retries=0)

    def metric(self, name: str) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        lines = [line for line in text.splitlines() if line.startswith(name + " ")]
        return float(lines[0].split()[1])


@pytest.fixture(scope="module")
def served(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(model, tmp_path_factory.mktemp("serve") / "log")
    found.wait_for("ready")
    yield found
    if found.process.poll() is None:
        found.process.kill()
        found.process.wait()


def test_generate_gives_ids_and_text(model: str) -> None:
    found = json_of("generate", model, "--prompt", "ab", "--tokens", "5")
    assert list(found) == ["prompt_ids", "ids", "text"]
    assert 1 <= len(found["ids"]) <= 5
    again = json_of("generate", model, "--prompt", "ab", "--tokens", "5", "--threads", "1")
    assert again == found


def test_perplexity_of_ids(model: str, tmp_path: Path) -> None:
    ids = tmp_path / "ids.json"
    ids.write_text("[3, 70, 90, 11, 5]")
    found = json_of("perplexity", model, "--ids", str(ids), "--top", "3")
    assert found["ids"] == [3, 70, 90, 11, 5]
    assert len(found["nll"]) == len(found["top"]) == 4
    assert math.isclose(found["ppl"], math.exp(sum(found["nll"]) / 4))
    for alternatives in found["top"]:
        logits = [logit for _, logit in alternatives]
        assert logits == sorted(logits, reverse=True)


def test_perplexity_wants_one_of_its_two_sources(model: str) -> None:
    done = merlion("perplexity", model)
    assert done.returncode == 1
    assert "--text FILE or --ids FILE" in done.stderr


def test_tokenize_one_text_and_several(model: str, tmp_path: Path) -> None:
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(["ab", "", "<|im_start|>"]))
    one = json_of("tokenize", model, "--text", "ab")
    several = json_of("tokenize", model, "--file", str(texts), "--parse-special")
    assert several == [one, [], [1]]


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.gguf"
    path.write_bytes(b"no model" * 100)
    done = merlion("generate", str(path), "--prompt", "x")
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


def test_the_official_client_streaming_and_not(served: Served) -> None:
    client = served.client()
    name = client.models.list().data[0].id
    assert name == "synthetic tiny"  # general.name of the file.
    whole = client.completions.create(
        model=name, prompt="ab", max_tokens=8, temperature=0, extra_body={"ignore_eos": True}
    )
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 8
    stream = client.completions.create(
        model=name,
        prompt="ab",
        max_tokens=8,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    pieces = [chunk.choices[0].text for chunk in stream if chunk.choices]
    assert "".join(pieces) == whole.choices[0].text


def test_a_hang_up_frees_the_slot(served: Served) -> None:
    body = {"prompt": "ab", "max_tokens": 400, "stream": True, "ignore_eos": True}
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("POST", "/v1/completions", json.dumps(body))
    reply = connection.getresponse()
    reply.read(1)
    before = served.metric("llamacpp:tokens_predicted_total")
    connection.sock.close()
    reply.close()
    end = time.monotonic() + 10
    while served.metric("llamacpp:requests_processing") > 0:
        assert time.monotonic() < end, "the slot is still taken"
        time.sleep(0.02)
    assert served.metric("llamacpp:tokens_predicted_total") - before < 390


def test_errors_reach_the_client(served: Served) -> None:
    with pytest.raises(openai.BadRequestError):
        served.client().completions.create(model="tiny", prompt="ab" * 2000, max_tokens=8)


def test_a_port_in_use_is_an_error_message(served: Served, model: str) -> None:
    done = merlion("serve", model, "--port", str(served.port))
    assert done.returncode == 1
    assert f"port {served.port}" in done.stderr


def test_an_api_key_is_asked_for(model: str, tmp_path: Path) -> None:
    guarded = Served(model, tmp_path / "log", "--api-key", "none")  # What `client` sends.
    try:
        client = guarded.client()
        client.models.list()
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="other").models.list()
    finally:
        guarded.process.kill()
        guarded.process.wait()


def test_alias_and_number_of_slots(model: str, tmp_path: Path) -> None:
    named = Served(model, tmp_path / "log", "--alias", "my model", "-np", "2")
    try:
        named.wait_for("ready")
        assert named.client().models.list().data[0].id == "my model"
        assert named.get("/props")["total_slots"] == 2
        assert named.get("/v1/models/my%20model")["id"] == "my model"
    finally:
        named.process.kill()
        named.process.wait()


def test_a_type_without_kernel_is_named_with_what_to_do(tmp_path: Path) -> None:
    path, tensor = tmp_path / "bf16.gguf", b"blk.1.attn_q.weight"
    synthesise(SHAPES["tiny"], "tiny", "f16", 1, path)
    data = bytearray(path.read_bytes())
    data[data.index(tensor) + len(tensor) + 4 + 2 * 8] = 30  # ggml's BF16.
    path.write_bytes(data)
    done = merlion("generate", str(path), "--prompt", "x")
    assert done.returncode == 1
    assert "blk.1.attn_q.weight: BF16" in done.stderr
    assert "merlion model convert" in done.stderr


def test_more_streams_than_requests_are_usual(model: str) -> None:
    arguments = ["--streams", "40", "--tokens", "8", "--prompt-tokens", "8", "--repeats", "1"]
    found = json_of("bench", model, *arguments)
    assert found["streams_tokens_per_s"] > 0
    assert found["machine"]["instructions"] in LEVELS


def test_sigterm_ends_it_cleanly(served: Served) -> None:
    os.kill(served.process.pid, signal.SIGTERM)
    assert served.process.wait(20) == 0
    assert "stopped" in served.log.read_text()
    assert "Traceback" not in served.log.read_text()
