"""Variables without a value, and stack storage that would outlive its function, are refused."""

import pytest

from tests.bare.compiler import differential as run

HEAD = """
from dataclasses import dataclass
from bare import *
from bare.text import Writer


@dataclass(frozen=True, slots=True)
class View:
    data: Slice[u8]


class Node(Struct):
    value: u32
    next: "Node | None" = None


class Holder(Struct):
    node: Node | None = None
    data: Slice[u8]


def trim(data: Slice[u8]) -> Slice[u8]:
    return data[1:]


def length(data: Slice[u8]) -> usize:
    return len(data)


def keep(node: Node) -> Node:
    return node
"""
REFUSED = {
    "one branch": ("n: u8", "u8", "if n > 3:\n x = 1\nreturn u8(x)", "unassigned"),
    "loop that may not run": (
        "n: u8",
        "u8",
        "for i in range(n):\n x = i\nreturn u8(x)",
        "unassigned",
    ),
    "loop variable": ("n: u8", "u8", "for i in range(n):\n pass\nreturn u8(i)", "unassigned"),
    "only after": (
        "n: u8",
        "u8",
        "while n > 3:\n n = n - 1\n n = u8(x)\n x = 2\nreturn n",
        "unassigned",
    ),
    "break before": (
        "n: u8",
        "u8",
        "while True:\n if n > 3:\n  break\n x = 2\n n += 1\nreturn u8(x)",
        "unassigned",
    ),
    "declared": ("n: u8", "u8", "x: u8\nif n > 3:\n x = 2\nreturn x", "unassigned"),
    "unrolled with break": (
        "n: u8",
        "u8",
        "for i in unroll(4):\n if n == i:\n  break\nreturn u8(i)",
        "unassigned",
    ),
    "returned buffer": ("", "Slice[u8]", "return stack(u8, 8)", "stack-escape"),
    "returned part": ("", "Slice[u8]", "b = stack(u8, 8)\nc = b[2:4]\nreturn c", "stack-escape"),
    "returned bytes": ("", "Bytes", "b = stack(u8, 8)\nreturn b", "stack-escape"),
    "returned struct": ("", "Node", "n = Node(1)\nreturn n", "stack-escape"),
    "returned optional": (
        "c: bool",
        "Node | None",
        "n = Node(1)\nreturn n if c else None",
        "stack-escape",
    ),
    "returned record": ("", "View", "return View(stack(u8, 8))", "stack-escape"),
    "returned tuple": ("", "tuple[u8, Node]", "return (1, Node(1))", "stack-escape"),
    "returned by a call": ("", "Slice[u8]", "return trim(stack(u8, 8))", "stack-escape"),
    "returned struct by a call": ("", "Node", "return keep(Node(1))", "stack-escape"),
    "returned text": ("", "Bytes", "w = Writer(stack(u8, 8))\nreturn w.written()", "stack-escape"),
    "stored in a field": ("h: Holder", "None", "h.data = stack(u8, 8)", "stack-escape"),
    "stored struct": ("h: Holder", "None", "n = Node(1)\nh.node = n", "stack-escape"),
    "stored by a loop": (
        "h: Holder",
        "None",
        "for i in range(3):\n n = Node(1)\n h.node = n",
        "stack-escape",
    ),
    "copied with what it holds": (
        "h: Holder",
        "None",
        "g = Holder(data=stack(u8, 8))\nh.assign(g)",
        "stack-escape",
    ),
    "the one before": (
        "n: u8",
        "u32",
        "p = Node(0)\nfor i in range(n):\n q = Node(u32(i))\n p = q\nreturn p.value",
        "stack-loop",
    ),
    "linked in a loop": (
        "n: u8",
        "u32",
        "p = Node(0)\nfor i in range(n):\n p.next = Node(1)\nreturn 1",
        "stack-escape",
    ),
}
ACCEPTED = {
    "both branches": ("n: u8", "u8", "if n > 3:\n x = 1\nelse:\n x = 2\nreturn u8(x)"),
    "returning branch": ("n: u8", "u8", "if n > 3:\n return 0\nelse:\n x = 2\nreturn u8(x)"),
    "endless loop": (
        "n: u8",
        "u8",
        "while True:\n x = 1\n if n > 3:\n  break\n n += 1\nreturn u8(x)",
    ),
    "unrolled": ("n: u8", "u8", "for i in unroll(4):\n n = wrap(u8, n + i)\nreturn u8(n + i)"),
    "passed down": ("", "usize", "return length(stack(u8, 8))"),
    "held on the stack": ("", "usize", "h = Holder(data=stack(u8, 8))\nreturn len(h.data)"),
    "linked on the stack": ("", "u32", "a = Node(1)\nb = Node(2, a)\nreturn b.value"),
    "new in each iteration": (
        "n: u8",
        "u32",
        "t: u32 = 0\nfor i in range(n):\n p = Node(u32(i))\n t += p.value\nreturn t",
    ),
}


def function(parameters: str, result: str, body: str) -> str:
    lines = "\n".join("    " + line for line in body.splitlines())
    return f"{HEAD}\n\ndef f({parameters}) -> {result}:\n{lines}\n"


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    *parts, rule = REFUSED[name]
    assert {found for found, _ in run.errors_of(function(*parts))} == {rule}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    assert run.errors_of(function(*ACCEPTED[name])) == []
