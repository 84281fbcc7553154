"""Prints the typed tree, for `bare dump --stage typed`.

Everything implicit in the source stands here: conversions, checks, the order of computation. An
integer is followed by the interval of values it can have where that is not its type's.
"""

from typing import Any

from bare.compiler import types as ty
from bare.compiler.tree import Function, Local, LoopLabels, Node

INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "floordiv": "//",
    "mod": "%",
    "shl": "<<",
    "shr": ">>",
    "and": "&",
    "or": "|",
    "xor": "^",
    "fadd": "+",
    "fsub": "-",
    "fmul": "*",
    "fdiv": "/",
}
PREDICATES = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def show_function(function: Function) -> str:
    """One function: its signature, variables and body."""
    parameters = ", ".join(f"{name(p)}: {ty.name_of(p.type)}" for p in function.parameters)
    lines = [f"def {function.name}({parameters}) -> {ty.name_of(function.result)}:"]
    if function.dispatch:
        lines += [f"    level {i}: {f.name}" for i, f in enumerate(function.dispatch)]
    for local in function.locals[len(function.parameters) :]:
        lines.append(f"    var {name(local)}: {ty.name_of(local.type)}")
    lines += body(function.body, 1)
    return "\n".join(lines) + "\n"


def name(local: Local) -> str:
    """A variable; temporaries by number."""
    return f"t{local.index}" if local.name.startswith(".") else local.name


def body(nodes: list[Node], indent: int) -> list[str]:
    """Statements, one a line."""
    lines = []
    for node in nodes:
        lines += statement(node, "    " * indent, indent)
    return lines


def statement(node: Node, pad: str, indent: int) -> list[str]:
    """One statement."""
    values = [value(a) for a in node.args]
    if node.op == "assign":
        return [f"{pad}{name(node.data)} = {values[0]}"]
    if node.op == "store":
        return [f"{pad}[{values[0]}] = {values[1]}"]
    if node.op == "if":
        lines = [f"{pad}if {values[0]}:", *body(node.bodies[0], indent + 1)]
        if node.bodies[1]:
            lines += [f"{pad}else:", *body(node.bodies[1], indent + 1)]
        return lines
    if node.op == "loop":
        lines = [f"{pad}while {values[0]}:  # loop {node.data.uid}"]
        lines += body(node.bodies[0], indent + 1)
        if node.bodies[1]:
            lines += [f"{pad}step:", *body(node.bodies[1], indent + 1)]
        return lines
    if node.op == "block":
        return [f"{pad}block {node.data.uid}:", *body(node.bodies[0], indent + 1)]
    if node.op in ("trap", "check"):
        text = f"{node.op} {' '.join(values)}".rstrip()
        return [f"{pad}{text}  # trap: {node.data}"]
    if node.op == "evaluate":
        return [f"{pad}{values[0]}"]
    label = f" {node.data.uid}" if isinstance(node.data, LoopLabels) else ""
    return [f"{pad}{node.op}{label} {' '.join(values)}".rstrip()]


def value(node: Node) -> str:
    """An expression, with its interval where it says something."""
    text = plain(node)
    if node.op in ("const", "range_check") or not ty.is_int(node.type):
        return text
    if (node.low, node.high) in ((0, 0), ty.interval(node.type)):
        return text
    return f"{text}{{{node.low}..{node.high}}}"


def plain(node: Node) -> str:
    """An expression without its interval."""
    args = [value(a) for a in node.args]
    mode = node.data[0] if isinstance(node.data, tuple) and node.data else node.data
    if node.op == "const":
        return str(node.data)
    if node.op == "local":
        return name(node.data)
    if node.op in INFIX:
        checked = f".{mode}" if mode in ("signed", "unsigned", "wide", "ring", "check") else ""
        return f"({args[0]} {INFIX[node.op]}{checked} {args[1]})"
    if node.op in ("compare", "fcompare"):
        return f"({args[0]} {PREDICATES[str(node.data).split()[0]]} {args[1]})"
    if node.op == "range_check":
        return f"fit[{node.data[0]}..{node.data[1]}]({args[0]})"
    if node.op == "choose":
        return f"({args[1]} if {args[0]} else {args[2]})"
    if node.op in ("and_then", "or_else"):
        return f"({args[0]} {node.op.partition('_')[0]} {args[1]})"
    if node.op == "call":
        return f"{node.data.name}({', '.join(args)})"
    if node.op == "sequence":
        inner = "; ".join(line.strip() for line in body(node.bodies[0], 0))
        return f"({inner}; {args[0]})"
    return f"{node.op}{detail(node)}({', '.join(args)})"


def detail(node: Node) -> str:
    """What an operation carries besides its operands."""
    data: Any = node.data
    if data is None or isinstance(data, LoopLabels):
        return ""
    if node.op in ("load", "wrap", "bitcast"):
        return f"[{ty.name_of(data[0] if isinstance(data, tuple) else data)}]"
    if node.op in ("static", "table", "lookup", "make"):
        return f"[{ty.name_of(node.type)}]"
    if isinstance(data, tuple):
        return (
            "["
            + ", ".join(ty.name_of(d) if not isinstance(d, (int, str)) else str(d) for d in data)
            + "]"
        )
    return f"[{data!r}]"
