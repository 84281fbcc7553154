"""The fixture that runs tests twice: what it replaces and what it leaves alone."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bare import Trap, testing
from bare.compiler.entries import import_path, module_entries, module_name

SOURCE = """
from enum import IntEnum
from bare import Bytes, Slice, Struct, u8, u32

LIMIT = 3

class Kind(IntEnum):
    A = 1

class Counter(Struct):
    value: u32

    def bump(self, by: u32) -> u32:
        self.value += by
        return self.value

    @property
    def half(self) -> u32:
        return self.value // 2

    @staticmethod
    def limit() -> u32:
        return LIMIT

    def _inner(self) -> None: ...

    def __enter__(self) -> None: ...

class Box[T](Struct):
    item: T

    def get(self) -> T:
        return self.item

def total(data: Bytes) -> u32:
    return sum(data)

def first[T](items: Slice[T]) -> T:
    return items[0]

def of_type(kind: type[Counter]) -> u32:
    return 0

def untyped(a):
    return a

def _table() -> tuple[int, ...]:
    return (1, 2)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sample_entries.py").write_text(SOURCE)
    sys.modules.pop("sample_entries", None)
    return import_path(tmp_path / "sample_entries.py")


def test_entries_are_what_python_can_call(module: ModuleType) -> None:
    found = {item.function.__qualname__: item.kind for item in module_entries(module)}
    assert found == {
        "Counter.bump": "method",
        "Counter.half": "property",
        "Counter.limit": "static",
        "Counter.__enter__": "method",
        "total": "function",
    }


def test_module_name_follows_the_import_path() -> None:
    path = Path(str(testing.__file__))
    assert module_name(path) == "bare.testing"
    assert import_path(path) is testing


class FakeProgram:
    """Stands for compiled code: every function answers with its own name."""

    def function(self, source: Any) -> Any:
        return lambda *arguments: source.__name__


def test_classes_are_changed_inside_the_context_only(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = module_entries(module)
    monkeypatch.setattr(testing, "_program", lambda names, checked: FakeProgram())
    monkeypatch.setattr(testing, "_entries", lambda names: entries)
    counter = module.Counter(value=4)
    with testing.compiled(module) as proxy:
        assert proxy.Counter is module.Counter
        assert proxy.LIMIT == 3
        assert proxy.Kind.A is module.Kind.A
        assert (counter.bump(1), counter.half, counter.limit()) == ("bump", "half", "limit")
        assert counter.value == 4
        assert proxy.total(b"") == "total"
        assert module.total(b"") == 0
    assert (counter.bump(1), counter.half, counter.limit()) == (5, 2, 3)


CHECKED_SOURCE = """
from bare import Bytes, unchecked, u8, u32, usize

def at(data: Bytes, index: usize) -> u8:
    return data[index]

def share(n: u32) -> u32:
    assert n < 100, "too many"
    return 10 // n

@unchecked("callers pass small numbers")
def low(n: u32) -> u8:
    return u8(n)
"""


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sample_checks.py").write_text(CHECKED_SOURCE)
    return import_path(tmp_path / "sample_checks.py")


@pytest.mark.parametrize("name", ["interpreted", "compiled"])
def test_both_trap_alike(checks: ModuleType, name: str) -> None:
    with getattr(testing, name)(checks) as proxy:
        assert proxy.at(b"\x07\x08", 1) == 8
        for function, argument, reason in (
            (lambda n: proxy.at(b"\x07", n), 1, "outside|out of range"),
            (proxy.share, 100, "too many"),
            (proxy.share, 0, "by zero"),
        ):
            with pytest.raises(Trap, match=reason) as caught:
                function(argument)
            assert Path(caught.value.file).name == "sample_checks.py"


def test_unchecked_functions_are_tested_with_their_checks(checks: ModuleType) -> None:
    assert testing.variants([checks.__name__]) == ["python", "compiled", "checked"]
    with testing.compiled(checks) as proxy:
        assert proxy.low(300) == 44
    with testing.compiled(checks, checked=True) as proxy, pytest.raises(Trap, match="fit"):
        proxy.low(300)


def test_several_modules_in_order() -> None:
    a, b = ModuleType("a"), ModuleType("b")
    a.x = 1  # type: ignore[attr-defined]
    b.x, b.y = 2, 3  # type: ignore[attr-defined]
    merged = testing.merge([a, b])
    assert (merged.x, merged.y) == (1, 3)


def test_variants_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARE_IMPLEMENTATIONS", "python")
    assert testing.variants() == ["python"]
