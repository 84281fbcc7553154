"""Names of static storage: where the program's modules hold it.

A number in order of use would change when any function is edited, and with it the IR of functions
that were not, so nothing would be found in the cache. The place in a module (`state` of
`merlion.kernel.main`, item 2 of a tuple there) stays, and finds the storage again when a program
comes from the cache without being checked (build_cache.py).
"""

import dataclasses
import enum
import hashlib
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from bare.descriptors import is_struct
from bare.memory import Array, Slice

DEPTH_MAX = 4  # A tuple of records of tuples: deeper than any module goes.
QUOTED = str.maketrans({'"': "'", "\\": "/"})

type Key = str | int
# The module, then at each step `.name` (an attribute) or `[key]` (an item).
type Path = tuple[str, tuple[tuple[str, Key], ...]]


class StaticNames:
    """Gives every allocation its symbol. An allocation no module holds gets a number."""

    def __init__(self, modules: Iterable[str]) -> None:
        """Look through what `modules` define and import."""
        self.paths: dict[str, Path] = {}  # By symbol.
        self._found: dict[int, tuple[Path, Any]] = {}  # By id of the allocation, kept alive.
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()
        self._seen: set[int] = set()
        self._packages = {name.partition(".")[0] for name in modules} | {"bare"}
        for name in sorted(set(modules) | {"bare.simd"}):
            module = sys.modules.get(name)
            if module is not None:
                self._walk(module, (name, ()), 0)

    def name(self, allocation: Any, parent: str = "") -> str:
        """The symbol of `allocation`; `parent` is the place in other storage that points to it."""
        key = id(allocation)
        if key not in self._names:
            found = self._found.get(key)
            if found is not None:
                wanted = "static." + spell(found[0])
            elif allocation.constant and not allocation.refs:
                digest = hashlib.sha256(bytes(allocation.buffer)).hexdigest()[:16]
                wanted = f"constant.{digest}"
            else:
                wanted = parent or "static.unnamed"
            self._names[key] = self._unique(wanted)
            if found is not None:
                self.paths[self._names[key]] = found[0]
        return self._names[key]

    def _unique(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}.{count}"
        self._taken.add(name)
        return name

    def _walk(self, holder: Any, path: Path, depth: int) -> None:
        module, steps = path
        for step, value in _parts(holder):
            here = (module, (*steps, step))
            if isinstance(value, (Slice, Array)) or is_struct(type(value)):
                allocation = value._allocation_
                self._found.setdefault(id(allocation), (here, allocation))
            elif depth < DEPTH_MAX and id(value) not in self._seen:
                self._seen.add(id(value))
                if self._may_hold(value, module):
                    self._walk(value, here, depth + 1)

    def _may_hold(self, value: Any, module: str) -> bool:
        """Whether storage may be inside; a class only in the module that defines it."""
        if isinstance(value, (tuple, list, dict)):
            return True
        if isinstance(value, (ModuleType, enum.Enum)):
            return False
        if isinstance(value, type):
            return value.__module__ == module
        return type(value).__module__.partition(".")[0] in self._packages


def _parts(holder: Any) -> Iterator[tuple[tuple[str, Key], Any]]:
    """What can be reached in one step."""
    if isinstance(holder, (tuple, list)):
        yield from ((("[", i), value) for i, value in enumerate(holder))
    elif isinstance(holder, dict):
        keys = [k for k in holder if type(k) in (str, int)]
        yield from ((("[", k), holder[k]) for k in keys)
    elif dataclasses.is_dataclass(holder) and not isinstance(holder, type):
        names = [f.name for f in dataclasses.fields(holder)]
        yield from (((".", name), getattr(holder, name)) for name in names)
    else:
        for name, value in list(getattr(holder, "__dict__", {}).items()):
            if not name.startswith("__"):
                yield (".", name), value


def spell(path: Path) -> str:
    """A path as part of a symbol."""
    module, steps = path
    text = "".join(f".{key!s}" if kind == "." else f"[{key!r}]" for kind, key in steps)
    return (module + text).translate(QUOTED)


def resolve(path: Path) -> Any:
    """The allocation at `path`. Raises LookupError or AttributeError when it is not there."""
    module, steps = path
    holder: Any = sys.modules[module]
    for kind, key in steps:
        holder = getattr(holder, str(key)) if kind == "." else holder[key]
    return holder._allocation_
