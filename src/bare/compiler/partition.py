"""Which module of the program a function goes to.

Vector code by level: a level's functions call only each other, and nothing of it can be inlined
elsewhere; levels that share bodies are one module. The rest by package (`merlion.net`, `bare`), as
calls stay mostly inside one. A small program is one module: starting LLVM takes longer than it
would gain.
"""

from collections.abc import Mapping, Sequence

from bare.compiler import types as ty
from bare.compiler.levels import MODULE
from bare.compiler.tree import Function, Node

SMALL_PROGRAM = 12_000  # Nodes.
SMALL_FUNCTION = 40


def partition(packages: Mapping[Function, str], split: bool) -> dict[Function, str]:
    """The module of every function; `packages` says where a function was written."""
    total = 0
    for function in packages:
        total += size_of(function.body)
    if not split or total < SMALL_PROGRAM:
        return dict.fromkeys(packages, "program")
    return {
        function: package if function.level == ty.PLAIN else MODULE[function.level]
        for function, package in packages.items()
    }


def package_of(module: str) -> str:
    """`merlion.net` of `merlion.net.tcp`; a lone module is a package of its own."""
    return ".".join(module.split(".")[:2]) if module.split(".")[0] != "bare" else "bare"


def size_of(body: Sequence[Node]) -> int:
    """Nodes of a tree, as a measure of the code it becomes."""
    count = 0
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        count += 1
        waiting.extend(node.args)
        for inner in node.bodies:
            waiting.extend(inner)
    return count


def is_small(function: Function) -> bool:
    """Inlined wherever it is called, most likely."""
    return size_of(function.body) <= SMALL_FUNCTION and not function.dispatch
