"""One LLVM module of a program: its functions, and what they use of other modules.

A program is compiled in several modules, in parallel and cached one by one (partition.py says what
goes where). So the text of a module must not change when something elsewhere does:

- Functions are in source order. Those that other modules call are hidden symbols, the rest is
  internal. A small function of another module is repeated here (`available_externally`: LLVM may
  inline it, the code for calls is in its own module).
- A trap site is `index of the module << SITE_BITS` plus a number of the module's own.
- Static storage has the name of its place in the source, and is defined by the data module.
- Literals, constant tables and debug information are the module's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bare.compiler import types as ty
from bare.compiler.debug_info import DebugInfo
from bare.compiler.diagnostics import Span, display_path
from bare.compiler.emit import FunctionEmitter
from bare.compiler.emit_values import SITE_BITS, SITES_SYMBOL, TRAP_GROUP
from bare.compiler.levels import BY_NUMBER
from bare.compiler.llvm import Constants, Linkage, stored
from bare.compiler.statics import StaticNames
from bare.compiler.tree import Function

BASE = 'nounwind "frame-pointer"="all"'
# What a function may cost to be inlined where it is called. LLVM's 225 makes the image a third
# larger and a third slower to build, and nothing outside the vector code is faster for it.
INLINE_COST = 60
PLAIN_GROUP, OUTSIDE_GROUP = 5, 7  # And TRAP_GROUP is 6; below are the levels.
assert len(BY_NUMBER) == PLAIN_GROUP
ATTRIBUTES = (
    *(f"{BASE} {level.attributes}" for level in BY_NUMBER),
    f'{BASE} "target-cpu"="x86-64-v2" "function-inline-threshold"="{INLINE_COST}"',
)


@dataclass(frozen=True, slots=True)
class Site:
    """A place that can trap."""

    file: str
    line: int
    column: int
    reason: str


@dataclass(frozen=True, slots=True)
class Program:
    """What all modules of a program share."""

    image: bool
    names: StaticNames
    halves: Mapping[str, Function]  # Soft conversions of half floats.
    homes: Mapping[Function, str]  # The module each function is defined in.
    small: Callable[[Function], bool]  # Worth repeating where it is called.


class Shard:
    """Prints one module. `FunctionEmitter` asks it for symbols, sites and debug locations."""

    def __init__(self, name: str, index: int, program: Program, linkage: Linkage) -> None:
        self.name = name
        self.index = index
        self.program = program
        self.constants = Constants(program.names, linkage)
        self.debug = DebugInfo()
        self.sites: list[Site] = []
        self.uses: set[Function] = set()  # Functions of other modules it needs as symbols.
        self.bodies: list[tuple[Function | None, str]] = []
        self._files: dict[str, str] = {}  # As sites name them.
        self._site_numbers: dict[Site, int] = {}
        self._declarations: dict[str, str] = {}
        self._symbols: set[str] = set()
        self._defined: set[str] = set()
        self._wanted: list[Function] = []

    # -- what the emitter asks for ---------------------------------------------------------------

    def site(self, span: Span, reason: str) -> int:
        """The number of a trap site."""
        file = self._files.get(span.file)
        if file is None:
            file = self._files[span.file] = display_path(span.file)
        site = Site(file, span.line, span.column, reason)
        if site not in self._site_numbers:
            self._site_numbers[site] = len(self.sites)
            self.sites.append(site)
        return (self.index << SITE_BITS) + self._site_numbers[site]

    def declare(self, name: str, result: str, parameters: str) -> None:
        """Declare an intrinsic."""
        self._declarations[name] = f"declare {result} @{name}({parameters})"

    def need_symbol(self, name: str) -> None:
        """A symbol of the linker, of assembly, or exported by another function."""
        self._symbols.add(name)

    def level_place(self) -> str:
        """The address of the level multiversion functions run at."""
        from bare import simd

        dispatch: Any = simd.dispatch
        return self.constants.address(dispatch._allocation_, dispatch._offset_)

    def half_conversion(self, name: str) -> Function:
        """A soft conversion (bits to bits): `from f16`, `to f16` or `to bf16`."""
        function = self.program.halves[name]
        self._wanted.append(function)
        return function

    def attribute_group(self, function: Function) -> int:
        """The number of the function's attributes."""
        if function.level == ty.PLAIN:
            soft = function in self.program.halves.values()  # Part of baseline vector code.
            return 0 if soft else PLAIN_GROUP
        return function.level

    # -- printing --------------------------------------------------------------------------------

    def add(self, functions: Sequence[Function]) -> None:
        """Print functions of this module and the small ones of others they call."""
        done = set(functions)
        waiting = list(functions)
        while waiting:
            function = waiting.pop(0)
            self._wanted = sorted(function.calls, key=_order)
            self.bodies.append((function, FunctionEmitter(self, function).text()))
            for called in self._wanted:
                if called in done:
                    continue
                done.add(called)
                if self.program.homes.get(called) != self.name:
                    self.uses.add(called)
                    if self._repeat(called):
                        waiting.append(called)

    def _repeat(self, function: Function) -> bool:
        if function.external or function.export:
            return False
        return function in self.program.halves.values() or self.program.small(function)

    def add_text(self, symbol: str, text: str) -> None:
        """A definition that is no checked function."""
        self._defined.add(symbol)
        self.bodies.append((None, text))

    def needs(self, symbol: str) -> bool:
        """Whether `need_symbol` was called for it."""
        return symbol in self._symbols

    def text(self, shared: set[Function], module_asm: str = "") -> str:
        """The module. `shared` are the functions that other modules use."""
        lines = [f'module asm "{_escape(line)}"' for line in module_asm.splitlines()]
        defined: set[str] = set()
        bodies = []
        for function, text in self.bodies:
            if function is None:
                bodies.append(text)
                continue
            defined.add(function.symbol)
            if self.program.homes[function] != self.name:
                text = text.replace("define internal ", "define available_externally hidden ", 1)
            elif function in shared:
                text = text.replace("define internal ", "define hidden ", 1)
            bodies.append(text)
        lines += self.constants.lines
        lines += bodies
        lines += self._outside(defined)
        lines += INTRINSICS
        lines += self._declarations.values()
        red_zone = "noredzone " if self.program.image else ""
        lines += [f"attributes #{n} = {{ {red_zone}{text} }}" for n, text in enumerate(ATTRIBUTES)]
        lines.append(f"attributes #{TRAP_GROUP} = {{ noreturn nounwind cold }}")
        lines.append(f"attributes #{OUTSIDE_GROUP} = {{ nounwind }}")
        lines.append(self.debug.text())
        return "\n".join(lines) + "\n"

    def _outside(self, defined: set[str]) -> list[str]:
        """Declarations of the functions and symbols of others."""
        lines = []
        for function in sorted(self.uses, key=_order):
            if function.symbol in defined:
                continue
            defined.add(function.symbol)
            kinds = ", ".join(stored(p.type, function.level) for p in function.parameters)
            hidden = "" if function.export or function.external else "hidden "
            result = stored(function.result, function.level)
            lines.append(f'declare {hidden}{result} @"{function.symbol}"({kinds}) #{OUTSIDE_GROUP}')
        if "bare_trap" not in defined:
            defined.add("bare_trap")
            lines.append("declare void @bare_trap(i32)")
        symbols = sorted(self._symbols - defined - self._defined)
        return lines + [f'@"{name}" = external global i8' for name in symbols]


def site_table(shard: Shard, shards: Sequence[Shard]) -> str:
    """The trap sites of all `shards`, for the panic report: an array for each, and their places."""
    from bare.trap import TrapSite

    kind = stored(TrapSite)
    lines, places = [], []
    for other in shards:
        rows = []
        for site in other.sites:
            record = TrapSite(site.file.encode(), site.line, site.column, site.reason.encode())
            rows.append(f"{kind} {shard.constants.constant(record, TrapSite)}")
        name = f'@"{SITES_SYMBOL}.{other.index}"'
        lines.append(f"{name} = internal constant [{len(rows)} x {kind}] [{', '.join(rows)}]")
        places.append(f"ptr {name}")
    body = ", ".join(places)
    lines.append(f"@{SITES_SYMBOL} = hidden constant [{len(places)} x ptr] [{body}]")
    return "\n".join(lines)


def _order(function: Function) -> tuple[str, int, str]:
    """Source order."""
    return function.span.file, function.span.line, function.symbol


def in_source_order(functions: Sequence[Function]) -> list[Function]:
    """The functions by file and line."""
    return sorted(functions, key=_order)


def _escape(line: str) -> str:
    return line.replace("\\", "\\5C").replace('"', "\\22").replace("\t", "\\09")


INTRINSICS = [
    "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
    "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
    "declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)",
    *(f"declare i{n} @llvm.bswap.i{n}(i{n})" for n in (16, 32, 64)),
    *(
        f"declare {{ i64, i1 }} @llvm.{s}{op}.with.overflow.i64(i64, i64)"
        for s in "su"
        for op in ("add", "sub", "mul")
    ),
    *(f"declare i64 @llvm.{s}{op}.i64(i64, i64)" for s in "su" for op in ("min", "max")),
    *(
        f"declare {kind} @llvm.{name}.{suffix}({kind})"
        for name in ("sqrt", "floor", "fabs")
        for kind, suffix in (("float", "f32"), ("double", "f64"))
    ),
]
