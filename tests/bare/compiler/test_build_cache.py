"""Programs from the cache: what is found again, and what makes it stale."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bare.compiler import build_cache, jit, load, partition
from bare.compiler.unit import Unit, compile_unit
from bare.memory import Slice
from bare.trap import Trap

TABLE = """
from bare import Struct, u32


class Counter(Struct):
    count: u32


counters = (Counter(3), Counter(40))
"""
PROGRAM = """
from bare import Bytes, Slice, u8, u32, usize
from bare.text import Writer

from cached_program.table import counters


def count(step: u32) -> u32:
    counters[1].count += step
    return counters[1].count


def spell(number: u32, out: Slice[u8]) -> usize:
    writer = Writer(out)
    writer.unsigned(number)
    assert number != 13, "unlucky"
    return len(writer.written())
"""
OLD = 1_000_000_000.0  # A time before this process started.


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a program in two modules, and a cache of its own."""
    monkeypatch.setenv("BARE_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "cached_program"
    folder.mkdir()
    for name, text in (("__init__", ""), ("table", TABLE), ("program", PROGRAM)):
        write(folder / f"{name}.py", text)
    # The compiler's own files may be newer than this process while somebody works on them.
    monkeypatch.setattr(build_cache, "STARTED", 2e10)
    yield folder
    forget()


def write(file: Path, text: str) -> None:
    file.write_text(text)
    os.utime(file, (OLD, OLD))


def forget() -> None:
    """Make the next import read the files."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "cached_program"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    load._functions.cache_clear()


def program() -> ModuleType:
    return importlib.import_module("cached_program.program")


def found(module: ModuleType) -> build_cache.Found | None:
    return build_cache.find([module.count, module.spell], False)


def test_found_without_compiling(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = program()
    assert found(module) is None
    jit.load([module.count, module.spell])
    forget()
    module = program()  # New static storage, as in a new process.

    def refuse(*_: Any, **__: Any) -> Unit:
        raise AssertionError("compiled again")

    monkeypatch.setattr("bare.compiler.unit.compile_unit", refuse)
    loaded = jit.load([module.count, module.spell])
    assert loaded.function(module.count)(2) == 42
    assert module.counters[1].count == 42
    with pytest.raises(Trap, match="unlucky") as trap:
        loaded.function(module.spell)(13, Slice.over(bytearray(8)))
    assert (trap.value.file, trap.value.line) == (module.__file__, 16)


def test_a_changed_import_is_noticed(package: Path) -> None:
    module = program()
    jit.load([module.count, module.spell])
    assert found(module) is not None
    write(package / "table.py", TABLE.replace("40", "41"))
    assert found(module) is None


def test_files_newer_than_the_process_are_not_trusted(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = program()
    jit.load([module.count, module.spell])
    monkeypatch.setattr(build_cache, "STARTED", OLD - 1)
    assert found(module) is None


def test_imports_are_followed(package: Path) -> None:
    module = program()
    names = {file.name for file in build_cache.source_files([module.count])}
    assert {"program.py", "table.py", "__init__.py", "text.py", "check.py"} <= names


def split(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> Unit:
    monkeypatch.setattr(partition, "SMALL_PROGRAM", 0)
    return compile_unit([module.count, module.spell], "jit")


def test_modules_of_a_program(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = program()
    monkeypatch.setattr(partition, "SMALL_FUNCTION", 0)  # Nothing is repeated: all calls cross.
    unit = split(monkeypatch, module)
    assert {"bare", "cached_program.program"} <= set(unit.shards)
    loaded = jit.Program(unit, use_cache=False)
    out = bytearray(8)
    assert loaded.function(module.spell)(1234, Slice.over(out)) == 4
    assert out[:4] == b"1234"
    assert loaded.function(module.count)(1) == 41
    with pytest.raises(Trap, match="unlucky"):
        loaded.function(module.spell)(13, Slice.over(out))


def test_an_edit_changes_one_module(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = split(monkeypatch, program()).shards
    forget()
    write(package / "program.py", PROGRAM.replace("step: u32", "more: u32").replace("step", "more"))
    write(package / "program.py", "\n" + (package / "program.py").read_text())
    after = split(monkeypatch, program()).shards
    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["cached_program.program"]
