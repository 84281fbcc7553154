"""Which resource a path names, and which methods it takes.

Every API path works with and without `/v1`, because clients differ in what they take the base URL
to be.
"""

from dataclasses import dataclass
from enum import IntEnum

from bare import Bytes, usize
from merlion.serve.http import Method


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


def model_in_path(target: Bytes) -> Bytes:
    """The id in `/v1/models/{id}`. Ids may hold slashes."""
    start: usize = len(MODEL_PREFIX)
    return resource_path(target)[start:]


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
