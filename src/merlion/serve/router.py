"""Which resource a path names, and which methods it takes.

Every API path works with and without `/v1`, because clients differ in what they take the base URL
to be.
"""

from dataclasses import dataclass
from enum import IntEnum

from bare import Bytes, u8, usize
from merlion.serve.body import hex_value
from merlion.serve.http import Method

PERCENT = 0x25


class Endpoint(IntEnum):
    """The resources of the server."""

    NONE = 0
    PAGE = 1
    HEALTH = 2
    METRICS = 3
    MODELS = 4
    MODEL = 5  # One model, by its id.
    PROPS = 6
    CHAT = 7
    COMPLETIONS = 8
    TOKENIZE = 9
    DETOKENIZE = 10


@dataclass(frozen=True, slots=True)
class Route:
    """One path."""

    path: bytes
    endpoint: Endpoint


ROUTES = (
    Route(b"/chat/completions", Endpoint.CHAT),
    Route(b"/completions", Endpoint.COMPLETIONS),
    Route(b"/models", Endpoint.MODELS),
    Route(b"/health", Endpoint.HEALTH),
    Route(b"/metrics", Endpoint.METRICS),
    Route(b"/tokenize", Endpoint.TOKENIZE),
    Route(b"/detokenize", Endpoint.DETOKENIZE),
    Route(b"/props", Endpoint.PROPS),
    Route(b"/", Endpoint.PAGE),
    Route(b"/index.html", Endpoint.PAGE),
)
MODEL_PREFIX = b"/models/"
FIRST_POST_ENDPOINT = Endpoint.CHAT


def resource_path(target: Bytes) -> Bytes:
    """The path without `/v1` in front and without a slash at the end."""
    path = target
    if path.startswith(b"/v1/"):
        path = path[3:]
    if len(path) > 1 and path.endswith(b"/"):
        path = path[: len(path) - 1]
    return path


def find_endpoint(target: Bytes) -> Endpoint:
    """The resource at `target`, or NONE."""
    path = resource_path(target)
    for route in ROUTES:
        if path == route.path:
            return route.endpoint
    if path.startswith(MODEL_PREFIX) and len(path) > len(MODEL_PREFIX):
        return Endpoint.MODEL
    return Endpoint.NONE


def names_model(target: Bytes, name: Bytes) -> bool:
    """Say whether `/v1/models/{id}` is about `name`. Ids may hold slashes, and anything as %XX."""
    path = resource_path(target)
    at: usize = len(MODEL_PREFIX)
    for wanted in name:
        if at >= len(path):
            return False
        byte = path[at]
        at += 1
        if byte == PERCENT and at + 1 < len(path):
            high = hex_value(path[at])
            low = hex_value(path[at + 1])
            if high < 16 and low < 16:
                byte = u8(high * 16 + low)
                at += 2
        if byte != wanted:
            return False
    return at == len(path)


def takes_post(endpoint: Endpoint) -> bool:
    """Say whether the resource is asked with POST; all others with GET and HEAD."""
    return endpoint >= FIRST_POST_ENDPOINT


def allows(endpoint: Endpoint, method: Method) -> bool:
    """Say whether a resource takes this method. OPTIONS was answered before."""
    if takes_post(endpoint):
        return method == Method.POST
    return method == Method.GET or method == Method.HEAD


def allowed(endpoint: Endpoint) -> Bytes:
    """The Allow field of a 405 reply."""
    return b"POST, OPTIONS" if takes_post(endpoint) else b"GET, HEAD, OPTIONS"


def is_public(endpoint: Endpoint) -> bool:
    """Resources that need no key: probes and the page that asks for one."""
    return endpoint == Endpoint.HEALTH or endpoint == Endpoint.PAGE
