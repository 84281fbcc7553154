"""Walking the members of a JSON object: the same for every object a client sends.

A visitor sees one member after another and reads as much of its value as it wants; what it leaves
is read past here, and its syntax checked like the rest.
"""

from typing import Protocol

from bare import Bytes, Slice, u8
from merlion.serve.errors import ApiError, bad_json
from merlion.serve.json_reader import JsonReader, Token


class Visitor(Protocol):
    """What reads an object."""

    def member(self, reader: JsonReader, key: Bytes, first: Token) -> ApiError | None:
        """Take in one member. `first` is its value's first token, never ERROR."""


def read_body[V: Visitor](body: Slice[u8], visitor: V) -> ApiError | None:
    """Walk a text that is one object and nothing else."""
    reader = JsonReader.zeroed(data=body)
    if reader.next() != Token.OBJECT:
        return bad_json()
    error = read_members(reader, visitor)
    if error is not None:
        return error
    return None if reader.next() == Token.END else bad_json()


def read_members[V: Visitor](reader: JsonReader, visitor: V) -> ApiError | None:
    """Walk an object whose opening brace has been read. The first error ends it."""
    while True:
        token = reader.next()
        if token == Token.OBJECT_END:
            return None
        if token != Token.KEY:
            return bad_json()
        outside = reader.depth
        key = reader.text()
        first = reader.next()
        if first == Token.ERROR:
            return bad_json()
        error = visitor.member(reader, key, first)
        if error is not None:
            return error
        if not reader.leave(outside):
            return bad_json()
