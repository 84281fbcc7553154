"""The official client against the machine, through the forwarded port."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from merlion.cli.accelerator import Accelerator
from merlion.kernel.limits import SERVER_CONNECTIONS
from tests.boot.machines import HTTP_SECONDS, TINY_MODEL, Booted, native, serving

pytestmark = pytest.mark.qemu
MESSAGES: Any = [{"role": "user", "content": "Once upon a time"}]
LONG = 400  # Tokens: longer than it takes to hang up.


@pytest.fixture
def client(tiny: Booted) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=tiny.url, api_key="none", max_retries=0, timeout=HTTP_SECONDS
    ) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    assert len(client.models.list().data) == 1


def test_completion(client: openai.OpenAI, tiny: Booted) -> None:
    reply = client.completions.create(model="x", prompt="Once", max_tokens=16, temperature=0)
    assert reply.choices[0].text == tiny.complete("Once", 16)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 16


def test_completion_stream(client: openai.OpenAI, tiny: Booted) -> None:
    stream = client.completions.create(
        model="x", prompt="Once", max_tokens=32, temperature=0, stream=True
    )
    texts = [chunk.choices[0].text for chunk in stream if chunk.choices]
    assert "".join(texts) == tiny.complete("Once", 32)
    assert len([text for text in texts if text]) > 10


def test_chat_is_refused_by_name_without_template(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="x", messages=MESSAGES, max_tokens=4)
    assert "template" in caught.value.message


def test_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="x", prompt="x", n=3)
    assert caught.value.param == "n"
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="x", prompt="a b c " * 2000)
    assert caught.value.code == "context_length_exceeded"


def test_two_clients_at_once(tiny: Booted) -> None:
    alone = tiny.complete("Once upon a time", 60)
    texts: list[str] = []

    def ask() -> None:
        texts.append(tiny.complete("Once upon a time", 60))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HTTP_SECONDS)
    assert texts == [alone] * 4


def test_hang_up_frees_the_slot(client: openai.OpenAI, tiny: Booted) -> None:
    aborted = tiny.metric('vllm:request_success_total{finished_reason="abort"}')
    stream = client.completions.create(
        model="x", prompt="Once", max_tokens=LONG, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    tiny.wait_for(lambda: tiny.metric("llamacpp:requests_processing") == 0, 10)
    assert tiny.metric('vllm:request_success_total{finished_reason="abort"}') == aborted + 1


def test_reset_frees_the_slot(tiny: Booted) -> None:
    body = b'{"prompt": "Once", "max_tokens": 400, "stream": true, "ignore_eos": true}'
    connection = socket.create_connection(("127.0.0.1", tiny.port), timeout=HTTP_SECONDS)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    # SO_LINGER with 0 seconds: RST instead of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    tiny.wait_for(lambda: tiny.metric("llamacpp:requests_processing") == 0, 10)


def test_shell_and_client_at_once(tiny: Booted) -> None:
    alone = tiny.complete("Once", 40)
    texts: list[str] = []
    thread = threading.Thread(target=lambda: texts.append(tiny.complete("Once", 40)))
    thread.start()
    said = tiny.execute("ai Once upon a time", timeout=90)
    thread.join(HTTP_SECONDS)
    assert texts == [alone]
    assert "tok/s" in said


def test_many_short_connections(tiny: Booted) -> None:
    start = time.monotonic()
    for _ in range(100):
        assert tiny.request("/health").status == 200
    assert time.monotonic() - start < HTTP_SECONDS


def test_stop_and_serve_again(tiny: Booted) -> None:
    assert "closed" in tiny.execute("ai-stop")
    assert "serving" in tiny.execute("ai-serve")
    assert tiny.request("/health").status == 200


def test_unload_answers_503(tiny: Booted) -> None:
    tiny.execute("ai-unload")
    try:
        assert tiny.request("/health").status == 503
        assert tiny.request("/v1/completions", {"prompt": "x"}).status == 503
        assert tiny.request("/v1/models").json["data"] == []
    finally:
        tiny.execute("ai-load")
    assert tiny.request("/health").status == 200


def test_api_key(image: None) -> None:
    """Only who has the key may ask, and the machine tells it to nobody."""
    if not TINY_MODEL.exists():
        pytest.skip("no reference data")
    with serving(native() or Accelerator.TCG, TINY_MODEL, words=["api-key=sesame-7"]) as machine:
        refused = machine.request("/v1/models", Authorization="Bearer sesame-8")
        assert refused.status == 401
        assert refused.json["error"]["type"] == "authentication_error"
        assert machine.request("/v1/models").status == 401
        assert machine.request("/health").status == 200
        assert machine.request("/v1/models", Authorization="Bearer sesame-7").status == 200
        assert "api-key=********" in machine.execute("config")
        machine.execute("dmesg")
        assert "sesame" not in machine.guest.text.decode(errors="replace")


def test_a_burst_of_connections_is_served(tiny: Booted) -> None:
    """More than the server holds at once: those that have been answered make way."""
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with contextlib.ExitStack() as stack:
        burst = []
        for _ in range(SERVER_CONNECTIONS * 2):
            one = socket.create_connection(("127.0.0.1", tiny.port), timeout=HTTP_SECONDS)
            burst.append(stack.enter_context(one))
            one.sendall(request)
        for one in burst:
            assert one.recv(100).startswith(b"HTTP/1.1 200")
