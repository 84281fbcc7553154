"""What a client did wrong, as a value: status and the fields of OpenAI's error object."""

from dataclasses import dataclass

from bare import Bytes, u32, usize
from bare.text import Writer
from merlion.serve.http import HttpError
from merlion.serve.json_writer import write_string, write_string_or_null


@dataclass(frozen=True, slots=True)
class ApiError:
    """`kind` is the field `type`; an empty `param` or `code` is null."""

    status: u32
    message: Bytes
    kind: Bytes
    param: Bytes
    code: Bytes
    prompt_tokens: usize  # Only for a prompt that is too long, else 0.
    context_tokens: usize


def invalid(param: Bytes, message: Bytes) -> ApiError:
    """400: a field is wrong. `message` names the field and its range."""
    return ApiError(400, message, b"invalid_request_error", param, b"", 0, 0)


def unsupported(param: Bytes, message: Bytes) -> ApiError:
    """400: a feature we do not have; never ignored in silence."""
    return ApiError(400, message, b"invalid_request_error", param, b"unsupported_parameter", 0, 0)


def bad_json() -> ApiError:
    """400: the body is not JSON, or not UTF-8."""
    message = b"The request body is not valid JSON in UTF-8."
    return ApiError(400, message, b"invalid_request_error", b"", b"invalid_json", 0, 0)


def too_long(param: Bytes, prompt_tokens: usize, context_tokens: usize) -> ApiError:
    """400: the prompt does not fit the context. Nothing is ever cut off in silence."""
    return ApiError(
        400,
        b"The prompt is longer than the context of this model.",
        b"exceed_context_size_error",
        param,
        b"context_length_exceeded",
        prompt_tokens,
        context_tokens,
    )


def unauthorized() -> ApiError:
    """401: no key, or a wrong one."""
    message = b"Missing or invalid API key. Send it as 'Authorization: Bearer KEY'."
    return ApiError(401, message, b"authentication_error", b"", b"invalid_api_key", 0, 0)


def not_found() -> ApiError:
    """404: no such path."""
    message = b"There is no such path. The API is at /v1/chat/completions."
    return ApiError(404, message, b"not_found_error", b"", b"not_found", 0, 0)


def no_model() -> ApiError:
    """404: the one loaded model has another id."""
    message = b"The model does not exist. See /v1/models."
    return ApiError(404, message, b"invalid_request_error", b"model", b"model_not_found", 0, 0)


def wrong_method() -> ApiError:
    """405: the path exists, its Allow field says for which methods."""
    message = b"This path does not take this method."
    return ApiError(405, message, b"invalid_request_error", b"", b"method_not_allowed", 0, 0)


def queue_full() -> ApiError:
    """429: as many requests wait as may wait."""
    message = b"The queue is full. Try again later."
    return ApiError(429, message, b"rate_limit_error", b"", b"queue_full", 0, 0)


def loading() -> ApiError:
    """503: the model is still being read."""
    return ApiError(503, b"Loading model", b"unavailable_error", b"", b"model_loading", 0, 0)


def busy() -> ApiError:
    """503: the buffer for large bodies stayed in use."""
    message = b"Another large request is being received. Try again later."
    return ApiError(503, message, b"unavailable_error", b"", b"busy", 0, 0)


def stopped() -> ApiError:
    """503: the engine gave up this request before its first token."""
    message = b"The request was stopped before it produced anything. Try again."
    return ApiError(503, message, b"unavailable_error", b"", b"stopped", 0, 0)


def http_message(error: HttpError) -> Bytes:
    """What to say about a request that is not HTTP as we accept it."""
    if error == HttpError.TIMEOUT:
        return b"The request took too long to arrive."
    if error == HttpError.TOO_LARGE:
        return b"The request body is larger than this server accepts."
    if error == HttpError.URI_TOO_LONG:
        return b"The request line is too long."
    if error == HttpError.EXPECTATION_FAILED:
        return b"Only 'Expect: 100-continue' is understood."
    if error == HttpError.HEAD_TOO_LARGE:
        return b"The request head is larger than 16 KiB or has more than 100 fields."
    if error == HttpError.VERSION_NOT_SUPPORTED:
        return b"Only HTTP/1.0 and HTTP/1.1 are spoken here."
    return b"The request is not valid HTTP/1.1."


def from_http(error: HttpError) -> ApiError:
    """The reply to a request that could not be read."""
    return ApiError(u32(error), http_message(error), b"invalid_request_error", b"", b"", 0, 0)


def write_error(out: Writer, error: ApiError) -> None:
    """`{"error": {message, type, param, code}}`."""
    out.text(b'{"error":{"message":')
    write_string(out, error.message)
    out.text(b',"type":')
    write_string(out, error.kind)
    out.text(b',"param":')
    write_string_or_null(out, error.param)
    out.text(b',"code":')
    write_string_or_null(out, error.code)
    if error.context_tokens > 0:
        out.text(b',"n_prompt_tokens":')
        out.unsigned(error.prompt_tokens)
        out.text(b',"n_ctx":')
        out.unsigned(error.context_tokens)
    out.text(b"}}")


def reason_phrase(status: u32) -> Bytes:
    """The reason phrase of a status line."""
    for known in REASONS:
        if status == known.status:
            return known.phrase
    return b"Unknown"


@dataclass(frozen=True, slots=True)
class Reason:
    """A status code and its phrase (RFC 9110, section 15)."""

    status: int
    phrase: bytes


REASONS = (
    Reason(200, b"OK"),
    Reason(204, b"No Content"),
    Reason(400, b"Bad Request"),
    Reason(401, b"Unauthorized"),
    Reason(404, b"Not Found"),
    Reason(405, b"Method Not Allowed"),
    Reason(408, b"Request Timeout"),
    Reason(413, b"Content Too Large"),
    Reason(414, b"URI Too Long"),
    Reason(417, b"Expectation Failed"),
    Reason(429, b"Too Many Requests"),
    Reason(431, b"Request Header Fields Too Large"),
    Reason(503, b"Service Unavailable"),
    Reason(505, b"HTTP Version Not Supported"),
)
