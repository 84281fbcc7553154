"""Streams: a golden transcript, what clients rely on, and what a cut looks like."""

import re
from typing import Any

import openai.types as types
import openai.types.chat as chat_types
import pytest

from bare.testing import implementations

impl = implementations("merlion.serve.server", "merlion.serve.scripted")


@pytest.fixture
def stage(impl: Any, kit: Any) -> Any:
    return kit.stage(impl)


GOLDEN = """\
HTTP/1.1 200 OK
Server: merlion
Access-Control-Allow-Origin: *
Connection: keep-alive
Content-Type: text/event-stream
Cache-Control: no-cache
X-Accel-Buffering: no
Transfer-Encoding: chunked

102
data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000005,"model":"smol",\
"system_fingerprint":"merlion","choices":[{"index":0,"delta":{"role":"assistant","content":""},\
"logprobs":null,"finish_reason":null}]}


f3
data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000005,"model":"smol",\
"system_fingerprint":"merlion","choices":[{"index":0,"delta":{"content":"a\\n\\"b "},\
"logprobs":null,"finish_reason":null}]}


f0
data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000005,"model":"smol",\
"system_fingerprint":"merlion","choices":[{"index":0,"delta":{"content":"👋"},\
"logprobs":null,"finish_reason":null}]}


ea
data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000005,"model":"smol",\
"system_fingerprint":"merlion","choices":[{"index":0,"delta":{},\
"logprobs":null,"finish_reason":"stop"}]}

data: [DONE]


0

"""


def test_golden_transcript(impl: Any, kit: Any) -> None:
    stage = kit.stage(impl, script='a\n"b 👋'.encode())
    client = stage.connect()
    client.send(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    text = client.run().decode().replace("\r\n", "\n")
    text = re.sub(r"chatcmpl-[0-9a-f]{32}", "chatcmpl-ID", text)
    # The sizes count 32 digits where the transcript says ID.
    sizes = [int(size, 16) for size in re.findall(r"^([0-9a-f]+)$", GOLDEN, re.M)]
    golden = iter(sizes)
    text = re.sub(r"^[0-9a-f]+$", lambda _: f"{next(golden):x}", text, flags=re.M)
    assert text == GOLDEN


def test_chat_stream(stage: Any, kit: Any) -> None:
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    reply = stage.connect().call("/v1/chat/completions", kit.chat(**fields))
    assert reply.complete
    *events, usage, done = reply.events
    assert done is None
    chunks = [chat_types.ChatCompletionChunk.model_validate(e) for e in events]
    assert len({c.id for c in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    contents = [c.choices[0].delta.content for c in chunks[1:-1]]
    assert all(contents)
    assert "".join(contents) == kit.script.decode()
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(c.choices[0].finish_reason is None for c in chunks[:-1])
    assert all(e["usage"] is None for e in events)
    last = chat_types.ChatCompletionChunk.model_validate(usage)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 6
    assert last.usage.total_tokens == 26


def test_completion_stream(stage: Any) -> None:
    body = {"prompt": "x", "stream": True, "stop": ["kind"]}
    *events, done = stage.connect().call("/v1/completions", body).events
    assert done is None
    chunks = [types.Completion.construct(**e) for e in events]
    assert "".join(c.choices[0].text for c in chunks) == "Hello there, "
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all("usage" not in e for e in events)


def test_a_token_is_a_segment_at_once(stage: Any, kit: Any) -> None:
    client = stage.connect()
    client.send(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    assert b'"role":"assistant"' in client.drain()
    for word in kit.script.decode().split(" "):
        stage.tick()
        fresh = client.drain().decode()
        assert fresh.count('"content":') == 1
        assert word in fresh


def test_comment_lines_while_silent(stage: Any, kit: Any) -> None:
    client = stage.connect()
    client.send(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    client.drain()
    comments = 0
    for _ in range(40):
        stage.tick(kit.second, step=False)
        fresh = client.drain()
        comments += fresh.count(b"\r\n:")
        assert b"data" not in fresh
    assert comments == 4
    (reply,) = kit.read_replies(client.received + client.run(), ["POST"])
    assert reply.events[-1] is None


def test_every_cut_looks_cut(stage: Any, kit: Any) -> None:
    client = stage.connect()
    client.send(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    raw = client.run()
    for end in range(len(raw) - 1):
        (reply,) = kit.read_replies(raw[:end], ["POST"], closed=True)
        assert not reply.complete
    (reply,) = kit.read_replies(raw, ["POST"])
    assert reply.complete


@pytest.mark.parametrize("stream", [True, False])
def test_when_the_engine_gives_up(stage: Any, kit: Any, stream: bool) -> None:
    """Before the first byte an error, afterwards a cut; never a reply that looks whole."""
    client = stage.connect()
    client.send(kit.request("/v1/chat/completions", kit.chat(stream=stream)))
    stage.backend.cancel(0)
    raw = client.run()
    (reply,) = kit.read_replies(raw, ["POST"], closed=client.closed)
    if stream:
        assert client.closed
        assert not reply.complete
        assert b"[DONE]" not in reply.body
    else:
        assert reply.status == 503
        assert reply.complete
    assert stage.busy_slots == 0


def test_http_1_0(stage: Any, kit: Any) -> None:
    client = stage.connect()
    raw = kit.request("/v1/chat/completions", kit.chat(stream=True)).replace(
        b"HTTP/1.1", b"HTTP/1.0"
    )
    client.send(raw)
    head, body = client.run().split(b"\r\n\r\n", 1)
    assert b"chunked" not in head
    assert b"Connection: close" in head
    assert body.endswith(b"data: [DONE]\n\n")
    assert client.closed


def test_long_whole_reply(impl: Any, kit: Any) -> None:
    """A text larger than any buffer arrives whole, past a client that reads in sips."""
    script = ('\x01"\\é👋 ' * 1500).encode()
    stage = kit.stage(impl, script=script, output_bytes=8_000)
    stage.backend.context = 5000
    client = stage.connect()
    client.send(kit.request("/v1/chat/completions", kit.chat()))
    for _ in range(1700):
        stage.tick()
        client.drain(limit=100)
    (reply,) = kit.read_replies(client.received + client.run(200), ["POST"])
    assert reply.json["choices"][0]["message"]["content"] == script.decode()


def test_a_client_that_does_not_read_stops_only_itself(impl: Any, kit: Any) -> None:
    stage = kit.stage(impl, script=b"word " * 300, output_bytes=8_000)
    stage.backend.context = 5000
    lazy, keen = stage.connect(), stage.connect()
    for client in (lazy, keen):
        client.send(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    for _ in range(320):
        stage.tick()
        keen.drain()
    (reply,) = kit.read_replies(keen.received, ["POST"])
    assert len(reply.events) == 303
    (reply,) = kit.read_replies(lazy.run(200), ["POST"])
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in reply.events[:-1])
    assert text == "word " * 300


def test_two_clients_at_once(stage: Any, kit: Any) -> None:
    stage.backend.active_max = 1
    clients = [stage.connect() for _ in range(3)]
    for client in clients:
        client.send(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    for client in clients:
        (reply,) = kit.read_replies(client.run(), ["POST"])
        assert reply.events[-1] is None
    assert stage.busy_slots == 0
