"""Every endpoint and every error, through the whole server."""

import json
from typing import Any

import openai.types as types
import openai.types.chat as chat_types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bare.testing import implementations
from merlion.serve.fields import FIELDS

impl = implementations("merlion.serve.server", "merlion.serve.scripted")


@pytest.fixture
def stage(impl: Any, kit: Any) -> Any:
    return kit.stage(impl)


def check_error(reply: Any, status: int, kind: str, *, param: str | None = None) -> Any:
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    error = reply.json["error"]
    assert error["type"] == kind
    assert error["param"] == param
    assert isinstance(error["message"], str)
    assert "code" in error
    return error


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
def test_chat(stage: Any, kit: Any, path: str) -> None:
    reply = stage.connect().call(path, kit.chat(user="u", metadata={"a": [1]}, seed=None))
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["access-control-allow-origin"] == "*"
    completion = chat_types.ChatCompletion.model_validate(reply.json, strict=True)
    assert completion.choices[0].message.content == kit.script.decode()
    assert completion.choices[0].finish_reason == "stop"
    assert completion.model == "smol"
    assert completion.created == 1_700_000_005
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == len("<user>hi\n<assistant>")
    assert completion.usage.completion_tokens == 6
    assert completion.usage.total_tokens == 26
    assert stage.busy_slots == 0


def test_completions(stage: Any, kit: Any) -> None:
    for prompt in ("abc", ["abc"], [97, 98, 99]):
        reply = stage.connect().call("/v1/completions", {"prompt": prompt, "max_tokens": 2})
        completion = types.Completion.model_validate(reply.json, strict=True)
        assert completion.choices[0].text == "Hello there, "
        assert completion.choices[0].finish_reason == "length"
        assert completion.usage is not None
        assert completion.usage.prompt_tokens == 3


def test_models(stage: Any) -> None:
    client = stage.connect()
    reply = client.call("/v1/models")
    (model,) = reply.json["data"]
    assert types.Model.model_validate(model, strict=True).id == "smol"
    assert client.call("/v1/models/smol").json == model
    check_error(client.call("/models/other"), 404, "invalid_request_error", param="model")


def test_health_while_loading(stage: Any, kit: Any) -> None:
    client = stage.connect()
    assert client.call("/health").json == {"status": "ok"}
    stage.backend.loaded = False
    reply = client.call("/health")
    check_error(reply, 503, "unavailable_error")
    assert int(reply.headers["retry-after"]) > 0
    assert client.call("/v1/models").json["data"] == []
    reply = client.call("/v1/chat/completions", kit.chat())
    assert check_error(reply, 503, "unavailable_error")["message"] == "Loading model"
    assert "vllm:num_requests_running 0" in client.call("/metrics").body.decode()


def test_tokenize_and_back(stage: Any) -> None:
    client = stage.connect()
    reply = client.call("/tokenize", {"content": 'a"b\n', "add_special": False})
    assert reply.json == {"tokens": list(b'a"b\n'), "count": 4}
    reply = client.call("/detokenize", {"tokens": list('é"\n'.encode())})
    assert reply.json == {"content": 'é"\n'}
    check_error(client.call("/tokenize", {}), 400, "invalid_request_error", param="content")
    check_error(
        client.call("/detokenize", {"tokens": [-1]}), 400, "invalid_request_error", param="tokens"
    )


def test_a_slow_client_of_tokenize_keeps_nobody_waiting(stage: Any, kit: Any) -> None:
    slow = stage.connect()
    slow.send(kit.request("/tokenize", {"content": "abc"}))
    assert stage.connect().call("/tokenize", {"content": "ab"}).json["count"] == 2
    slow.run()
    assert slow.received.endswith(b'"count":3}')


def test_props(stage: Any, kit: Any) -> None:
    props = stage.connect().call("/props").json
    assert props["default_generation_settings"]["n_ctx"] == kit.context
    assert props["total_slots"] == 8


def test_page(stage: Any) -> None:
    reply = stage.connect().call("/")
    assert reply.headers["content-type"].startswith("text/html")
    assert int(reply.headers["content-length"]) == len(reply.body)
    page = reply.body.decode()
    assert "/v1/chat/completions" in page
    assert "http://" not in page
    assert "https://" not in page


def test_head_has_no_body(stage: Any, kit: Any) -> None:
    client = stage.connect()
    for path in ("/", "/health", "/v1/models", "/metrics"):
        reply = client.ask(kit.request(path, method="HEAD"), "HEAD")
        assert reply.status == 200
        assert reply.body == b""
        assert int(reply.headers["content-length"]) > 0


def test_options_comes_before_the_key(impl: Any, kit: Any) -> None:
    client = kit.stage(impl, api_key=b"secret").connect()
    reply = client.ask(kit.request("/v1/chat/completions", method="OPTIONS"), "OPTIONS")
    assert reply.status == 204
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert "Authorization" in reply.headers["access-control-allow-headers"]
    assert client.ask(kit.request("*", method="OPTIONS"), "OPTIONS").status == 204


def test_api_key(impl: Any, kit: Any) -> None:
    stage = kit.stage(impl, api_key=b"secret")
    client = stage.connect()
    check_error(client.call("/v1/models"), 401, "authentication_error")
    for wrong in ("Bearer secre", "Bearer secret2", "secret", "Basic secret", "Bearer "):
        reply = client.call("/v1/models", authorization=wrong)
        check_error(reply, 401, "authentication_error")
    assert client.call("/v1/models", authorization="Bearer secret").status == 200
    assert client.call("/v1/models", authorization="bearer  secret").status == 200
    assert client.call("/v1/models", x_api_key="secret").status == 200
    assert client.call("/health").status == 200
    assert client.call("/").status == 200
    reply = client.call("/v1/chat/completions", kit.chat())
    check_error(reply, 401, "authentication_error")
    assert reply.headers["connection"] == "close"
    assert client.closed


def test_unknown_path_and_method(stage: Any, kit: Any) -> None:
    client = stage.connect()
    check_error(client.call("/v1/nothing"), 404, "not_found_error")
    check_error(client.call("/v1"), 404, "not_found_error")
    reply = client.call("/v1/chat/completions")
    check_error(reply, 405, "invalid_request_error")
    assert reply.headers["allow"] == "POST, OPTIONS"
    reply = client.ask(kit.request("/health", method="DELETE"), "DELETE")
    check_error(reply, 405, "invalid_request_error")
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS"


BAD = [
    ({"messages": 5}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [5]}, "messages"),
    ({"messages": [{}]}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
    ({"messages": [{"role": 3, "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages"),
    ({"messages": [{"role": "user", "content": [3]}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages"),
    ({"messages": None}, "messages"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": []}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_completion_tokens": -5}, "max_completion_tokens"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"repeat_penalty": 0}, "repeat_penalty"),
    ({"repeat_last_n": 5000}, "repeat_last_n"),
    ({"seed": "x"}, "seed"),
    ({"stream": 1}, "stream"),
    ({"stream_options": 1}, "stream_options"),
    ({"stop": 5}, "stop"),
    ({"stop": [5]}, "stop"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": "a" * 300}, "stop"),
    ({"n": 2}, "n"),
    ({"n": "1"}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"tools": {}}, "tools"),
    ({"functions": [{}]}, "functions"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": {}}, "response_format"),
]


@pytest.mark.parametrize(("fields", "param"), BAD)
def test_bad_fields(stage: Any, kit: Any, fields: Any, param: str) -> None:
    client = stage.connect()
    reply = client.call("/v1/chat/completions", kit.chat() | fields)
    error = check_error(reply, 400, "invalid_request_error", param=param)
    assert error["message"]
    assert param != "max_tokens" or "or -1" in error["message"]
    assert stage.busy_slots == 0
    assert client.call("/health").status == 200  # The connection goes on.


def test_accepted_fields(stage: Any, kit: Any) -> None:
    fields = {
        "max_tokens": None,
        "max_completion_tokens": 3,
        "temperature": -1,
        "top_k": 10**12,
        "top_p": 7,
        "min_p": -0.5,
        "presence_penalty": 1.5,
        "frequency_penalty": -0.5,
        "repeat_penalty": 1.25,
        "repeat_last_n": 7,
        "seed": 42,
        "ignore_eos": True,
        "n": 1,
        "logprobs": False,
        "logit_bias": {},
        "tools": [],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "stream_options": None,
        "stop": ["zzz", "", "bye"],
        "store": False,
        "modalities": ["text"],
        "reasoning": {"effort": {"deep": [[]]}},
    }
    reply = stage.connect().call("/v1/chat/completions", kit.chat() | fields)
    assert reply.status == 200
    params = stage.backend.last_params
    assert params.max_tokens == 3
    assert params.temperature == 0.0
    assert params.top_k == 1 << 20
    assert params.top_p == 1.0
    assert params.min_p == 0.0
    assert params.presence_penalty == 1.5
    assert params.frequency_penalty == -0.5
    assert params.repeat_penalty == 1.25
    assert params.penalty_last_n == 7
    assert params.seed == 42
    assert params.ignore_eos
    assert params.stop_count == 2
    assert bytes(params.stop[1].text()) == b"bye"


def test_defaults(stage: Any, kit: Any) -> None:
    stage.connect().call("/v1/chat/completions", kit.chat())
    params = stage.backend.last_params
    assert params.temperature == pytest.approx(0.8)
    assert params.top_k == 40
    assert params.top_p == pytest.approx(0.95)
    assert params.min_p == pytest.approx(0.05)
    assert params.repeat_penalty == 1.0
    assert params.max_tokens == kit.context - 20
    assert params.stop_count == 0
    first = params.seed
    stage.connect().call("/v1/chat/completions", kit.chat())
    assert params.seed != first


def test_tools_that_may_not_be_called(stage: Any, kit: Any) -> None:
    fields = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}
    assert stage.connect().call("/v1/chat/completions", kit.chat() | fields).status == 200


def test_messages_become_the_prompt(stage: Any) -> None:
    messages = [
        {"role": "developer", "content": "be 👋 \"kind\""},
        {"name": "x", "content": [{"text": "a\n", "type": "text"}, {"type": "text", "text": "b"}],
         "role": "user"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
        {"role": "tool", "content": [], "tool_call_id": "c"},
    ]  # fmt: skip
    for ascii_only in (True, False):
        raw = json.dumps({"messages": messages}, ensure_ascii=ascii_only).encode()
        assert stage.connect().call("/v1/chat/completions", raw).status == 200
        count = stage.backend.prompt_count
        prompt = bytes(list(stage.backend.prompt[:count])).decode()
        assert prompt == ('<system>be 👋 "kind"\n<user>a\n\nb\n<assistant>\n<tool>\n<assistant>')


BROKEN_INSIDE = (b'{"tools": [{"a": {"b": ]}}]}', b'{"messages": [{]}', b'{"stop": ["b" 2]}')
BAD_JSON = (b"", b"{", b"[]", b"{}x", b'{"messages": "\xff"}', b'{"a": "\\ud800"}', b"\x00")


@pytest.mark.parametrize("raw", BAD_JSON + BROKEN_INSIDE)
def test_bad_json(stage: Any, raw: bytes) -> None:
    reply = stage.connect().call("/v1/chat/completions", raw)
    error = check_error(reply, 400, "invalid_request_error")
    assert error["code"] == "invalid_json"


def test_missing_prompt(stage: Any) -> None:
    client = stage.connect()
    check_error(
        client.call("/v1/chat/completions", {}), 400, "invalid_request_error", param="messages"
    )
    check_error(client.call("/v1/completions", {}), 400, "invalid_request_error", param="prompt")
    for prompt in (5, {}, [["a"]], ["a", "b"], [1, "a"], [1.5], [-1], [99999]):
        reply = client.call("/v1/completions", {"prompt": prompt})
        check_error(reply, 400, "invalid_request_error", param="prompt")


@pytest.mark.parametrize("length", [479, 480, 481, 1900, 3000])
def test_context_is_checked_before_any_header(stage: Any, kit: Any, length: int) -> None:
    for stream in (False, True):
        reply = stage.connect().call("/v1/chat/completions", kit.chat("x" * length, stream=stream))
        if length + 18 < kit.context:
            assert reply.status == 200
            continue
        error = check_error(reply, 400, "exceed_context_size_error", param="messages")
        assert error["code"] == "context_length_exceeded"
        assert error["n_ctx"] == kit.context
        assert error["n_prompt_tokens"] >= kit.context
        if length < 1900:
            assert error["n_prompt_tokens"] == length + 18


def test_unknown_template(stage: Any, kit: Any) -> None:
    stage.backend.knows_template = False
    reply = stage.connect().call("/v1/chat/completions", kit.chat())
    error = check_error(reply, 400, "invalid_request_error", param="messages")
    assert "template" in error["message"]
    assert stage.connect().call("/v1/completions", {"prompt": "x"}).status == 200


def test_queue_full(stage: Any, kit: Any) -> None:
    stage.backend.queue_max = 1
    waiting = stage.connect()
    waiting.send(kit.request("/v1/chat/completions", kit.chat()))
    reply = stage.connect()
    reply.send(kit.request("/v1/chat/completions", kit.chat(stream=True)))
    raw = reply.drain()
    (answer,) = kit.read_replies(raw, ["POST"])
    check_error(answer, 429, "rate_limit_error")
    assert int(answer.headers["retry-after"]) > 0
    (answer,) = kit.read_replies(waiting.run(), ["POST"])
    assert answer.status == 200


def test_metrics(stage: Any, kit: Any) -> None:
    client = stage.connect()
    client.call("/v1/chat/completions", kit.chat())
    client.call("/v1/chat/completions", kit.chat(max_tokens=1))
    client.call("/nothing")
    text = client.call("/metrics").body.decode()
    values = {}
    typed = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name] = float(value)
            base = name.split("{")[0]
            for suffix in ("_bucket", "_sum", "_count"):
                if base.removesuffix(suffix) in typed:
                    base = base.removesuffix(suffix)
            assert base in typed
    assert values["llamacpp:prompt_tokens_total"] == 40
    assert values["llamacpp:tokens_predicted_total"] == 7
    assert values["llamacpp:n_decode_total"] == 7
    assert values["llamacpp:requests_processing"] == 0
    assert values["llamacpp:requests_deferred"] == 0
    assert values['vllm:request_success_total{finished_reason="stop"}'] == 1
    assert values['vllm:request_success_total{finished_reason="length"}'] == 1
    assert values["vllm:time_to_first_token_seconds_count"] == 2
    assert values["vllm:inter_token_latency_seconds_count"] == 5
    assert values["vllm:inter_token_latency_seconds_sum"] == pytest.approx(0.005)
    assert values['vllm:inter_token_latency_seconds_bucket{le="0.001"}'] == 5
    assert values['vllm:e2e_request_latency_seconds_bucket{le="+Inf"}'] == 2
    assert values["merlion:http_errors_total"] == 1
    assert values["merlion:connections"] == 1


NAMES = [field.name.decode() for field in FIELDS] + ["messages", "prompt", "role", "content", "x"]
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(-3, 3) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, "type", "text", "include_usage"]), inner)
    ),
    max_leaves=6,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fields=st.dictionaries(st.sampled_from(NAMES), ANY_VALUE, max_size=4),
    path=st.sampled_from(["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"]),
    whole=st.booleans(),
)
def test_any_fields(impl: Any, kit: Any, fields: Any, path: str, whole: bool) -> None:
    """Whatever the fields hold, the answer is a completion or a 400 that blames the client."""
    stage = kit.stage(impl)
    base = kit.chat() | {"prompt": "x", "content": "x", "tokens": [1]} if whole else {}
    reply = stage.connect().call(path, base | fields)
    assert reply.complete
    assert reply.status in (200, 400)
    assert stage.busy_slots == 0
