"""What every part of the checker needs: scope, errors, narrowing, and conversion on a store.

A value is either a `Node` (computed by the program) or a `Comptime` (known at import: a number, a
function, a class, a tuple, a static struct). Folding keeps a value Comptime as long as it can be.
"""

import ast
import builtins
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from bare.compiler import types as ty
from bare.compiler.diagnostics import Diagnostic, Span
from bare.compiler.instances import Instances, Pending
from bare.compiler.load import span_of
from bare.compiler.tree import Local, LoopLabels, Node
from bare.ints import f64, u64, usize
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
        self.instances.diagnostics.found.append(Diagnostic.at(self.span(node), rule, message, fix))

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

    def new_labels(self) -> LoopLabels:
        """A fresh loop identity."""
        self.label_count += 1
        return LoopLabels(self.label_count)

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
            if (
                node.high > ty.I64_MAX
                or node.low < node.type.minimum
                or (node.high > node.type.maximum)
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

    def all_ordered(self, values: Sequence[Value], mark: int) -> list[Value]:
        """`ordered` for several values, whose own order is kept."""
        kept: list[Value] = []
        for value in values:
            before = len(self.out)
            kept.append(self.ordered(value, mark))
            mark += len(self.out) - before
        return kept

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
            return Node("static", type(value), data=(value._allocation_, value._offset_), span=span)
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

    if TYPE_CHECKING:  # Provided by the classes below this one in the chain.

        def expression(self, node: ast.expr) -> Value: ...  # noqa: D102
        def coerce(self, value: Value, target: Any, node: ast.AST) -> Node: ...  # noqa: D102
        def arguments(self, node: ast.Call) -> list[Any]: ...  # noqa: D102
        def call_function(  # noqa: D102
            self,
            source: Any,
            arguments: list[Any],
            node: ast.AST,
            owner: Any = None,
            static: bool = True,
        ) -> Value: ...
        def call_method(  # noqa: D102
            self, base: Node, source: Any, arguments: list[Any], node: ast.AST | None = None
        ) -> Value: ...
        def register(self, base: Node, name: str, node: ast.AST) -> Node: ...  # noqa: D102
        def bit_field(self, base: Node, name: str, node: ast.AST) -> Node: ...  # noqa: D102
        def vector(  # noqa: D102
            self, op: str, kind: Any, args: tuple[Node, ...], data: Any, node: ast.AST
        ) -> Node: ...
        def vector_binary(  # noqa: D102
            self, node: ast.AST, op: ast.operator, left: Value, right: Value
        ) -> Node: ...
        def vector_negate(self, node: ast.UnaryOp, value: Node) -> Node: ...  # noqa: D102
        def refuse_halves(self, element: Any, node: ast.AST) -> None: ...  # noqa: D102
        def vector_compare(  # noqa: D102
            self, node: ast.AST, predicate: str, left: Value, right: Value
        ) -> Node: ...
        def float_pair(  # noqa: D102
            self, node: ast.AST, left: Value, right: Value
        ) -> tuple[Node, Node]: ...


# What these give depends on when they run.
UNSTABLE = frozenset(
    (
        "load",
        "volatile_load",
        "volatile_store",
        "atomic",
        "call",
        "asm",
        "memory",
        "stack",
        "sequence",
        "vector",
    )
)


def stable(node: Node) -> bool:
    """The value stays the same whatever statements run before it is computed."""
    return node.op not in UNSTABLE and all(stable(a) for a in node.args)
