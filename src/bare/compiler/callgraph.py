"""The call graph is static: every call names its target, so recursion can be refused."""

from bare.compiler.diagnostics import Diagnostics, Info
from bare.compiler.tree import Function


def refuse_recursion(functions: list[Function], diagnostics: Diagnostics) -> None:
    """Report every cycle once, with the functions on it."""
    done: set[Function] = set()
    for root in functions:
        if root in done:
            continue
        stack: list[tuple[Function, list[Function]]] = [(root, list(root.calls))]
        path = [root]
        while stack:
            function, rest = stack[-1]
            if not rest:
                stack.pop()
                path.pop()
                done.add(function)
                continue
            called = rest.pop()
            if called in path:
                report(path[path.index(called) :], diagnostics)
                done.add(called)
            elif called not in done:
                stack.append((called, list(called.calls)))
                path.append(called)


def report(cycle: list[Function], diagnostics: Diagnostics) -> None:
    """One cycle of calls."""
    first = cycle[0]
    others = [Info(f"{f.name} is called on the way", f.span) for f in cycle[1:]]
    diagnostics.error(
        first.span,
        "recursion",
        f"{first.name} calls itself",
        "use a loop with a stack of its own",
        others,
    )
