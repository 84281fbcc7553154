"""What compiled code once got wrong, or easily could: order, loops, limits, narrowing."""

from typing import Any

import pytest

from bare import Slice
from tests.bare.compiler import differential as run

SOURCE = """
from enum import Enum, IntEnum, IntFlag
from bare import *
from bare import saturate, wrap

DEBUG = False
LETTERS = (b"a", b"b")


class Color(Enum):
    RED = 1
    BLUE = 2


class Bits(IntFlag):
    A = 1
    B = 2


class State(Struct):
    at: u8 = 0
    log: u64 = 0
    items: Array[u8] = array(8)
    choice: u8 | None = 0

    def next(self) -> u8:
        self.at += 1
        return self.at

    def write(self, digit: u8) -> u8:
        self.log = self.log * 10 + digit
        return digit

    def view(self) -> Slice[u8]:
        self.write(7)
        return self.items[:]


class Node(Struct):
    value: u32
    other: "Node | None" = None


def fresh() -> State:
    return state


state = State.zeroed()


def reset() -> None:
    state.at = 0
    state.log = 0
    state.items[:].fill(0)


def operand_order() -> u64:
    reset()
    return state.next() * 100 + abs(state.next() - 10) * 10 + max(state.next(), state.at)


def argument_order() -> u64:
    reset()
    pair = (state.write(1), state.items[state.write(2) :][0], state.write(3))
    both(second=state.write(4), first=state.write(5))
    return state.log + pair[0]


def both(first: u8, second: u8) -> None:
    state.log = state.log * 100 + first * 10 + second


def store_order() -> u64:
    reset()
    state.items[state.at] = state.next()
    state.at += state.next()
    return state.items[0] * 1000 + state.items[1] * 100 + state.at


def chain(a: u8, b: u8) -> u64:
    reset()
    found = a < state.write(3) < 10 // b
    return state.log * 2 + (1 if found else 0)


def once() -> u64:
    reset()
    if state.view()[0:2] == b"ab":
        return 0
    if min(state.write(1), 3) == 2:
        return 1
    return state.log


def constant_in_and(n: u8) -> u8:
    if n > 3 and DEBUG:
        return 1
    if n < 3 or not DEBUG:
        return 2
    return 3


def loop_bounds(n: u8) -> u64:
    total: u64 = 0
    for i in range(n):
        n = 2
        total = total * 10 + i
    return total


def loop_slice(data: Slice[u8]) -> u64:
    total: u64 = 0
    for x in data:
        data = data[:1]
        total = total * 10 + x
    return total


def count_down(n: u8) -> u64:
    total: u64 = 0
    for i in range(n, -1, -1):
        total += i
    return total


def count_by(n: u8, step: u8) -> u64:
    total: u64 = 0
    for i in range(0, n, step):
        total = total * 2 + i
    return total


def sum_bound(a: u8, b: u8) -> u64:
    total: u64 = 0
    for i in range(a + b):
        total += i
    return total


def unrolled_break(n: u8) -> u8:
    for letter in LETTERS:
        if letter[0] == n:
            return 1
        if n == 7:
            continue
        if n == 9:
            break
    return 0


def unrolled_narrowing(node: Node | None, skip: bool) -> u32:
    total: u32 = 0
    for i in unroll(2):
        if skip:
            continue
        if node is None:
            return 99
        total += node.value
    return total


def counted_narrowing(data: Slice[u8]) -> bool:
    last: usize | None = None
    for last, byte in enumerate(data):
        if byte == 0:
            break
    return last is None


def break_narrowing(node: Node | None, stop: bool) -> u32:
    while node is not None:
        if stop:
            break
        node = node.other
    if node is None:
        return 0
    return node.value


def remainder(a: i64, b: i64) -> i64:
    return a % b


def quotient(a: i64, b: i64) -> i64:
    return a // b


def lesser(a: u64, b: i8) -> i64:
    signed = -1
    signed = b
    return min(a, signed)


def wrap_inside(a: u32, b: u32, data: Slice[u8]) -> u32:
    return wrap(u32, (1 if a - b < 0 else 2) + data[(a - b) & 1] + (a - b) // 2)


def flag_bits(a: Bits) -> u8:
    match a:
        case Bits.A:
            return 1
        case Bits.B:
            return 2
    return 3


def wild(n: u8) -> u8:
    match n:
        case 1 | _:
            return 1


def choose_panic(n: u8) -> u8:
    x = n if n < 10 else stop()
    return x


def stop() -> u8:
    panic(b"too large")


def as_float(n: i64) -> f64:
    return f64(f32(n))


def default_union() -> u8:
    s = State()
    found = s.choice
    if found is None:
        return 1
    return found


def rebuilt(n: u8) -> u64:
    total: u64 = 0
    for i in range(n):
        node = Node(u32(i))
        node = Node(node.value + 1)
        total += node.value
    return total


def divide(a: f64, b: f64) -> f64:
    return a / b


def not_none(n: u8) -> bool:
    x = None if n > 3 else n
    return x is not None and x != 2


def color(n: u8) -> u8 | Color:
    return n if n < 3 else Color.BLUE


def compare_union(n: u8) -> u8:
    if color(n) == Color.BLUE:
        return 10
    if color(n) == 2:
        return 20
    return 30


def shift(a: i64, n: i64) -> i64:
    return a << n


def back(a: i64, n: i64) -> i64:
    return a >> n


def clamp(a: i64) -> tuple[i8, u8, i64]:
    return saturate(i8, a), saturate(u8, a), saturate(i64, a * 2)
"""
I64 = (-(2**63), 2**63 - 1, -1, 0, 1, 7, -7)
DATA = Slice.from_bytes(b"\x05\x06\x07")
CALLS: dict[str, list[tuple[Any, ...]]] = {
    "operand_order": [()],
    "argument_order": [()],
    "store_order": [()],
    "chain": [(1, 1), (5, 0), (1, 0), (1, 9)],
    "once": [()],
    "constant_in_and": [(2,), (3,), (4,)],
    "loop_bounds": [(5,)],
    "loop_slice": [(DATA,)],
    "count_down": [(0,), (3,), (255,)],
    "count_by": [(255, 10), (255, 200), (5, 0), (0, 1), (7, 3)],
    "sum_bound": [(200, 200), (0, 0)],
    "unrolled_break": [(97,), (98,), (7,), (9,), (1,)],
    "remainder": [(a, b) for a in I64 for b in I64],
    "quotient": [(a, b) for a in I64 for b in I64],
    "lesser": [(2**64 - 1, -5), (3, 4), (2**63, 127)],
    "wrap_inside": [(3, 5, DATA), (5, 3, DATA), (2**32 - 1, 0, DATA)],
    "wild": [(1,), (2,)],
    "choose_panic": [(3,), (30,)],
    "as_float": [(2**53 + 2**29 + 1,), (2**63 - 1,), (-(2**60) - 1,)],
    "default_union": [()],
    "rebuilt": [(4,)],
    "divide": [(1.0, 3.0), (1.0, 0.0), (0.0, 0.0), (1.0, float("nan"))],
    "not_none": [(1,), (2,), (4,)],
    "compare_union": [(1,), (2,), (4,)],
    "shift": [(a, n) for a in I64 for n in (0, 1, 62, 63, 64, -1)],
    "back": [(a, n) for a in I64 for n in (0, 1, 62, 63, -1)],
    "clamp": [(a,) for a in (0, 127, 128, 300, -129, 2**62 - 1)],
}


@pytest.fixture(scope="module")
def both() -> tuple[Any, dict[str, Any]]:
    module = run.module_of(SOURCE, "meaning")
    return module, run.load_module(module)


@pytest.mark.parametrize("name", CALLS)
def test_means_the_same(both: Any, name: str) -> None:
    module, compiled = both
    for arguments in CALLS[name]:
        expected = run.outcome(getattr(module, name), arguments)
        found = run.outcome(compiled[name], arguments)
        late = name in ("shift", "quotient") and found == run.RAISED  # Out of 64 bits on the way.
        assert late or run.same(expected, found), f"{arguments}: {expected}, compiled {found}"


def test_narrowing_over_paths(both: Any) -> None:
    module, compiled = both
    for function in ("unrolled_narrowing", "break_narrowing"):
        for node in (None, module.Node(5)):
            for flag in (False, True):
                expected = getattr(module, function)(node, flag)
                assert compiled[function](node, flag) == expected
    for data in (b"", b"\1\2", b"\1\0\2"):
        expected = module.counted_narrowing(data)
        assert compiled["counted_narrowing"](data) == expected


def test_flags_fall_through(both: Any) -> None:
    module, compiled = both
    for value in (module.Bits.A, module.Bits.B, module.Bits.A | module.Bits.B):
        assert compiled["flag_bits"](value) == module.flag_bits(value)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("return a == None", "subset"),
        ("return a and b", "condition"),
        ("return a is b", "subset"),
        ("return len(enumerate(c, 1)) > 0", "subset"),
        ("return (a < 3) < (b < 3)", "type"),
        ("for i, x in enumerate(c, 1):\n        a = x\n    return True", "subset"),
        ("return (a, b)[2] > 0", "range"),
        ("return a < 1 << 5000", "range"),
        ("c[0:1] = c\n    return True", "subset"),
    ],
)
def test_refused(body: str, rule: str) -> None:
    text = f"from bare import *\n\n\ndef f(a: u8, b: u8, c: Slice[u8]) -> bool:\n    {body}\n"
    assert {found for found, _ in run.errors_of(text)} == {rule}
