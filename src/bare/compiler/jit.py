"""Running compiled functions in this process: what the tests and the hosted server call.

    program = load([checksum.internet_checksum])
    program.function(checksum.internet_checksum)(b"...")

The object comes from the cache when the same IR was compiled before, and then LLVM is not loaded at
all. Static data of the unit is the Python allocations themselves: both worlds see one memory.
A failed check raises `bare.Trap` with its place in the source. Callables may be used from any
thread; the GIL is released while compiled code runs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from bare.allocation import Allocation
from bare.compiler.calls import EntryLike, Marshal
from bare.compiler.codegen import cache_key, compile_objects
from bare.compiler.loader import LoadedObject, enter_ir
from bare.trap import Trap


class SiteLike(Protocol):
    """One check in the source."""

    @property
    def file(self) -> str:
        """Path of the source file."""

    @property
    def line(self) -> int:
        """Line, from 1."""

    @property
    def column(self) -> int:
        """Column, from 1."""

    @property
    def reason(self) -> str:
        """What the check found."""


class UnitLike(Protocol):
    """What the compiler hands over; `bare.compiler.unit.Unit` in the build."""

    @property
    def shards(self) -> Mapping[str, str]:
        """LLVM IR text by name of the module."""

    @property
    def sites(self) -> Mapping[int, SiteLike]:
        """Checks by site number."""

    @property
    def statics(self) -> Mapping[str, Allocation]:
        """Where each undefined data symbol lies."""

    @property
    def entries(self) -> Mapping[Any, EntryLike]:
        """What can be called, by Python function."""


class Program:
    """A unit loaded into the process. Keeps its code and static data alive."""

    def __init__(
        self, unit: UnitLike, use_cache: bool = True, objects: Sequence[bytes] | None = None
    ) -> None:
        """Load a program from its objects, which are generated (or fetched) if not given."""
        self.unit = unit
        if objects is None:
            objects = compile_objects(texts_of(unit), "jit", use_cache)
        addresses = {symbol: where.address for symbol, where in unit.statics.items()}
        self._loaded = LoadedObject(objects, addresses)
        self._enter = self._loaded.enter_function()
        self._callables: dict[Any, Callable[..., Any]] = {}

    def function(self, source: Callable[..., Any]) -> Callable[..., Any]:
        """The compiled counterpart of `source`, which must be an entry of the unit."""
        source = getattr(source, "__func__", source)
        found = self._callables.get(source)
        if found is None:
            entry = self.unit.entries[source]
            marshal = Marshal(entry, self._loaded.symbols[entry.symbol], self._enter, self._fail)
            found = marshal.callable(source.__name__, entry)
            found.__doc__ = source.__doc__
            found.__wrapped__ = source  # type: ignore[attr-defined]
            self._callables[source] = found
        return found

    def address(self, symbol: str) -> int:
        """Where `symbol` was loaded."""
        return self._loaded.symbols[symbol]

    def _fail(self, site: int) -> NoReturn:
        """Raise what `bare_enter` reported: a site number plus one."""
        found = self.unit.sites[site - 1]
        raise Trap(found.reason, found.file, found.line, found.column)


def texts_of(unit: UnitLike) -> list[str]:
    """The IR of the program's modules, with what enters and leaves it."""
    texts = list(unit.shards.values())
    texts[-1] += "\n" + enter_ir()
    return texts


def load(entries: Sequence[Callable[..., Any]], checked: bool = False) -> Program:
    """Compile `entries` with everything they call and load them.

    With `checked`, functions marked @unchecked keep their checks.
    """
    from bare.compiler import build_cache

    functions: list[Any] = [getattr(entry, "__func__", entry) for entry in entries]
    found = build_cache.find(functions, checked)
    if found is not None:
        return Program(found, objects=found.objects)
    from bare.compiler.unit import compile_unit

    unit = compile_unit(functions, "jit", checked=checked)
    program = Program(unit)
    keys = [cache_key(text, "jit") for text in texts_of(unit)]
    build_cache.keep(functions, checked, unit, keys)
    return program
