"""Connections: cut segments, pipelining, large bodies, slow clients, clients that leave."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bare.testing import implementations

impl = implementations("merlion.serve.server", "merlion.serve.scripted")


@pytest.fixture
def stage(impl: Any, kit: Any) -> Any:
    return kit.stage(impl)


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


REQUESTS = {
    "get": (b"\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n", ["GET"]),
    "chat": (b"", ["POST"]),
    "chunks": (b"", ["POST"]),
    "expect": (b"", ["POST"]),
    "bad": (b"GET /health HTTP/1.1\r\nA : b\r\n\r\n", ["GET"]),
    "bad chunk": (
        b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ["POST"],
    ),
    "pipelined": (
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
        b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n"
        b'{"content":"abc"}GET /no HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
        ["GET", "GET", "POST", "GET"],
    ),
}


def build(kit: Any, name: str) -> tuple[bytes, list[str]]:
    raw, methods = REQUESTS[name]
    body = json.dumps(kit.chat("é👋", stream=True)).encode()
    if name == "chat":
        raw = kit.request("/v1/chat/completions", body)
    if name == "expect":
        raw = kit.request("/v1/chat/completions", body, expect="100-continue")
    if name == "chunks":
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost:x\r\ntransfer-encoding: Chunked\r\n\r\n"
        raw = head + chunked(body, 7)
    return raw, methods


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("cut", [1, 3, 64])
def test_segments_do_not_matter(impl: Any, kit: Any, name: str, cut: int) -> None:
    answers = []
    for size in (0, cut):
        stage = kit.stage(impl)
        client = stage.connect()
        raw, methods = build(kit, name)
        assert client.send(raw, size) == len(raw)
        answers.append(client.run(100))
        expected = b"HTTP/1.1 100 Continue\r\n\r\n" if name == "expect" else b"HTTP/1.1 "
        assert answers[-1].startswith(expected)
        replies = kit.read_replies(answers[-1], methods, closed=client.closed)
        assert len(replies) == len(methods)
        assert all(reply.complete for reply in replies)
        assert stage.busy_slots == 0
    assert answers[0] == answers[1]


def test_pipelined_replies_in_order(stage: Any, kit: Any) -> None:
    raw, methods = build(kit, "pipelined")
    client = stage.connect()
    client.send(raw)
    replies = kit.read_replies(client.run(), methods, closed=True)
    assert [r.status for r in replies] == [200, 200, 200, 404]
    assert replies[2].json["tokens"] == [97, 98, 99]
    assert client.closed


def test_pipelined_behind_a_stream(stage: Any, kit: Any) -> None:
    client = stage.connect()
    one = kit.request("/v1/chat/completions", kit.chat(stream=True))
    client.send(one + one + kit.request("/health"))
    replies = kit.read_replies(client.run(), ["POST", "POST", "GET"])
    assert [r.status for r in replies] == [200, 200, 200]
    assert stage.backend.next_order == 2


@pytest.mark.parametrize("size", [16_000, 32_000, 60_000])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_large_bodies(impl: Any, kit: Any, size: int, framing: str) -> None:
    stage = kit.stage(impl)
    body = json.dumps(kit.chat() | {"metadata": "x" * size}).encode()
    raw = kit.request("/v1/chat/completions", body)
    if framing == "chunks":
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost:x\r\ntransfer-encoding: chunked\r\n\r\n"
        raw = head + chunked(body, 5000)
    for cut in (0, 1400):
        client = stage.connect()
        reply = client.ask(raw, "POST", cut)
        assert reply.status == 200
        assert reply.json["choices"][0]["message"]["content"] == kit.script.decode()
        client.hangup()


def test_too_large_is_refused_before_the_body(stage: Any, kit: Any) -> None:
    head = kit.request("/v1/chat/completions", b"", expect="100-continue")
    head = head.replace(b"content-length: 0", b"content-length: 70001")
    client = stage.connect()
    reply = client.ask(head, "POST")
    assert reply.status == 413
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert b"100 Continue" not in client.received
    assert client.closed
    client = stage.connect()
    head = b"POST /tokenize HTTP/1.1\r\nhost:x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert client.ask(head + chunked(b"x" * 71_000, 9000), "POST").status == 413


def test_the_large_buffer_is_shared(impl: Any, kit: Any) -> None:
    stage = kit.stage(impl)
    body = json.dumps(kit.chat() | {"metadata": "x" * 50_000}).encode()
    raw = kit.request("/v1/chat/completions", body)
    first, second = stage.connect(), stage.connect()
    assert first.send(raw[:45_000], 1400) == 45_000
    taken = second.send(raw, 1400)
    assert taken < len(raw)  # It waits, and we take no more than its own buffer holds.
    stage.tick()
    assert second.drain() == b""
    first.send(raw[45_000:])
    (reply,) = kit.read_replies(first.run(), ["POST"])
    assert reply.status == 200
    second.send(raw[taken:])
    (reply,) = kit.read_replies(second.run(), ["POST"])
    assert reply.status == 200


def test_waiting_for_the_large_buffer_ends(stage: Any, kit: Any) -> None:
    raw = kit.request("/v1/chat/completions", b"x" * 50_000)
    first, second = stage.connect(), stage.connect()
    first.send(raw[:45_000])
    second.send(raw)
    for _ in range(12):
        stage.tick(kit.second)
    (reply,) = kit.read_replies(second.run(), ["POST"], closed=True)
    assert reply.status == 503
    assert second.closed
    first.hangup()
    assert stage.connect().call("/tokenize", {"content": "a"}).status == 200


def test_too_many_connections(stage: Any) -> None:
    clients = [stage.connect() for _ in range(4)]
    assert stage.server.open(stage.now) is None
    clients[2].hangup()
    assert stage.server.open(stage.now) == 2
    assert stage.server.open(stage.now) is None


def test_idle_connections_make_way(stage: Any, kit: Any) -> None:
    """A full house closes the connection that has been idle longest."""
    clients = [stage.connect() for _ in range(4)]
    stage.tick(2 * kit.second)
    clients[0].call("/health")
    stage.tick(2 * kit.second)
    assert stage.server.open(stage.now) is None
    for client in clients:
        client.drain()
    assert [client.closed for client in clients] == [False, True, False, False]
    assert stage.server.open(stage.now) == 1


@pytest.mark.parametrize(
    ("sent", "after_s", "status"),
    [
        (b"", 76, 0),
        (b"GET / HT", 21, 408),
        (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", 31, 408),
    ],
)
def test_slow_clients(stage: Any, kit: Any, sent: bytes, after_s: int, status: int) -> None:
    client = stage.connect()
    client.send(sent)
    stage.tick((after_s - 2) * kit.second)
    client.drain()
    assert not client.closed
    stage.tick(3 * kit.second)
    raw = client.run()
    assert client.closed
    if status:
        (reply,) = kit.read_replies(raw, ["GET"], closed=True)
        assert reply.status == status
    else:
        assert raw == b""


def test_a_body_that_drips_for_ever(stage: Any, kit: Any) -> None:
    client = stage.connect()
    client.send(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
    for _ in range(3):
        assert not client.closed
        client.send(b"x")
        stage.tick(12 * kit.second)
    assert b" 408 " in client.run()
    assert client.closed


def test_a_head_that_drips_for_ever(stage: Any, kit: Any) -> None:
    client = stage.connect()
    for _ in range(22):
        client.send(b"G")
        stage.tick(kit.second)
    assert b" 408 " in client.run()


def test_a_client_that_never_reads(stage: Any, kit: Any) -> None:
    client = stage.connect()
    client.send(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    for _ in range(3):
        stage.tick(step=False)
    stage.tick(61 * kit.second, step=False)
    assert client.run() == b""
    assert client.closed
    assert stage.busy_slots == 0


PHASES = ["queued", "decoding", "done", "whole"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", ["hangup", "fin"])
def test_leaving_frees_the_slot_at_once(stage: Any, kit: Any, phase: str, how: str) -> None:
    stage.backend.active_max = 0 if phase == "queued" else 8
    client = stage.connect()
    client.send(kit.request("/v1/chat/completions", kit.chat(stream=phase != "whole")))
    for _ in range({"queued": 1, "decoding": 3, "done": 7, "whole": 3}[phase]):
        stage.tick()
    if phase == "done":
        client.drain(limit=50)
    if how == "hangup":
        client.hangup()
    else:
        stage.server.finish_input(client.index)
        client.drain()
        stage.tick()
        client.drain()
    assert client.closed
    assert stage.busy_slots == 0
    if phase != "done":
        assert stage.backend.cancel_count == 1
        stage.backend.active_max = 8
        page = stage.connect().call("/metrics").body.decode()
        assert 'finished_reason="abort"} 1' in page
    assert stage.connect().call("/v1/chat/completions", kit.chat()).status == 200


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /hea", b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\nxx"],
)
def test_leaving_while_sending(stage: Any, sent: bytes) -> None:
    client = stage.connect()
    client.send(sent)
    stage.server.finish_input(client.index)
    client.drain()
    assert client.closed
    other = stage.connect()
    other.send(sent)
    other.hangup()
    assert stage.connect().call("/tokenize", {"content": "a"}).status == 200


def test_finished_replies_survive_a_half_close(stage: Any, kit: Any) -> None:
    client = stage.connect()
    client.send(kit.request("/"))
    stage.server.finish_input(client.index)
    (reply,) = kit.read_replies(client.run(), ["GET"], closed=True)
    assert reply.complete
    assert client.closed


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    parts=st.lists(
        st.binary(max_size=30)
        | st.sampled_from(
            [
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET /health HTTP/1.1\r\n",
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n",
                b'{"messages":[{"role":"user","content":"x"}],"stream":true  }',
                b"Transfer-Encoding: chunked\r\n",
                b"5\r\nhello\r\n0\r\n\r\n",
                b"\r\n\r\n",
            ]
        ),
        max_size=6,
    ),
    cut=st.integers(0, 5),
)
def test_no_input_traps(impl: Any, kit: Any, parts: list[bytes], cut: int) -> None:
    stage = kit.stage(impl)
    client = stage.connect()
    for part in parts:
        if not client.closed:
            client.send(part, cut)
            stage.tick()
            client.drain()
    stage.tick(100 * kit.second)
    client.drain()
    if not client.closed:
        client.hangup()
    assert stage.busy_slots == 0
    assert stage.connect().call("/health").status == 200
