"""The fields of a request that mean something here: name, kind, and what to say when it is wrong.

A table, so that one loop checks them all; `openai.py` gives each its effect.
"""

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """What a field's value must be."""

    NUMBER = 0
    INTEGER = 1
    FLAG = 2
    EMPTY = 3  # A feature we lack: only a value that asks for nothing is accepted.
    ONE = 4  # A count of results: only one is given.
    OTHER = 5


class FieldId(IntEnum):
    """Fields with an effect, and NONE for those that are only checked."""

    NONE = 0
    TEMPERATURE = 1
    TOP_P = 2
    TOP_K = 3
    MIN_P = 4
    PRESENCE_PENALTY = 5
    FREQUENCY_PENALTY = 6
    REPEAT_PENALTY = 7
    REPEAT_LAST_N = 8
    MAX_TOKENS = 9
    SEED = 10
    STREAM = 11
    IGNORE_EOS = 12
    STOP = 13
    STREAM_OPTIONS = 14
    RESPONSE_FORMAT = 15
    TOOLS = 16
    TOOL_CHOICE = 17
    CACHE_PROMPT = 18


@dataclass(frozen=True, slots=True)
class Field:
    """One known field."""

    name: bytes
    kind: Kind
    field: FieldId
    message: bytes


def _field(name: str, kind: Kind, field: FieldId, must: str) -> Field:
    """Build an entry whose message repeats the name."""
    return Field(name.encode(), kind, field, f"{name} {must}.".encode())


REPLY_TOKENS = "must be an integer of at least 1, or -1: to the end of the context"
NOT_SUPPORTED = "is not supported: leave it out"

FIELDS = (
    _field("temperature", Kind.NUMBER, FieldId.TEMPERATURE, "must be a number"),
    _field("top_p", Kind.NUMBER, FieldId.TOP_P, "must be a number"),
    _field("top_k", Kind.NUMBER, FieldId.TOP_K, "must be a number"),
    _field("min_p", Kind.NUMBER, FieldId.MIN_P, "must be a number"),
    _field(
        "presence_penalty", Kind.NUMBER, FieldId.PRESENCE_PENALTY, "must be a number from -2 to 2"
    ),
    _field(
        "frequency_penalty", Kind.NUMBER, FieldId.FREQUENCY_PENALTY, "must be a number from -2 to 2"
    ),
    _field(
        "repeat_penalty", Kind.NUMBER, FieldId.REPEAT_PENALTY, "must be a number from 0.01 to 10"
    ),
    _field(
        "repeat_last_n", Kind.INTEGER, FieldId.REPEAT_LAST_N, "must be an integer from 0 to 1024"
    ),
    _field("max_tokens", Kind.INTEGER, FieldId.MAX_TOKENS, REPLY_TOKENS),
    _field("max_completion_tokens", Kind.INTEGER, FieldId.MAX_TOKENS, REPLY_TOKENS),
    _field("seed", Kind.INTEGER, FieldId.SEED, "must be an integer of at most 63 bits"),
    _field("stream", Kind.FLAG, FieldId.STREAM, "must be true or false"),
    _field("ignore_eos", Kind.FLAG, FieldId.IGNORE_EOS, "must be true or false"),
    _field("cache_prompt", Kind.FLAG, FieldId.CACHE_PROMPT, "must be true or false"),
    _field("stop", Kind.OTHER, FieldId.STOP, ""),
    _field("stream_options", Kind.OTHER, FieldId.STREAM_OPTIONS, ""),
    _field("response_format", Kind.OTHER, FieldId.RESPONSE_FORMAT, ""),
    _field("tools", Kind.OTHER, FieldId.TOOLS, ""),
    _field("tool_choice", Kind.OTHER, FieldId.TOOL_CHOICE, ""),
    _field("n", Kind.ONE, FieldId.NONE, "must be 1: one choice is given for a request"),
    _field("best_of", Kind.ONE, FieldId.NONE, "must be 1: one choice is given for a request"),
    _field("logprobs", Kind.EMPTY, FieldId.NONE, "is not supported: leave it out or send false"),
    _field("top_logprobs", Kind.EMPTY, FieldId.NONE, NOT_SUPPORTED),
    _field("logit_bias", Kind.EMPTY, FieldId.NONE, NOT_SUPPORTED),
    _field("functions", Kind.EMPTY, FieldId.NONE, NOT_SUPPORTED),
    _field("grammar", Kind.EMPTY, FieldId.NONE, NOT_SUPPORTED),
    _field("json_schema", Kind.EMPTY, FieldId.NONE, NOT_SUPPORTED),
    _field("echo", Kind.EMPTY, FieldId.NONE, "is not supported: leave it out or send false"),
    _field("suffix", Kind.EMPTY, FieldId.NONE, NOT_SUPPORTED),
)
