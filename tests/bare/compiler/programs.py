"""Random functions in the language: expressions over every type, and small programs.

Everything follows from the `random.Random` handed in. What is generated is legal Python; the
compiler may refuse it (no common type, narrowing), which the caller lets pass.
"""

import random

INTS = ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "usize")
LIMITS = {
    **{f"u{n}": (0, 2**n - 1) for n in (8, 16, 32, 64)},
    **{f"i{n}": (-(2 ** (n - 1)), 2 ** (n - 1) - 1) for n in (8, 16, 32, 64)},
    "usize": (0, 2**63 - 1),
}
PRELUDE = """
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from bare import *
from bare import saturate, wrap

TABLE = (3, 1, 4, 1, 5, 9, 2, 6)
SIGNED = (-7, 300, 2, -40000)
COLUMNS = ((1, b"a"), (2, b"bc"), (250, b""))
NAMES = {1: 10, 2: 20, 3: -30}
LITERAL = b"\\x00\\x7f\\x80\\xff"


class Level(IntEnum):
    LOW = 1
    MIDDLE = 5
    HIGH = 200


class Flags(IntFlag):
    A = 1
    B = 2
    C = 8


class Color(Enum):
    RED = 7
    GREEN = 9


@dataclass(frozen=True, slots=True)
class Pair:
    first: u32
    second: i16


class Box(Struct):
    narrow: u8
    wide: i64
    level: Level
    items: Array[u16] = array(4)
    count: Atomic[u32]


def halve(x: i64) -> i64:
    return x // 2


def pair_of(x: u32, y: i16) -> Pair:
    return Pair(x, y)


def swap(x: u16, y: i32) -> tuple[i32, u16]:
    return y, x


def maybe(x: i32) -> i32 | None:
    return x if x > 0 else None


def color_of(x: u8) -> u8 | Color:
    if x < 100:
        return x
    return Color.RED if x % 2 == 0 else Color.GREEN


def pick[T](c: bool, a: T, b: T) -> T:
    return a if c else b


def bump(box: Box) -> u8:
    box.narrow = wrap(u8, box.narrow + 1)
    return box.narrow
"""
HELPERS = ("halve", "pair_of", "swap", "maybe", "color_of", "bump")


class Generator:
    """Writes one function at a time."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names: dict[str, str] = {}  # Variables in scope and their types.
        self.fixed: set[str] = set()  # Not to be assigned.
        self.lines: list[str] = []
        self.serial = 0

    def pick(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def constant(self) -> str:
        """A number near some limit, or a small one."""
        if self.rng.random() < 0.6:
            return str(self.rng.randint(-4, 20))
        low, high = LIMITS[self.rng.choice(INTS)]
        return str(self.rng.choice((low, high)) + self.rng.randint(-1, 1))

    def atom(self) -> str:
        """A variable, a constant, or a read of memory."""
        roll = self.rng.random()
        ints = [n for n, t in self.names.items() if t in LIMITS or t == "int"]
        if roll < 0.55 and ints:
            return self.rng.choice(ints)
        if roll < 0.65 and "data" in self.names:
            return f"data[{self.pick('0', '1', 'len(data) - 1', self.atom())}]"
        if roll < 0.75 and "box" in self.names:
            part = self.pick("narrow", "wide", "level", "items[1]", "items[3]", "count.load()")
            return f"box.{part}"
        return self.constant()

    def integer(self, depth: int) -> str:
        """An integer expression."""
        if depth <= 0:
            return self.atom()
        roll = self.rng.random()
        if roll < 0.5:
            op = self.pick("+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>", "+", "-")
            right = self.integer(depth - 1)
            if self.rng.random() < 0.4:
                right = f"{self.pick('i64', 'i64', 'u64', 'usize', 'i32')}({right})"
            if op in ("<<", ">>") and self.rng.random() < 0.7:
                right = f"({right} & {self.pick('7', '31', '63')})"
            return f"({self.integer(depth - 1)} {op} {right})"
        kind = self.rng.choice(INTS)
        inner = self.integer(depth - 1)
        other = self.integer(depth - 1)
        forms = (
            f"wrap({kind}, {inner})",
            f"wrap({kind}, {inner})",
            f"saturate({kind}, {inner})",
            f"{kind}({inner})",
            f"{kind}({inner})",
            f"(-{inner})",
            f"(~{inner})",
            f"min({inner}, {other})",
            f"max({inner}, {other})",
            f"abs({inner})",
            f"({inner} if {self.condition(depth - 1)} else {other})",
            f"TABLE[{inner} & 7]",
            f"SIGNED[{inner} % 4]",
            f"COLUMNS[{inner} % 3][0]",
            f"len(COLUMNS[{inner} % 3][1])",
            f"LITERAL[{inner} & 3]",
            f"NAMES[{inner} % 4]",
            f"halve(i64({inner}))",
            f"pair_of(wrap(u32, {inner}), wrap(i16, {other})).{self.pick('first', 'second')}",
            f"swap(wrap(u16, {inner}), wrap(i32, {other}))[{self.pick('0', '1')}]",
            f"({inner}, {other})[{self.pick('0', '1')}]",
            f"pick({self.condition(depth - 1)}, i32({inner}), i32({other}))",
            f"bitcast(i32, wrap(u32, {inner}))",
            f"u8({self.condition(depth - 1)})",
            f"i64(f64(wrap(i32, {inner})) / 3.0)",
            f"wrap(u8, bitcast(u64, f64(wrap(i16, {inner}))) >> 48)",
            "bump(box)" if "box" in self.names else inner,
            "box.count.fetch_add(1)" if "box" in self.names else inner,
        )
        return self.rng.choice(forms)

    def condition(self, depth: int) -> str:
        """A bool expression."""
        flags = [n for n, t in self.names.items() if t == "bool"]
        if depth <= 0:
            return self.rng.choice(flags) if flags and self.rng.random() < 0.7 else "True"
        a, b = self.integer(depth - 1), self.integer(depth - 1)
        op = self.pick("<", "<=", "==", "!=", ">", ">=")
        forms = (
            f"({a} {op} {b})",
            f"({a} {op} {b})",
            f"({a} {self.pick('<', '<=')} {b} {op} {self.integer(depth - 1)})",
            f"(not {self.condition(depth - 1)})",
            f"({self.condition(depth - 1)} and {self.condition(depth - 1)})",
            f"({self.condition(depth - 1)} or {self.condition(depth - 1)})",
            f"({a} {self.pick('in', 'not in')} (1, 5, 200, -7))",
            f"(maybe(wrap(i32, {a})) is {self.pick('None', 'not None')})",
            f"isinstance(color_of(wrap(u8, {a})), Color)",
            f"(color_of(wrap(u8, {a})) == Color.RED)",
            f"bool({a})",
            f"({self.condition(depth - 1)} {self.pick('&', '|', '^', '==', '!=')} "
            f"{self.condition(depth - 1)})",
        )
        return self.rng.choice(forms)

    # -- statements --------------------------------------------------------------------------------

    def emit(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def fresh(self) -> str:
        self.serial += 1
        return f"v{self.serial}"

    def block(self, indent: int, count: int, loop: bool) -> None:
        """Some statements; names made here are forgotten after."""
        before = dict(self.names)
        for _ in range(count):
            self.statement(indent, loop)
        self.names = before

    def statement(self, indent: int, loop: bool) -> None:
        """One statement."""
        roll = self.rng.random()
        deep = indent > 3
        if roll < 0.25:
            name, kind = self.fresh(), self.rng.choice((*INTS, "int", "int"))
            value = self.integer(2)
            if kind == "int":
                self.emit(indent, f"{name} = {self.constant()}")
            else:
                self.emit(indent, f"{name}: {kind} = {self.convert(kind, value)}")
            self.names[name] = kind
        elif roll < 0.5:
            self.assign(indent)
        elif roll < 0.56 and loop:
            word = self.pick("break", "continue")
            self.emit(indent, f"if {self.condition(2)}:")
            self.emit(indent + 1, word)
        elif roll < 0.6:
            self.emit(indent, f"if {self.condition(2)}:")
            self.emit(indent + 1, f"return wrap(i64, {self.integer(1)})")
        elif roll < 0.75 and not deep:
            self.emit(indent, f"if {self.condition(2)}:")
            self.block(indent + 1, self.rng.randint(1, 2), loop)
            if self.rng.random() < 0.6:
                self.emit(indent, "else:")
                self.block(indent + 1, self.rng.randint(1, 2), loop)
        elif not deep:
            self.loop(indent)
        else:
            self.assign(indent)

    def convert(self, kind: str, value: str) -> str:
        return self.pick(f"wrap({kind}, {value})", f"saturate({kind}, {value})", f"{kind}({value})")

    def assign(self, indent: int) -> None:
        """Store into something that exists."""
        targets = [
            (n, t) for n, t in self.names.items() if t in (*INTS, "int") and n not in self.fixed
        ]
        places = []
        if "box" in self.names:
            places = [
                ("box.narrow", "u8"),
                ("box.wide", "i64"),
                (f"box.items[{self.integer(1)} % 4]", "u16"),
                (f"data[{self.integer(1)} % len(data)]", "u8"),
            ]
        name, kind = self.rng.choice(targets + places + places)
        value = self.integer(2)
        if self.rng.random() < 0.35:
            op = self.pick("+", "-", "*", "//", "%", "&", "|", "^", ">>")
            if "." in name or "[" in name:
                self.emit(indent, f"{name} {op}= {value}")
            else:  # CPython does not check variables: they would grow from turn to turn.
                kind = "i64" if kind == "int" else kind
                self.emit(indent, f"{name} = {self.convert(kind, f'{name} {op} {value}')}")
        elif kind == "int":
            self.emit(indent, f"{name} = i64({value})")
        else:
            self.emit(indent, f"{name} = {self.convert(kind, value)}")

    def loop(self, indent: int) -> None:
        """for over ranges and slices, bounded while, match, with several shapes."""
        name = self.fresh()
        roll = self.rng.random()
        if roll < 0.15:
            self.match(indent)
            return
        self.fixed.add(name)
        small = f"({self.integer(1)} % 7)"
        if roll < 0.45:
            bounds = self.pick(
                small, f"1, {small}", f"{small}, -1, -1", f"0, {small}, 2", "9, 1, -3"
            )
            self.emit(indent, f"for {name} in range({bounds}):")
        elif roll < 0.6:
            unrolled = "TABLE" if indent == 1 else "data"  # Bodies multiply when nested.
            source = self.pick("data", "LITERAL", "box.items", unrolled)
            self.emit(indent, f"for {name} in {source}:")
        elif roll < 0.7:
            index = self.fresh()
            self.fixed.add(index)
            self.emit(
                indent, f"for {index}, {name} in enumerate({self.pick('data', 'box.items')}):"
            )
            self.names[index] = "usize"
        elif roll < 0.8 and indent == 1:
            self.emit(indent, f"for {name} in unroll(3):")
        else:
            self.emit(indent, f"{name} = 0")
            self.emit(indent, f"while {name} < 5 and {self.condition(2)}:")
            self.emit(indent + 1, f"{name} += 1")
        outer = dict(self.names)
        self.names[name] = "int"
        self.block(indent + 1, self.rng.randint(1, 3), True)
        self.names = {k: v for k, v in outer.items() if not k.startswith("v") or k in outer}

    def match(self, indent: int) -> None:
        """match on an integer, an enum, or a union."""
        subject, cases = self.rng.choice(
            (
                (f"wrap(i8, {self.integer(1)})", ("0", "1 | 2", "-1")),
                ("box.level", ("Level.LOW", "Level.MIDDLE", "Level.HIGH")),
                (f"color_of(wrap(u8, {self.integer(1)}))", ("Color.RED", "Color()", "int()")),
                (f"maybe(wrap(i32, {self.integer(1)}))", ("None", "int()", "0")),
            )
        )
        self.emit(indent, f"match {subject}:")
        for case in (*cases[: self.rng.randint(1, 3)], "_"):
            guard = f" if {self.condition(1)}" if self.rng.random() < 0.2 and case != "_" else ""
            self.emit(indent + 1, f"case {case}{guard}:")
            self.block(indent + 2, 1, False)

    # -- functions ---------------------------------------------------------------------------------

    def expression_function(self, name: str) -> tuple[str, list[str]]:
        """`def name(a: T, b: U, c: V, f: bool) -> W: return <expression>`, and its types."""
        kinds = [self.rng.choice(INTS) for _ in range(3)]
        self.names = dict(zip("abc", kinds, strict=True)) | {"f": "bool"}
        result = self.rng.choice(INTS)
        value = self.integer(4)
        value = self.pick(value, f"wrap({result}, {value})", f"{result}({value})")
        head = ", ".join(f"{n}: {t}" for n, t in self.names.items())
        return f"def {name}({head}) -> {result}:\n    return {value}\n", [*kinds, "bool"]

    def program_function(self, name: str) -> tuple[str, list[str]]:
        """A function of several statements over a Box and bytes."""
        kinds = [self.rng.choice(INTS) for _ in range(2)]
        self.names = dict(zip("ab", kinds, strict=True))
        self.names |= {"f": "bool", "box": "Box", "data": "Slice[u8]"}
        head = ", ".join(f"{n}: {t}" for n, t in self.names.items())
        self.lines, self.serial, self.fixed = [], 0, set()
        self.emit(0, f"def {name}({head}) -> i64:")
        self.emit(1, "total: i64 = 0")
        self.names["total"] = "i64"
        for _ in range(self.rng.randint(2, 5)):
            self.statement(1, False)
        self.emit(1, f"return wrap(i64, total + {self.integer(2)})")
        return "\n".join(self.lines) + "\n", [*kinds, "bool", "Box", "Slice[u8]"]


def argument(rng: random.Random, kind: str) -> int | bool:
    """A value of a type, often at its limits."""
    if kind == "bool":
        return rng.random() < 0.5
    low, high = LIMITS[kind]
    roll = rng.random()
    if roll < 0.4:
        return min(high, max(low, rng.randint(-5, 20)))
    if roll < 0.7:
        return rng.choice((low, high, low + 1, high - 1, high // 2, high // 2 + 1))
    return rng.randint(low, high)
