"""The model files and reference data that tests need, loaded once a session."""

import json
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bare import Arena, Slice, static, u8, u32
from merlion.cli.paths import model_directory
from merlion.engine.gguf import Gguf
from merlion.engine.tokenizer import Tokenizer
from tests.models import find_file, reference_directory

DATA = reference_directory() / "data"
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


# Compiled code stores addresses, which keep nothing alive: the storage of the last tests is kept.
recent: deque[Any] = deque(maxlen=64)
kept: list[Any] = []


def keep() -> None:
    """Keep the storage in use for good: something that outlives the test was made of it."""
    kept.extend(recent)


def storage(data: bytes) -> "Slice[u8]":
    """The bytes as a Slice."""
    result = static(u8, max(len(data), 1))[: len(data)]
    result.copy_from(data)
    recent.append(result)
    return result


def arena(size: int = 4 << 20) -> Arena:
    space = static(u8, size)
    recent.append(space)
    return Arena(space)


def data_file(name: str) -> Path:
    """A file of the reference data; skips the test where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


def model_file(name: str = SMOLLM2) -> Path:
    """A model file; skips the test where it is absent."""
    path = find_file(name)
    if path is None:
        pytest.skip(f"{name} is not in {model_directory()}")
    return path


def reference(name: str) -> Any:
    return json.loads(data_file(name).read_text())


def parse(data: bytes, space: Arena | None = None) -> Gguf:
    """A parsed file; fails the test on an error."""
    gguf = Gguf.zeroed()
    error = gguf.parse(storage(data), space or arena(1 << 20))
    assert error is None, (error, gguf.error_at, bytes(gguf.error_name))
    return gguf


def load_tokenizer(data: bytes, size: int = 4 << 20) -> Tokenizer:
    space = arena(size)
    tokenizer = Tokenizer.zeroed()
    error = tokenizer.load(parse(data, space), space)
    assert error is None, (error, bytes(tokenizer.vocabulary.error_name))
    return tokenizer


def encode(tokenizer: Tokenizer, text: str | bytes, parse_special: bool = False) -> list[int]:
    raw = text.encode() if isinstance(text, str) else text
    out = static(u32, len(raw) + 16)
    count = tokenizer.encode(storage(raw), out, parse_special)
    assert isinstance(count, int), count
    return list(out[:count])


def decode(tokenizer: Tokenizer, tokens: list[int]) -> bytes:
    return b"".join(bytes(tokenizer.vocabulary.bytes_of(token)) for token in tokens)


@cache
def stories_gguf() -> Gguf:
    gguf = parse(data_file("stories260K.gguf").read_bytes())
    keep()
    return gguf


@cache
def stories_tokenizer() -> Tokenizer:
    tokenizer = load_tokenizer(data_file("stories260K.gguf").read_bytes())
    keep()
    return tokenizer


@cache
def smollm2_file() -> tuple[Gguf, Tokenizer]:
    """SmolLM2 with its vocabulary of 49,152 tokens: seconds under CPython, so once."""
    space = arena(16 << 20)
    gguf = parse(model_file().read_bytes(), space)
    tokenizer = Tokenizer.zeroed()
    assert tokenizer.load(gguf, space) is None
    keep()
    return gguf, tokenizer
