"""The whole program: from entry functions to LLVM modules as text.

    check every reachable instance -> verify the trees -> call graph -> emit

`mode` is "image" (static storage is defined in the module, entries are exported by name) or "jit"
(static storage is the CPython objects themselves, entries get a wrapper that takes one block).
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal

from bare import runtime
from bare.codec import layout
from bare.compiler import types as ty
from bare.compiler.callgraph import refuse_recursion
from bare.compiler.check import Checker
from bare.compiler.diagnostics import Diagnostics, Span
from bare.compiler.emit_values import SITE_BITS, SITES_SYMBOL
from bare.compiler.instances import Instances, SignatureError, owner_of
from bare.compiler.llvm import Linkage, stored
from bare.compiler.partition import is_small, package_of, partition
from bare.compiler.shard import Program, Shard, Site, in_source_order, site_table
from bare.compiler.statics import Path, StaticNames
from bare.compiler.tree import Function
from bare.compiler.verify import verify

DATA_SHARD = "data"
HALF_CONVERSIONS: dict[str, Any] = {
    "from f16": runtime.f16_to_f32_bits,
    "to f16": runtime.f32_to_f16_bits,
    "to bf16": runtime.f32_to_bf16_bits,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A function that Python can call: its wrapper and its signature."""

    symbol: str
    parameters: list[tuple[str, Any, Any]]
    result: Any


@dataclass
class Unit:
    """A compiled program: the IR of its modules, with what is needed to load or link them."""

    mode: Literal["image", "jit"]
    shards: dict[str, str] = field(default_factory=dict)  # IR text by name of the module.
    sites: dict[int, Site] = field(default_factory=dict)
    statics: dict[str, Any] = field(default_factory=dict)
    paths: Mapping[str, Path] = field(default_factory=dict)  # Where the statics are in modules.
    entries: dict[Any, Entry] = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)

    @property
    def ir(self) -> str:
        """The text of the only module."""
        (text,) = self.shards.values()
        return text


def check_program(
    entries: Sequence[FunctionType], diagnostics: Diagnostics, checked: bool = False
) -> tuple[Instances, list[Function]]:
    """Check every function reachable from the entries."""
    instances = Instances(diagnostics, checked)
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
        while instances.pending:
            Checker(instances.pending.pop(), instances).run()
        instances.complete_dispatchers()
    diagnostics.check()
    return instances, roots


def compile_unit(
    entries: Sequence[FunctionType],
    mode: Literal["image", "jit"],
    module_asm: str = "",
    split: bool = True,
    checked: bool = False,
) -> Unit:
    """Compile the program reachable from `entries`. Raises CompileError with all errors.

    A large program becomes several LLVM modules, unless `split` is false. With `checked` functions
    marked @unchecked keep their checks.
    """
    with _without_collector():
        return _compile(entries, mode, module_asm, split, checked)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Trees only grow while a program is compiled; looking for garbage in them is a third of it."""
    active = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if active:
            gc.enable()


def _compile(
    entries: Sequence[FunctionType],
    mode: Literal["image", "jit"],
    module_asm: str,
    split: bool,
    checked: bool,
) -> Unit:
    diagnostics = Diagnostics()
    instances, roots = check_program(entries, diagnostics, checked)
    functions = list(instances.known.values())
    for function in functions:
        verify(function)
    refuse_recursion(functions, diagnostics)
    diagnostics.check()
    packages = {
        function: package_of(key[0].__module__)
        for key, function in instances.known.items()
        if function.external is None
    }
    program = Program(
        image=mode == "image",
        names=StaticNames({key[0].__module__ for key in instances.known}),
        halves={
            name: instances.get(soft, None, {}, ty.PLAIN, True)
            for name, soft in HALF_CONVERSIONS.items()
        },
        homes=partition(packages, split),
        small=is_small,
    )
    unit = Unit(mode, functions=functions)
    wrappers: dict[Function, str] = {}
    if mode == "jit":
        for source, root in zip(entries, roots, strict=True):
            wrappers[root] = wrapper(unit, instances, source, root)
    emit_shards(unit, program, wrappers, module_asm)
    return unit


def emit_shards(
    unit: Unit, program: Program, wrappers: Mapping[Function, str], module_asm: str
) -> None:
    """Print the modules, then the one with the data they share."""
    members: dict[str, list[Function]] = {}
    for function in in_source_order(list(program.homes)):
        members.setdefault(program.homes[function], []).append(function)
    alone = len(members) == 1
    linkage: Linkage = "outside" if unit.mode == "jit" else "internal" if alone else "declared"
    shards = []
    for index, name in enumerate(sorted(members)):
        shard = Shard(name, index, program, linkage)
        shard.add(members[name])
        for root in members[name]:
            if root in wrappers:
                shard.add_text(entry_symbol(root), wrappers[root])
        shards.append(shard)
    data = shards[0]
    if not alone:
        data = Shard(DATA_SHARD, len(shards), program, "shared" if program.image else linkage)
    if any(shard.needs(SITES_SYMBOL) for shard in shards):
        data.add_text(SITES_SYMBOL, site_table(data, shards))
    statics = dict(found for shard in shards for found in shard.constants.statics.values())
    if program.image:
        for name in sorted(statics):
            data.constants.static(statics[name])
    unit.statics = {name.strip('@"'): allocation for name, allocation in statics.items()}
    unit.paths = program.names.paths
    shared = {function for shard in shards for function in shard.uses}
    for shard in shards if alone else [*shards, data]:
        unit.shards[shard.name] = shard.text(shared, module_asm if shard is data else "")
        for row, site in enumerate(shard.sites):
            unit.sites[(shard.index << SITE_BITS) + row] = site


def entry_symbol(root: Function) -> str:
    """The symbol of the wrapper that Python calls."""
    return f"entry.{root.symbol}"


def wrapper(unit: Unit, instances: Instances, source: FunctionType, root: Function) -> str:
    """`void entry(ptr block)`: loads the arguments, calls, stores the result."""
    owner, static = owner_of(source)
    signature = instances.signature(source, owner, static)
    symbol = entry_symbol(root)
    lines: list[str] = []
    words: list[str] = []
    parameters: list[tuple[str, Any, Any]] = []
    at = 0
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
