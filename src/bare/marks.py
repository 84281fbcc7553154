"""Marks on functions and loops that mean nothing under CPython and something to the compiler."""

from collections.abc import Callable
from typing import Any


def unchecked[F: Callable[..., Any]](reason: str) -> Callable[[F], F]:
    """Leave out overflow, bounds and range checks in this function (asserts stay)."""

    def mark(function: F) -> F:
        setattr(function, "__bare_unchecked__", reason)  # noqa: B010 - mypy refuses the plain form
        return function

    return mark


def export[F: Callable[..., Any]](symbol: str) -> Callable[[F], F]:
    """Give the compiled function a fixed symbol, so that assembly can call it."""

    def mark(function: F) -> F:
        setattr(function, "__bare_export__", symbol)  # noqa: B010
        return function

    return mark


def unroll(count: int) -> range:
    """Loop whose body is emitted `count` times; `count` and the index are constants."""
    return range(count)
