"""Holds a checked function against the table of operations before it is emitted."""

from bare.compiler.tree import OPERATIONS, Function, Node


class MalformedTree(AssertionError):  # noqa: N818 - a bug of the compiler, not a user error
    """The checker made a tree that the emitter does not define."""


def verify(function: Function) -> None:
    """Raise `MalformedTree` where a node breaks the specification of tree.py."""
    pending = list(function.body)
    while pending:
        node = pending.pop()
        verify_node(node, function)
        pending.extend(node.args)
        for body in node.bodies:
            pending.extend(body)


def verify_node(node: Node, function: Function) -> None:
    """One node: a known operation, its operand count, an interval that is in order."""
    if node.op not in OPERATIONS:
        raise MalformedTree(f"{function.name}: unknown operation {node.op}")
    count, _ = OPERATIONS[node.op]
    if count is not None and len(node.args) != count:
        raise MalformedTree(
            f"{function.name}: {node.op} has {len(node.args)} operands, not {count}"
        )
    if node.low > node.high:
        raise MalformedTree(f"{function.name}: {node.op} has an empty interval at {node.span}")
