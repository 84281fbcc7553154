"""Loading and calling compiled code, with units written by hand."""

import enum
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import Parameter
from types import NoneType
from typing import Any

import pytest

from bare.allocation import Allocation
from bare.compiler.elf import LinkError
from bare.compiler.jit import Program
from bare.descriptors import Bytes, normalize
from bare.ints import f32, u16, u32, u64
from bare.memory import Slice
from bare.structs import Struct
from bare.trap import Trap


@dataclass(frozen=True)
class Site:
    file: str
    line: int
    column: int
    reason: str


@dataclass(frozen=True)
class Entry:
    symbol: str
    parameters: Sequence[tuple[str, Any, Any]]
    result: Any


@dataclass(frozen=True)
class Unit:
    ir: str
    entries: dict[Any, Entry]
    sites: dict[int, Site] = field(default_factory=dict)
    statics: dict[str, Allocation] = field(default_factory=dict)

    @property
    def shards(self) -> dict[str, str]:
        return {"program": self.ir}


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Point(Struct):
    x: u32
    y: u64


NONE = Parameter.empty


def add(a: int, b: int = 7) -> int:
    """Add."""
    return a + b


def nothing() -> None: ...


def fails() -> None: ...


def scale(a: float) -> float:
    return a


def total(data: bytes) -> int:
    return sum(data)


def tail(data: bytes) -> bytes:
    return data[1:]


def bump(point: Point, by: int) -> Point:
    return point


def next_colour(colour: Colour) -> Colour:
    return colour


def count() -> int:
    return 0


def pair(a: tuple[int, int]) -> tuple[int, int]:
    return a


IR = r"""
declare void @bare_trap(i32) noreturn cold
@counter = external dso_local global i64
@table = internal constant [4 x i16] [i16 1, i16 2, i16 3, i16 4]
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define void @"entry.add"(ptr %block) {
  %a = load i32, ptr %block
  %pb = getelementptr i8, ptr %block, i64 4
  %b = load i32, ptr %pb
  %s = call {i32, i1} @llvm.uadd.with.overflow.i32(i32 %a, i32 %b)
  %v = extractvalue {i32, i1} %s, 0
  %o = extractvalue {i32, i1} %s, 1
  br i1 %o, label %bad, label %good
bad:
  call void @bare_trap(i32 1)
  unreachable
good:
  %r = getelementptr i8, ptr %block, i64 8
  store i32 %v, ptr %r
  ret void
}
declare {i32, i1} @llvm.uadd.with.overflow.i32(i32, i32)

define void @"entry.nothing"(ptr %block) { ret void }

define internal void @deep(i64 %n) noinline {
  %room = alloca [200 x i8]
  call void @llvm.memset.p0.i64(ptr %room, i8 1, i64 200, i1 true)
  %z = icmp eq i64 %n, 0
  br i1 %z, label %bad, label %more
bad:
  call void @bare_trap(i32 0)
  unreachable
more:
  %m = sub i64 %n, 1
  call void @deep(i64 %m)
  ret void
}
define void @"entry.fails"(ptr %block) {
  call void @deep(i64 50)
  ret void
}
define void @"entry.scale"(ptr %block) {
  %a = load float, ptr %block
  %m = fmul float %a, 2.5
  %r = getelementptr i8, ptr %block, i64 4
  store float %m, ptr %r
  ret void
}
define void @"entry.total"(ptr %block) {
entry:
  %p = load ptr, ptr %block
  %pn = getelementptr i8, ptr %block, i64 8
  %n = load i64, ptr %pn
  %empty = icmp eq i64 %n, 0
  br i1 %empty, label %done, label %loop
loop:
  %i = phi i64 [0, %entry], [%i1, %loop]
  %s = phi i64 [0, %entry], [%s1, %loop]
  %q = getelementptr i8, ptr %p, i64 %i
  %b = load i8, ptr %q
  %w = zext i8 %b to i64
  %s1 = add i64 %s, %w
  %i1 = add i64 %i, 1
  %end = icmp eq i64 %i1, %n
  br i1 %end, label %done, label %loop
done:
  %t = phi i64 [0, %entry], [%s1, %loop]
  %r = getelementptr i8, ptr %block, i64 16
  store i64 %t, ptr %r
  ret void
}
define void @"entry.tail"(ptr %block) {
  %p = load ptr, ptr %block
  %pn = getelementptr i8, ptr %block, i64 8
  %n = load i64, ptr %pn
  %q = getelementptr i8, ptr %p, i64 1
  %m = sub i64 %n, 1
  %r = getelementptr i8, ptr %block, i64 16
  store ptr %q, ptr %r
  %r2 = getelementptr i8, ptr %block, i64 24
  store i64 %m, ptr %r2
  ret void
}
define void @"entry.bump"(ptr %block) {
  %p = load ptr, ptr %block
  %pb = getelementptr i8, ptr %block, i64 8
  %b = load i16, ptr %pb
  %w = zext i16 %b to i64
  %y = getelementptr i8, ptr %p, i64 8
  %old = load i64, ptr %y
  %new = add i64 %old, %w
  store i64 %new, ptr %y
  %r = getelementptr i8, ptr %block, i64 16
  store ptr %p, ptr %r
  ret void
}
define void @"entry.colour"(ptr %block) {
  %a = load i8, ptr %block
  %b = sub i8 3, %a
  %r = getelementptr i8, ptr %block, i64 1
  store i8 %b, ptr %r
  ret void
}
define void @"entry.count"(ptr %block) {
  %c = load volatile i64, ptr @counter
  %d = add i64 %c, 1
  store volatile i64 %d, ptr @counter
  %i = and i64 %d, 3
  %q = getelementptr i16, ptr @table, i64 %i
  %t = load i16, ptr %q
  %e = zext i16 %t to i64
  store i64 %e, ptr %block
  ret void
}
define void @"entry.pair"(ptr %block) {
  %a = load i32, ptr %block
  %q = getelementptr i8, ptr %block, i64 8
  %b = load i64, ptr %q
  %b32 = trunc i64 %b to i32
  %a64 = zext i32 %a to i64
  %r = getelementptr i8, ptr %block, i64 16
  store i64 %a64, ptr %r
  %r2 = getelementptr i8, ptr %block, i64 24
  store i32 %b32, ptr %r2
  ret void
}
"""


@pytest.fixture(scope="module")
def counter() -> Allocation:
    return Allocation.new(8)


@pytest.fixture(scope="module")
def program(counter: Allocation, tmp_path_factory: pytest.TempPathFactory) -> Program:
    sites = [Site("a.py", 5, 9, "deep down"), Site("b.py", 2, 12, "value does not fit in u32")]
    entries = {
        add: Entry("entry.add", [("a", u32, NONE), ("b", u32, 7)], u32),
        nothing: Entry("entry.nothing", [], NoneType),
        fails: Entry("entry.fails", [], NoneType),
        scale: Entry("entry.scale", [("a", f32, NONE)], f32),
        total: Entry("entry.total", [("data", Bytes, NONE)], u64),
        tail: Entry("entry.tail", [("data", Bytes, NONE)], Bytes),
        bump: Entry("entry.bump", [("point", Point, NONE), ("by", u16, NONE)], Point),
        next_colour: Entry("entry.colour", [("colour", Colour, NONE)], Colour),
        count: Entry("entry.count", [], u64),
        pair: Entry(
            "entry.pair", [("a", normalize(tuple[u32, u64]), NONE)], normalize(tuple[u64, u32])
        ),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BARE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return Program(Unit(IR, entries, dict(enumerate(sites)), {"counter": counter}))


def test_numbers_defaults_and_keywords(program: Program) -> None:
    compiled = program.function(add)
    assert compiled(1, 2) == 3
    assert compiled(1) == 8
    assert compiled(b=1, a=2**32 - 2) == 2**32 - 1
    assert compiled.__doc__ == "Add."
    with pytest.raises(TypeError):
        compiled()


def test_parameters_may_have_any_name(program: Program) -> None:
    entry = Entry("entry.add", [("t", u32, NONE), ("site", u32, 7)], u32)
    unit = Unit(IR, {add: entry}, {}, {"counter": Allocation.new(8)})
    assert Program(unit).function(add)(t=1, site=2) == 3


def test_arguments_out_of_range_trap(program: Program) -> None:
    with pytest.raises(Trap):
        program.function(add)(2**32, 0)
    with pytest.raises(Trap):
        program.function(add)(-1, 0)


def test_trap_carries_the_place(program: Program) -> None:
    for _ in range(3):
        with pytest.raises(Trap) as caught:
            program.function(add)(2**32 - 1, 1)
        assert (caught.value.file, caught.value.line, caught.value.column) == ("b.py", 2, 12)
        with pytest.raises(Trap, match="deep down"):
            program.function(fails)()
        assert program.function(add)(1, 1) == 2


def test_floats_round_to_their_width(program: Program) -> None:
    assert program.function(scale)(2) == 5.0
    assert program.function(scale)(0.1) == 0.25


def test_bytes_in_every_form(program: Program) -> None:
    compiled = program.function(total)
    assert compiled(b"") == 0
    assert compiled(b"\1\2\3") == 6
    assert compiled(Slice.from_bytes(b"\1\2\3" * 100)) == 600
    assert compiled(Slice.from_bytes(b"\1\2\3")[1:]) == 5
    with pytest.raises(TypeError):
        compiled(3)


def test_result_keeps_what_it_points_into(program: Program) -> None:
    found = program.function(tail)(b"x" + bytes(range(100)))
    rest = [program.function(tail)(bytes([i]) * 101) for i in range(100)]
    assert bytes(found) == bytes(range(100))
    assert bytes(rest[7]) == b"\7" * 100


def test_structs_are_shared_by_address(program: Program) -> None:
    point = Point(1, 2)
    found = program.function(bump)(point, 40)
    assert point.y == 42
    assert found._address_ == point._address_
    with pytest.raises(TypeError):
        program.function(bump)(None, 40)


def test_enums(program: Program) -> None:
    assert program.function(next_colour)(Colour.RED) is Colour.GREEN


def test_tuples_go_by_value(program: Program) -> None:
    assert program.function(pair)((3, 2**32 + 9)) == (3, 9)


def test_statics_are_the_python_allocations(program: Program, counter: Allocation) -> None:
    counter.buffer[:] = (10).to_bytes(8, "little")
    assert program.function(count)() == 4
    assert int.from_bytes(counter.buffer, "little") == 11


def test_threads_trap_independently(program: Program) -> None:
    compiled, failing = program.function(add), program.function(fails)
    wrong: list[object] = []

    def work(base: int) -> None:
        for i in range(300):
            try:
                failing()
                wrong.append("no trap")
            except Trap as trap:
                if trap.line != 5:
                    wrong.append(trap)
            if compiled(base, i) != base + i:
                wrong.append((base, i))

    threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_slots_are_given_back(program: Program) -> None:
    for _ in range(1500):
        thread = threading.Thread(target=program.function(nothing))
        thread.start()
        thread.join()


def test_undefined_symbols_are_named() -> None:
    ir = "declare void @elsewhere()\ndefine void @e(ptr %b) { call void @elsewhere() ret void }\n"
    with pytest.raises(LinkError, match="elsewhere"):
        Program(Unit(ir, {}))


if __name__ == "__main__":  # Prints what a call costs.
    compiled = Program(
        Unit(
            IR,
            {add: Entry("entry.add", [("a", u32, NONE), ("b", u32, 7)], u32)},
            statics={"counter": Allocation.new(8)},
        )
    ).function(add)
    start = time.perf_counter()
    for _ in range(1_000_000):
        compiled(1, 2)
    print(f"{(time.perf_counter() - start) * 1000:.0f} ns a call")
