"""What every part of the checker needs: scope, errors, narrowing, and conversion on a store.

A value is either a `Node` (computed by the program) or a `Comptime` (known at import: a number, a
function, a class, a tuple, a static struct). Folding keeps a value Comptime as long as it can be.
"""

import ast
import builtins
import enum
import typing
from dataclasses import dataclass
from typing import Any, NoReturn

from bare.compiler import types as ty
from bare.compiler.diagnostics import Diagnostic, Span
from bare.compiler.instances import Instances, Pending
from bare.compiler.load import span_of
from bare.compiler.tree import Local, Node
from bare.ints import f64, u8, u64, usize
from bare.memory import Slice


@dataclass(frozen=True, slots=True)
class Comptime:
    """A value known while compiling: what the name means after import."""

    value: Any


type Value = Node | Comptime
type Narrowing = dict[Local, tuple[Any, ...]]


class Refused(Exception):  # noqa: N818 - it is control flow: the error is already reported
    """A statement was refused; its diagnostic has been recorded."""


class ValueChecker:
    """Scope, diagnostics and coercion of one function."""

    usize = usize
    u64 = u64

    def __init__(self, pending: Pending, instances: Instances) -> None:
        self.pending = pending
        self.instances = instances
        self.function = pending.function
        self.source = pending.source
        self.mapping = pending.mapping
        self.level = pending.function.level
        self.globals = pending.source.__globals__
        self.file = pending.source.__code__.co_filename
        marked = bool(getattr(pending.source, "__bare_unchecked__", None))
        self.unchecked = marked and not instances.checked
        self.scope: dict[str, Local | Comptime] = {}
        self.stores: dict[str, int] = {}  # How often each variable is assigned in the source.
        self.unknown: set[str] = set()
        self.narrowed: Narrowing = {}
        self.out: list[Node] = []
        self.terminated = False
        self.label_count = 0
        self.ring = 0  # Inside wrap(): arithmetic is modular.
        self.strict = False  # Operands of `and`, `or` as a value: they have to be bool.
        for parameter in self.type_parameters():
            if parameter in self.mapping:
                self.scope[parameter.__name__] = Comptime(self.mapping[parameter])

    def type_parameters(self) -> tuple[Any, ...]:
        """Type parameters visible in the body: the function's and its class's."""
        own = tuple(getattr(self.source, "__type_params__", ()))
        return own + tuple(p for p in self.mapping if p not in own)

    # -- errors ----------------------------------------------------------------------------------

    def span(self, node: ast.AST) -> Span:
        """The place of a syntax node."""
        return span_of(self.file, node)

    def report(self, node: ast.AST, rule: str, message: str, fix: str = "") -> None:
        """Record an error and go on."""
        self.instances.diagnostics.found.append(
            Diagnostic.at(self.span(node), rule, message, fix)
        )

    def refuse(self, node: ast.AST, rule: str, message: str, fix: str = "") -> NoReturn:
        """Record an error and give up on the statement."""
        self.report(node, rule, message, fix)
        raise Refused

    def no_common_type(self, node: ast.AST, a: Any, b: Any) -> NoReturn:
        """Two operands that neither widen to the other."""
        target = ty.name_of(b if ty.is_int(b) else a)
        message = f"{ty.name_of(a)} and {ty.name_of(b)} have no common type"
        self.refuse(node, "common-type", message, f"convert one side: {target}(...)")

    # -- scope -----------------------------------------------------------------------------------

    def lookup(self, name: str) -> Any:
        """The import-time object a global name stands for, or None."""
        if name in self.scope:
            found = self.scope[name]
            return found.value if isinstance(found, Comptime) else None
        if name in self.globals:
            return self.globals[name]
        return getattr(builtins, name, None)

    def declare(self, name: str, declared: Any) -> Local:
        """A new variable of the function."""
        local = Local(name, declared, len(self.function.locals))
        self.function.locals.append(local)
        if not name.startswith("."):
            self.scope[name] = local
        return local

    def temporary(self, declared: Any) -> Local:
        """A variable without a name in the source."""
        return self.declare(f".{len(self.function.locals)}", declared)

    def read(self, local: Local) -> Node:
        """The value of a variable, as far as it is narrowed."""
        possible = self.narrowed.get(local)
        if not isinstance(local.type, ty.UnionType):
            low, high = self.bounds(local)
            return Node("local", local.type, data=local, low=low, high=high)
        whole = Node("local", local.type, data=local, possible=possible)
        if possible is not None and len(possible) == 1:
            return self.member(whole, possible[0])
        return whole

    def bounds(self, local: Local) -> tuple[int, int]:
        """The interval of an integer variable."""
        if local.low is not None and local.high is not None:
            return local.low, local.high
        return self.type_bounds(local.type)

    def type_bounds(self, t: Any) -> tuple[int, int]:
        """The interval of a type; (0, 0) when it holds no integers."""
        if ty.is_int(t) or ty.is_enum(t) or ty.is_bitfield(t):
            return ty.interval(t)
        return 0, 0

    def member(self, whole: Node, member: Any) -> Node:
        """The value of a union known to be `member`."""
        assert isinstance(whole.type, ty.UnionType)
        if member is ty.NONE:
            return Node("null", ty.NONE)
        if ty.union_kind(whole.type) == "nullable":
            return Node(whole.op, member, whole.args, whole.data, whole.span)
        index = ty.members(whole.type).index(member)
        low, high = self.type_bounds(member)
        return Node("union_part", member, (whole,), index, low=low, high=high)

    def emit(self, node: Node) -> None:
        """Append a statement."""
        self.out.append(node)

    def hold(self, node: Node, snapshot: bool = False) -> Node:
        """Evaluate once: put the value into a temporary and give a read of it.

        `snapshot` is for code that runs before the last read and may assign the variables of the
        source: then their present values are kept as well.
        """
        if node.op in ("const", "static", "null", "bytes"):
            return node
        if node.op == "local" and not (snapshot and not node.data.name.startswith(".")):
            return node
        local = self.temporary(node.type)
        if ty.is_int(node.type):
            local.low, local.high = node.low, node.high
            if node.high > ty.I64_MAX or node.low < node.type.minimum or (
                node.high > node.type.maximum
            ):
                local.type = u64 if node.high > ty.I64_MAX else ty.INT
        self.emit(Node("assign", None, (node,), local, node.span))
        kept = self.read(local)
        kept.possible = node.possible
        kept.type = node.type if ty.is_int(node.type) else kept.type
        return kept

    def ordered(self, value: Value, mark: int) -> Value:
        """`value` as it was when `mark` statements were out: Python computes from left to right.

        An expression is computed where its statement stands. When an operand to its right needed
        statements of its own, those come first, so what they may change is read before them.
        """
        if isinstance(value, Comptime) or len(self.out) == mark or stable(value):
            return value
        later = self.out[mark:]
        del self.out[mark:]
        held = self.hold(value)
        self.out.extend(later)
        return held

    def expressions(self, nodes: list[ast.expr]) -> list[Value]:
        """The values of several expressions, computed in this order."""
        found: list[Value] = []
        for node in nodes:
            mark = len(self.out)
            value = self.expression(node)
            if len(self.out) > mark:
                found = self.all_ordered(found, mark)
            found.append(value)
        return found

    def all_ordered(self, values: list[Value], mark: int) -> list[Value]:
        """`ordered` for several values, whose own order is kept."""
        kept: list[Value] = []
        for value in values:
            before = len(self.out)
            kept.append(self.ordered(value, mark))
            mark += len(self.out) - before
        return kept

    expression: Any  # Provided by ExpressionChecker.

    # -- narrowing -------------------------------------------------------------------------------

    def narrow(self, facts: Narrowing) -> None:
        """Apply what a condition has shown."""
        for local, possible in facts.items():
            now = self.narrowed.get(local, ty.possible(local.type))
            self.narrowed[local] = tuple(p for p in now if p in possible)

    def possible_of(self, value: Value) -> tuple[Any, ...]:
        """What a value can be at run time."""
        if isinstance(value, Comptime):
            return (ty.NONE,) if value.value is None else (self.constant_type(value.value),)
        if value.possible is not None:
            return value.possible
        return ty.possible(value.type)

    # -- constants -------------------------------------------------------------------------------

    def constant_type(self, value: Any) -> Any:
        """The type an import-time object has when the program uses it as a value."""
        if value is None:
            return ty.NONE
        if isinstance(value, bool):
            return bool
        if isinstance(value, enum.Enum):
            return type(value)
        if isinstance(value, int):
            return ty.INT
        if isinstance(value, float):
            return f64
        if isinstance(value, (bytes, bytearray)):
            return ty.BYTES
        if isinstance(value, Slice):
            return ty.SliceType(value.element)
        if isinstance(value, tuple):
            return ty.TupleType(*(self.constant_type(v) for v in value))
        return type(value)

    def integer(self, value: int) -> Node:
        """An integer constant without a width."""
        return Node("const", ty.INT, data=value, low=value, high=value)

    def materialize(self, value: Value, node: ast.AST) -> Node:
        """A value the program can compute with, from an import-time object."""
        if isinstance(value, Node):
            return value
        return self.constant(value.value, node)

    def constant(self, value: Any, node: ast.AST) -> Node:
        """An import-time object as a value of its own type."""
        span = self.span(node)
        if value is None:
            return Node("null", ty.NONE, span=span)
        if isinstance(value, bool):
            return Node("const", bool, data=value, span=span)
        if isinstance(value, enum.Enum):
            number = int(value.value)
            return Node("const", type(value), data=number, span=span, low=number, high=number)
        if isinstance(value, int):
            if not ty.I64_MIN <= value <= ty.U64_MAX:
                self.refuse(node, "range", f"{value} needs more than 64 bits")
            kind = u64 if value > ty.I64_MAX else ty.INT
            return Node("const", kind, data=value, span=span, low=value, high=value)
        if isinstance(value, float):
            return Node("const", f64, data=value, span=span)
        if isinstance(value, (bytes, bytearray)):
            return Node("bytes", ty.BYTES, data=bytes(value), span=span)
        if isinstance(value, Slice):
            base = Node("static", ty.ADDRESS, data=(value._allocation_, value._offset_))
            length = self.integer(len(value))
            return Node("make_slice", ty.SliceType(value.element), (base, length), span=span)
        if ty.is_struct(type(value)):
            return Node(
                "static", type(value), data=(value._allocation_, value._offset_), span=span
            )
        if isinstance(value, tuple):
            parts = [self.constant(v, node) for v in value]
            return Node("make", ty.TupleType(*(p.type for p in parts)), tuple(parts), span=span)
        if ty.is_record(type(value)):
            return self.record_constant(value, node)
        self.refuse(node, "subset", f"{value!r} is not a value at run time")

    def record_constant(self, value: Any, node: ast.AST) -> Node:
        """An import-time frozen dataclass as a value."""
        parts = [
            self.coerce(Comptime(getattr(value, name)), kind, node)
            for name, kind in ty.record_fields(type(value))
        ]
        return Node("make", type(value), tuple(parts), span=self.span(node))

    # -- stores ----------------------------------------------------------------------------------

    def coerce(self, value: Value, target: Any, node: ast.AST) -> Node:
        """`value` as it is stored into a place of type `target`: checked, converted or refused."""
        target = ty.value_type(target)
        if isinstance(value, Comptime):
            return self.coerce_constant(value.value, target, node)
        found = value.type
        if found is typing.NoReturn:
            return value
        if isinstance(target, ty.UnionType):
            return self.coerce_union(value, target, node)
        if isinstance(found, ty.UnionType) and found != target:
            self.refuse_optional(value, target, node)
        if ty.is_int(target):
            return self.fit(self.as_integer(value, node, target), target, node)
        if found == target:
            return value
        if isinstance(target, ty.BytesType) and ty.is_bytes_like(found):
            return Node(value.op, target, value.args, value.data, value.span, bodies=value.bodies)
        if isinstance(target, ty.TupleType) and isinstance(found, ty.TupleType):
            if len(target.parts) == len(found.parts):
                held = self.hold(value) if value.op != "make" else value
                parts = [
                    self.coerce(self.part(held, i, f), t, node)
                    for i, (f, t) in enumerate(zip(found.parts, target.parts, strict=True))
                ]
                return Node("make", target, tuple(parts), span=self.span(node))
        if ty.is_struct(target) and ty.is_struct(found) and issubclass(found, target):
            return value
        fix = ""
        if isinstance(found, ty.ArrayType) and ty.is_slice(target):
            fix = "write x[:] to make a slice of the array"
        elif ty.is_float(target) and (ty.is_int(found) or ty.is_float(found)):
            fix = f"convert: {ty.name_of(target)}(...)"
        self.refuse(
            node, "type", f"expected {ty.name_of(target)}, found {ty.name_of(found)}", fix
        )

    def refuse_optional(self, value: Node, target: Any, node: ast.AST) -> NoReturn:
        """A union where one of its members is wanted."""
        message = f"expected {ty.name_of(target)}, found {ty.name_of(value.type)}"
        self.refuse(node, "type", message, "test it first (`is None`, isinstance) and return early")

    def coerce_constant(self, value: Any, target: Any, node: ast.AST) -> Node:
        """An import-time object into a place of type `target`."""
        if isinstance(target, ty.UnionType):
            if value is None:
                if not ty.has_none(target):
                    self.refuse(node, "type", f"expected {ty.name_of(target)}, found None")
                return Node("null", target, span=self.span(node))
            for index, member in enumerate(ty.members(target)):
                if self.constant_fits(value, member):
                    inner = self.coerce_constant(value, member, node)
                    return self.wrap_member(inner, target, index)
        elif ty.is_float(target) and isinstance(value, (int, float)):
            return Node("const", target, data=float(value), span=self.span(node))
        elif ty.is_int(target) and isinstance(value, int) and not isinstance(value, bool):
            number = int(value)
            low, high = ty.interval(target)
            if not low <= number <= high:
                message = f"{number} does not fit in {ty.name_of(target)}"
                self.refuse(node, "range", message)
            return Node(
                "const", target, data=number, span=self.span(node), low=number, high=number
            )
        elif isinstance(target, ty.TupleType) and isinstance(value, tuple):
            parts = [
                self.coerce_constant(v, t, node) for v, t in zip(value, target.parts, strict=True)
            ]
            return Node("make", target, tuple(parts), span=self.span(node))
        elif not isinstance(value, type) and not callable(value) and value is not None:
            return self.coerce(self.constant(value, node), target, node)
        elif ty.is_struct(type(value)):
            return self.coerce(self.constant(value, node), target, node)
        self.refuse(
            node,
            "type",
            f"expected {ty.name_of(target)}, found {ty.name_of(self.constant_type(value))}",
        )

    def constant_fits(self, value: Any, member: Any) -> bool:
        """An import-time object can be this member of a union."""
        kind = self.constant_type(value)
        if ty.is_int(member):
            low, high = ty.interval(member)
            return kind is ty.INT and low <= value <= high
        if isinstance(member, ty.BytesType):
            return isinstance(kind, ty.BytesType) or ty.is_bytes_like(kind)
        if ty.is_float(member):
            return kind is f64
        return bool(kind == member)

    def coerce_union(self, value: Node, target: Any, node: ast.AST) -> Node:
        """A value, or a union with fewer members, into a union."""
        found = value.type
        if found == target:
            return value
        now = self.possible_of(value)
        wanted = ty.possible(target)
        if isinstance(found, ty.UnionType):
            missing = [m for m in now if m not in wanted]
            if missing:
                self.refuse_optional(value, target, node)
            return self.convert_union(value, target, now)
        if found is ty.NONE and ty.has_none(target):
            return Node("null", target, span=self.span(node))
        some = ty.members(target)
        if found in some:
            return self.wrap_member(value, target, some.index(found))
        for index, member in enumerate(some):
            alike = (
                (ty.is_int(member) and (ty.is_int(found) or ty.is_int_enum(found)))
                or (isinstance(member, ty.BytesType) and ty.is_bytes_like(found))
                or (isinstance(member, ty.TupleType) and isinstance(found, ty.TupleType))
            )
            if alike:
                return self.wrap_member(self.coerce(value, member, node), target, index)
        self.refuse(node, "type", f"expected {ty.name_of(target)}, found {ty.name_of(found)}")

    def wrap_member(self, value: Node, target: Any, index: int) -> Node:
        """One member as a value of the union."""
        if ty.union_kind(target) == "nullable":
            return Node(
                value.op, target, value.args, value.data, value.span, bodies=value.bodies
            )
        return Node("make_union", target, (value,), index, value.span)

    def convert_union(self, value: Node, target: Any, now: tuple[Any, ...]) -> Node:
        """Between unions: rebuild by tag, as the members have other places."""
        if ty.union_kind(value.type) == "nullable" and ty.union_kind(target) == "nullable":
            return Node(value.op, target, value.args, value.data, value.span)
        held = self.hold(value)
        result: Node | None = None
        for member in reversed(now):
            if member is ty.NONE:
                one = Node("null", target)
            else:
                index = ty.members(target).index(member)
                one = self.wrap_member(self.member(held, member), target, index)
            if result is None:
                result = one
            else:
                result = Node("choose", target, (self.is_member(held, member), one, result))
        assert result is not None
        return result

    def is_member(self, whole: Node, member: Any) -> Node:
        """Test a union for one member (None included)."""
        if ty.union_kind(whole.type) == "nullable":
            null = Node("is_null", bool, (whole,))
            return null if member is ty.NONE else Node("not", bool, (null,))
        tag = Node("union_tag", u8, (whole,), low=0, high=255)
        number = 0 if member is ty.NONE else ty.members(whole.type).index(member) + 1
        return Node("compare", bool, (tag, self.integer(number)), "eq")

    def part(self, whole: Node, index: int, kind: Any) -> Node:
        """One element of a tuple or record."""
        if whole.op == "make" and all(a.op in ("const", "local", "static") for a in whole.args):
            return whole.args[index]
        low, high = self.type_bounds(kind)
        return Node("part", kind, (whole,), index, low=low, high=high)

    def as_integer(self, value: Value, node: ast.AST, target: Any = None) -> Node:
        """A value as an integer node; booleans and floats are refused."""
        if isinstance(value, Comptime):
            found = value.value
            if isinstance(found, int) and not isinstance(found, bool):
                return self.constant(int(found), node)
            value = self.materialize(value, node)
        kind = value.type
        if ty.is_int(kind):
            return value
        if ty.is_int_enum(kind) or ty.is_bitfield(kind):
            return Node(
                value.op,
                ty.storage_int(kind),
                value.args,
                value.data if value.op != "load" else value.data,
                value.span,
                value.low,
                value.high,
                value.bodies,
            )
        wanted = ty.name_of(target) if target is not None else "an integer"
        fix = f"convert: {wanted}(...)" if ty.is_float(kind) else ""
        self.refuse(node, "type", f"expected {wanted}, found {ty.name_of(kind)}", fix)

    def fit(self, value: Node, target: Any, node: ast.AST) -> Node:
        """An integer into storage of type `target`: free, checked, or refused by its type."""
        low, high = ty.interval(target)
        if low <= value.low and value.high <= high:
            return _typed(value, target)
        kind = value.type
        if kind is not ty.INT and kind != target and not ty.widens(kind, target):
            wide = ty.name_of(target)
            self.refuse(
                node,
                "narrowing",
                f"expected {wide}, found {ty.name_of(kind)}",
                f"write {wide}(...) to convert with a check, or wrap({wide}, ...) to truncate",
            )
        return self.range_check(value, target, node)

    def range_check(self, value: Node, target: Any, node: ast.AST) -> Node:
        """Trap where the value is outside the type."""
        low, high = ty.interval(target)
        low, high = max(low, value.low), min(high, value.high)
        if low > high:
            low = high = 0
        if self.unchecked:
            return Node("wrap", target, (value,), target, self.span(node), low, high)
        reason = f"value does not fit in {ty.name_of(target)}"
        limits = (*ty.interval(target), reason)
        return Node("range_check", target, (value,), limits, self.span(node), low, high)


# What these give depends on when they run.
UNSTABLE = frozenset(
    "load volatile_load volatile_store atomic call asm memory stack sequence vector".split()
)


def stable(node: Node) -> bool:
    """The value stays the same whatever statements run before it is computed."""
    return node.op not in UNSTABLE and all(stable(a) for a in node.args)


def _typed(value: Node, target: Any) -> Node:
    """The same integer under another width."""
    if value.type == target:
        return value
    return Node(
        value.op,
        target,
        value.args,
        value.data,
        value.span,
        value.low,
        value.high,
        value.bodies,
        value.possible,
    )
