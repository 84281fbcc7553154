"""What a backend answers with: the words that `Backend`'s members and the server share."""

from enum import IntEnum

from bare import Bytes


class PromptError(IntEnum):
    """Why a prompt could not be turned into tokens."""

    TOO_LONG = 1
    BAD_TEXT = 2
    BAD_TOKEN = 3
    NO_TEMPLATE = 4


class Refusal(IntEnum):
    """Why a request was not taken on."""

    QUEUE_FULL = 1
    TOO_LONG = 2
    EMPTY = 3


class Finish(IntEnum):
    """Why a sequence ended; NONE while it has not."""

    NONE = 0
    STOP = 1
    LENGTH = 2
    CANCELLED = 3


def finish_name(finish: Finish) -> Bytes:
    """The value of `finish_reason`."""
    return b"length" if finish == Finish.LENGTH else b"stop"
