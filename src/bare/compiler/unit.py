"""The whole program: from entry functions to one LLVM module as text.

    check every reachable instance -> verify the trees -> call graph -> emit

`mode` is "image" (static storage is defined in the module, entries are exported by name) or "jit"
(static storage is the CPython objects themselves, entries get a wrapper that takes one block).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal

from bare import runtime
from bare.codec import layout
from bare.compiler import types as ty
from bare.compiler.callgraph import refuse_recursion
from bare.compiler.check import Checker
from bare.compiler.debug_info import DebugInfo
from bare.compiler.diagnostics import Diagnostics, Span, display_path
from bare.compiler.emit import FunctionEmitter
from bare.compiler.instances import Instances, SignatureError
from bare.compiler.llvm import Constants, stored
from bare.compiler.tree import Function
from bare.compiler.verify import verify

BASE = 'nounwind "frame-pointer"="all"'
ATTRIBUTES = (
    (0, f'{BASE} "target-cpu"="x86-64-v2"'),
    (1, f'{BASE} "target-cpu"="x86-64-v3"'),
    (
        2,
        f'{BASE} "target-cpu"="x86-64-v4" "target-features"="+avx512vnni" '
        '"prefer-vector-width"="512" "min-legal-vector-width"="512"',
    ),
)

HALF_CONVERSIONS = {
    "from f16": runtime.f16_to_f32_bits,
    "to f16": runtime.f32_to_f16_bits,
    "to bf16": runtime.f32_to_bf16_bits,
}


@dataclass(frozen=True, slots=True)
class Site:
    """A place that can trap."""

    file: str
    line: int
    column: int
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A function that Python can call: its wrapper and its signature."""

    symbol: str
    parameters: list[tuple[str, Any, Any]]
    result: Any


@dataclass
class Unit:
    """A compiled program, as IR text with what is needed to load or link it."""

    mode: Literal["image", "jit"]
    ir: str = ""
    sites: list[Site] = field(default_factory=list)
    statics: dict[str, Any] = field(default_factory=dict)
    entries: dict[Any, Entry] = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.constants = Constants(self.mode == "image")
        self.debug = DebugInfo()
        self.site_numbers: dict[Site, int] = {}
        self.declarations: dict[str, str] = {}
        self.symbols: set[str] = set()
        self.halves: dict[str, Function] = {}

    def site(self, span: Span, reason: str) -> int:
        """The number of a trap site."""
        site = Site(display_path(span.file), span.line, span.column, reason)
        if site not in self.site_numbers:
            self.site_numbers[site] = len(self.sites)
            self.sites.append(site)
        return self.site_numbers[site]

    def declare(self, name: str, result: str, parameters: str) -> None:
        """Declare an intrinsic."""
        self.declarations[name] = f"declare {result} @{name}({parameters})"

    def need_symbol(self, name: str) -> None:
        """A symbol of the linker, of assembly, or exported by another function."""
        self.symbols.add(name)

    def level_place(self) -> str:
        """The address of the level multiversion functions run at."""
        from bare.simd import dispatch

        return self.constants.address(dispatch._allocation_, dispatch._offset_)

    def half_conversion(self, name: str) -> Function:
        """A soft conversion (bits to bits): `from f16`, `to f16` or `to bf16`."""
        return self.halves[name]


def owner_of(source: FunctionType) -> tuple[Any, bool]:
    """The class a function is a method of (None: a plain function), and whether it is static."""
    parts = source.__qualname__.split(".")
    if len(parts) == 1 or "<locals>" in parts:
        return None, True
    owner: Any = source.__globals__.get(parts[0])
    for name in parts[1:-1]:
        owner = vars(owner)[name]
    found = vars(owner).get(parts[-1]) if owner is not None else None
    return owner, isinstance(found, staticmethod)


def check_program(
    entries: Sequence[FunctionType], diagnostics: Diagnostics
) -> tuple[Instances, list[Function]]:
    """Check every function reachable from the entries."""
    instances = Instances(diagnostics)
    roots = []
    for source in entries:
        owner, static = owner_of(source)
        try:
            roots.append(instances.get(source, owner, {}, ty.PLAIN, static))
        except SignatureError as error:
            span = Span(source.__code__.co_filename, source.__code__.co_firstlineno)
            diagnostics.error(span, "annotation", str(error), error.fix)
    for soft in HALF_CONVERSIONS.values():
        instances.get(soft, None, {}, ty.PLAIN, True)
    while instances.pending:
        pending = instances.pending.pop()
        Checker(pending, instances).run()
    diagnostics.check()
    return instances, roots


def compile_unit(
    entries: Sequence[FunctionType], mode: Literal["image", "jit"], module_asm: str = ""
) -> Unit:
    """Compile the program reachable from `entries`. Raises CompileError with all errors."""
    diagnostics = Diagnostics()
    instances, roots = check_program(entries, diagnostics)
    functions = list(instances.known.values())
    for function in functions:
        verify(function)
    refuse_recursion(functions, diagnostics)
    diagnostics.check()
    unit = Unit(mode, functions=functions)
    for name, soft in HALF_CONVERSIONS.items():
        unit.halves[name] = instances.get(soft, None, {}, ty.PLAIN, True)
    bodies = [FunctionEmitter(unit, f).text() for f in functions if f.external is None]
    if mode == "jit":
        for source, root in zip(entries, roots, strict=True):
            bodies.append(wrapper(unit, instances, source, root, len(unit.entries)))
    unit.ir = assemble(unit, functions, bodies, module_asm)
    unit.statics = {
        name.strip('@"'): allocation for name, allocation in unit.constants.statics.values()
    }
    return unit


def wrapper(
    unit: Unit, instances: Instances, source: FunctionType, root: Function, number: int
) -> str:
    """`void entry(ptr block)`: loads the arguments, calls, stores the result."""
    owner, static = owner_of(source)
    signature = instances.signature(source, owner, static)
    symbol = f"entry.{number}"
    lines, words, at = [], [], 0
    parameters = []
    for p in signature.parameters:
        found = layout(p.type)
        at = -(-at // found.align) * found.align
        parameters.append((p.name, p.type, p.default))
        kind = stored(p.type)
        index = len(words)
        lines.append(f"  %a{index} = getelementptr i8, ptr %block, i64 {at}")
        lines.append(f"  %w{index} = load {kind}, ptr %a{index}")
        words.append(f"{kind} %w{index}")
        at += found.size
    result = stored(root.result)
    call = f'call {result} @"{root.symbol}"({", ".join(words)})'
    if result == "void":
        lines.append(f"  {call}")
    else:
        found = layout(root.result)
        at = -(-at // found.align) * found.align
        lines.append(f"  %result = {call}")
        lines.append(f"  %place = getelementptr i8, ptr %block, i64 {at}")
        lines.append(f"  store {result} %result, ptr %place")
    unit.entries[source] = Entry(symbol, parameters, root.result)
    body = "\n".join(lines)
    return f'define void @"{symbol}"(ptr %block) #0 {{\n{body}\n  ret void\n}}\n'


def assemble(
    unit: Unit, functions: list[Function], bodies: list[str], module_asm: str
) -> str:
    """The module text."""
    defined = {f.symbol for f in functions if f.external is None}
    red_zone = "noredzone " if unit.mode == "image" else ""
    lines = [f'module asm "{_escape(line)}"' for line in module_asm.splitlines()]
    lines += unit.constants.lines
    if "@bare_sites" in "".join(bodies):
        lines.append(site_table(unit))
    lines += bodies
    if "bare_trap" not in defined:
        lines.append("declare void @bare_trap(i32)")
    for f in functions:
        if f.external is not None and f.external not in defined:
            kinds = ", ".join(stored(p.type) for p in f.parameters)
            lines.append(f'declare {stored(f.result)} @"{f.symbol}"({kinds})')
            defined.add(f.symbol)
    lines += [
        f'@"{name}" = external global i8' for name in sorted(unit.symbols) if name not in defined
    ]
    lines += INTRINSICS
    lines += unit.declarations.values()
    lines += [f"attributes #{n} = {{ {red_zone}{text} }}" for n, text in ATTRIBUTES]
    lines.append("attributes #3 = { noreturn nounwind cold }")
    lines.append(unit.debug.text())
    return "\n".join(lines) + "\n"


def site_table(unit: Unit) -> str:
    """The trap sites as an array of TrapSite records, for the panic report of an image."""
    from bare.trap import TrapSite

    kind = stored(TrapSite)
    before = len(unit.constants.lines)
    rows = []
    for site in unit.sites:
        record = TrapSite(site.file.encode(), site.line, site.column, site.reason.encode())
        rows.append(f"{kind} {unit.constants.constant(record, TrapSite)}")
    added = unit.constants.lines[before:]
    table = f"@bare_sites = internal constant [{len(rows)} x {kind}] [{', '.join(rows)}]"
    return "\n".join([*added, table])


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
