"""Programs that were compiled before, found by their sources: neither the checker nor LLVM runs.

For a program in this process (`jit.load`) a record on disk says which source files determined it,
which objects it consists of, its trap sites, and where in which module its static storage is. It is
used when every file still has the digest it had; signatures come from the functions themselves.

The files are those of the entries' modules, of everything they import from the same packages, and
of `bare`, compiler included. Modules of a program import nothing else that matters (they may not
read files or the environment). A program is not recorded when one of its functions is not in a
file, when its static storage cannot be found by a name, or when a file changed after this process
started: what was imported may then differ from what is on disk.
"""

import ast
import hashlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from bare.allocation import Allocation
from bare.compiler.codegen import cache_directory, read_object, store
from bare.compiler.instances import owner_of, signature_of
from bare.compiler.shard import ATTRIBUTES, Site
from bare.compiler.statics import Path as Place
from bare.compiler.statics import resolve

FORMAT = 1
STARTED = time.time()
BARE = Path(__file__).parents[1]

type Entries = Sequence[Callable[..., Any]]


class EntryLike(Protocol):
    """A function that Python can call."""

    @property
    def symbol(self) -> str:
        """Its wrapper."""


class UnitLike(Protocol):
    """`bare.compiler.unit.Unit`, as far as it is recorded."""

    @property
    def sites(self) -> Mapping[int, Any]:
        """Checks by site number."""

    @property
    def statics(self) -> Mapping[str, Allocation]:
        """Static storage by symbol."""

    @property
    def paths(self) -> Mapping[str, Place]:
        """Where modules hold it."""

    @property
    def entries(self) -> Mapping[Any, EntryLike]:
        """What can be called."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A function that Python can call: its wrapper and its signature."""

    symbol: str
    parameters: list[tuple[str, Any, Any]]
    result: Any


@dataclass(frozen=True, slots=True)
class Found:
    """A program from the cache."""

    objects: list[bytes]
    sites: dict[int, Site]
    statics: dict[str, Allocation]
    entries: dict[Any, Entry]
    shards: Mapping[str, str]  # Empty: there is no IR.


def find(entries: Entries, checked: bool) -> Found | None:
    """The program of `entries` if it was compiled from the sources as they are now."""
    path = _record_path(entries, checked)
    try:
        record = json.loads(path.read_text())
        if not all(digest == _digest(Path(file)) for file, digest in record["files"].items()):
            return None
        objects = [read_object(key) for key in record["objects"]]
        statics = {name: resolve(_place(place)) for name, place in record["statics"].items()}
    except (OSError, ValueError, LookupError, AttributeError):
        return None
    sites = {int(number): Site(*site) for number, site in record["sites"].items()}
    known = {
        source: _entry(source, symbol)
        for source, symbol in zip(entries, record["entries"], strict=True)
    }
    return Found(objects, sites, statics, known, {})


def keep(entries: Entries, checked: bool, unit: UnitLike, objects: Sequence[str]) -> bool:
    """Record a program that was just compiled; `objects` are the cache keys of its objects."""
    files = {str(file): _digest(file) for file in source_files(entries)}
    unknown = [name for name in unit.statics if name not in unit.paths]
    if not all(files.values()) or unknown:
        return False
    record = {
        "files": files,
        "objects": list(objects),
        "sites": {n: (s.file, s.line, s.column, s.reason) for n, s in unit.sites.items()},
        "statics": {name: unit.paths[name] for name in unit.statics},
        "entries": [unit.entries[source].symbol for source in entries],
    }
    store(_record_path(entries, checked), json.dumps(record).encode())
    return True


def _record_path(entries: Entries, checked: bool) -> Path:
    """Where the record of a program is, whatever state its sources are in."""
    names = [f"{source.__module__}:{source.__qualname__}" for source in entries]
    versions = (sys.version, importlib.metadata.version("llvmlite"))
    # Trap sites name files relative to the working directory.
    place = (str(BARE), str(Path.cwd()))
    text = json.dumps((FORMAT, versions, place, ATTRIBUTES, checked, names))
    return cache_directory() / f"{hashlib.sha256(text.encode()).hexdigest()}.program"


def _digest(file: Path) -> str:
    """The digest of a file's content; empty when it may not be what this process imported."""
    try:
        if file.stat().st_mtime > STARTED:
            return ""
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def _place(place: Sequence[Any]) -> Place:
    module, steps = place
    return module, tuple((kind, key) for kind, key in steps)


def _entry(source: Any, symbol: str) -> Entry:
    owner, static = owner_of(source)
    signature = signature_of(source, owner, static)
    parameters = [(p.name, p.type, p.default) for p in signature.parameters]
    return Entry(symbol, parameters, signature.result)


# -- which files determine a program -----------------------------------------------------------


def source_files(entries: Entries) -> list[Path]:
    """Every file whose change may change the program."""
    packages = {source.__module__.partition(".")[0] for source in entries}
    waiting = sorted({source.__module__ for source in entries})
    seen = set(waiting)
    files = set(BARE.rglob("*.py"))
    while waiting:
        name = waiting.pop()
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None:
            files.add(Path(f"<{name}>"))  # Without a digest, so nothing is recorded.
            continue
        files.add(Path(file))
        for imported in _imports(sys.modules[name], file):
            if imported.partition(".")[0] in packages and imported not in seen:
                seen.add(imported)
                waiting.append(imported)
    return sorted(files)


def _imports(module: ModuleType, file: str) -> Iterator[str]:
    """The modules that the text of `module` imports, with the packages they are in."""
    try:
        tree = ast.parse(Path(file).read_text())
    except (OSError, SyntaxError):
        return
    package = module.__package__ or ""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            prefixes = (".".join(parts[: i + 1]) for i in range(len(parts)))
            yield from (prefix for prefix in prefixes if prefix in sys.modules)
