"""The JSON documents of the OpenAI API that we send, one function each.

Source: the OpenAI API reference, objects `chat.completion`, `chat.completion.chunk`,
`text_completion`, `model`, `list`; the field `timings` is llama-server's. Every function writes a
complete document, or (for a reply that is sent while it is generated) its start or its end; the
text between the two is escaped by `json_writer.write_escaped`.
"""

from bare import Bytes, Struct, u32, u64
from bare.text import Writer
from merlion.serve.json_writer import write_string


class Completion(Struct):
    """What all documents about one completion repeat."""

    chat: bool
    include_usage: bool
    id_high: u64
    id_low: u64
    created: u64  # Unix time in seconds.
    model: Bytes


class Usage(Struct):
    """Token counts and times of a finished completion."""

    prompt_tokens: u32
    completion_tokens: u32
    cached_tokens: u32
    prompt_ns: u64
    predicted_ns: u64


def write_id(out: Writer, completion: Completion) -> None:
    """The identifier, equal in all chunks of a completion."""
    out.text(b"chatcmpl-" if completion.chat else b"cmpl-")
    out.hex(completion.id_high, 16)
    out.hex(completion.id_low, 16)


def write_start(out: Writer, completion: Completion, kind: Bytes) -> None:
    """The fields up to the choices."""
    out.text(b'{"id":"')
    write_id(out, completion)
    out.text(b'","object":"')
    out.text(kind)
    out.text(b'","created":')
    out.unsigned(completion.created)
    out.text(b',"model":')
    write_string(out, completion.model)
    out.text(b',"system_fingerprint":"merlion","choices":[')


def chunk_start(out: Writer, completion: Completion) -> None:
    """A stream's chunk up to the text of its delta, inside the string."""
    if completion.chat:
        write_start(out, completion, b"chat.completion.chunk")
        out.text(b'{"index":0,"delta":{"content":"')
    else:
        write_start(out, completion, b"text_completion")
        out.text(b'{"index":0,"text":"')


def chunk_end(out: Writer, completion: Completion) -> None:
    """What follows the text of a delta."""
    out.text(b'"}' if completion.chat else b'"')
    out.text(b',"logprobs":null,"finish_reason":null}]')
    close_chunk(out, completion)


def close_chunk(out: Writer, completion: Completion) -> None:
    """With usage asked for, every chunk but the last says `usage: null`."""
    out.text(b',"usage":null}' if completion.include_usage else b"}")


def role_chunk(out: Writer, completion: Completion) -> None:
    """The first chunk of a chat stream."""
    write_start(out, completion, b"chat.completion.chunk")
    out.text(b'{"index":0,"delta":{"role":"assistant","content":""}')
    out.text(b',"logprobs":null,"finish_reason":null}]')
    close_chunk(out, completion)


def finish_chunk(out: Writer, completion: Completion, finish: Bytes) -> None:
    """The last chunk with a choice: why the text ends."""
    if completion.chat:
        write_start(out, completion, b"chat.completion.chunk")
        out.text(b'{"index":0,"delta":{}')
    else:
        write_start(out, completion, b"text_completion")
        out.text(b'{"index":0,"text":""')
    out.text(b',"logprobs":null,"finish_reason":"')
    out.text(finish)
    out.text(b'"}]')
    close_chunk(out, completion)


def usage_chunk(out: Writer, completion: Completion, usage: Usage) -> None:
    """The chunk without choices that `stream_options.include_usage` asks for."""
    write_start(
        out, completion, b"chat.completion.chunk" if completion.chat else b"text_completion"
    )
    out.text(b"]")
    write_usage(out, usage)
    out.text(b"}")


def write_usage(out: Writer, usage: Usage) -> None:
    """`usage` and `timings`, with the comma before them."""
    out.text(b',"usage":{"prompt_tokens":')
    out.unsigned(usage.prompt_tokens)
    out.text(b',"completion_tokens":')
    out.unsigned(usage.completion_tokens)
    out.text(b',"total_tokens":')
    out.unsigned(u64(usage.prompt_tokens) + usage.completion_tokens)
    out.text(b',"prompt_tokens_details":{"cached_tokens":')
    out.unsigned(usage.cached_tokens)
    out.text(b'}},"timings":{"prompt_n":')
    out.unsigned(usage.prompt_tokens)
    out.text(b',"prompt_ms":')
    write_ms(out, usage.prompt_ns)
    out.text(b',"predicted_n":')
    out.unsigned(usage.completion_tokens)
    out.text(b',"predicted_ms":')
    write_ms(out, usage.predicted_ns)
    out.text(b"}")


def write_ms(out: Writer, duration_ns: u64) -> None:
    """Nanoseconds as milliseconds with three digits after the point."""
    write_scaled(out, duration_ns // 1000, 1000, 3)


def write_scaled(out: Writer, value: u64, unit: u64, digits: u32) -> None:
    """`value / unit` as a decimal fraction; `unit` is ten to the power of `digits`."""
    out.unsigned(value // unit)
    out.byte(0x2E)
    rest = value % unit
    place = unit // 10
    for _ in range(digits):
        out.unsigned(rest // place % 10)
        place = max(place // 10, 1)


def reply_start(out: Writer, completion: Completion) -> None:
    """A whole (not streamed) reply up to its text, inside the string."""
    if completion.chat:
        write_start(out, completion, b"chat.completion")
        out.text(b'{"index":0,"message":{"role":"assistant","content":"')
    else:
        write_start(out, completion, b"text_completion")
        out.text(b'{"index":0,"text":"')


def reply_end(out: Writer, completion: Completion, finish: Bytes, usage: Usage) -> None:
    """What follows the text of a whole reply."""
    out.text(b'","refusal":null}' if completion.chat else b'"')
    out.text(b',"logprobs":null,"finish_reason":"')
    out.text(finish)
    out.text(b'"}]')
    write_usage(out, usage)
    out.text(b"}")


def write_model(out: Writer, model: Bytes, created: u64, context_tokens: u64) -> None:
    """One `model` object."""
    out.text(b'{"id":')
    write_string(out, model)
    out.text(b',"object":"model","created":')
    out.unsigned(created)
    out.text(b',"owned_by":"merlion","meta":{"n_ctx":')
    out.unsigned(context_tokens)
    out.text(b"}}")


def write_props(out: Writer, model: Bytes, context_tokens: u64, slots: u32) -> None:
    """What llama-server's clients ask `/props` for."""
    out.text(b'{"default_generation_settings":{"n_ctx":')
    out.unsigned(context_tokens)
    out.text(b'},"total_slots":')
    out.unsigned(slots)
    out.text(b',"model_alias":')
    write_string(out, model)
    out.text(b',"build_info":"merlion"}')
