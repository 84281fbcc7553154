"""Functions that give every kind of result, for test_results.py."""

from dataclasses import dataclass
from enum import IntEnum

from bare import Bytes, Slice, Struct, f32, i16, u8, u32, usize


class Colour(IntEnum):
    """A result."""

    RED = 1
    GREEN = 2


class Point(Struct):
    """Something that lies somewhere."""

    x: u32
    y: u32


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of something."""

    start: u32
    text: Bytes
    colour: Colour


def part_u8(data: Slice[u8], first: usize, last: usize) -> Slice[u8]:
    return data[first:last]


def part_i16(data: Slice[i16], first: usize, last: usize) -> Slice[i16]:
    return data[first:last]


def part_f32(data: Slice[f32], first: usize, last: usize) -> Slice[f32]:
    return data[first:last]


def part_usize(data: Slice[usize], first: usize, last: usize) -> Slice[usize]:
    return data[first:last]


def part_points(data: Slice[Point], first: usize, last: usize) -> Slice[Point]:
    return data[first:last]


def literal() -> Bytes:
    return b"a literal"


def halves(data: Bytes, at: usize) -> tuple[Bytes, u32, Bytes]:
    return data[:at], u32(at), data[at:]


def span(data: Bytes, start: usize, colour: Colour) -> Span:
    return Span(u32(start), data[start:], colour)


def span_or_none(data: Bytes, start: usize) -> Span | None:
    if start > len(data):
        return None
    return Span(u32(start), data[start:], Colour.RED)


def one_of(kind: u32, data: Bytes, point: Point) -> u32 | Colour | Bytes | Span | tuple[u32, Point]:
    if kind == 0:
        return kind
    if kind == 1:
        return Colour.GREEN
    if kind == 2:
        return data
    if kind == 3:
        return Span(7, data, Colour.RED)
    return kind, point


def maybe(kind: u32) -> bool | None:
    if kind == 0:
        return None
    return kind == 1
