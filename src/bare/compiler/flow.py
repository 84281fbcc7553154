"""Follows a checked function along its paths: variables without a value, storage that dies early.

Two questions in one walk over the typed tree:

- Is a variable assigned on every path to a read of it? (A set that shrinks where paths meet.)
- Does an address of this function's stack storage get somewhere that lives longer: a result, or
  memory that is not on this stack? (`Taint`, which grows where paths meet.)

Storage made in a loop is the same storage in every iteration. So a variable from before the loop
must not hold it: then no two live names can mean two structs that share one place.

A call is assumed to keep nothing; its result may look into an argument whose type it can come from.
"""

from dataclasses import dataclass, field
from typing import Any

from bare.compiler import types as ty
from bare.compiler.diagnostics import Diagnostics, Span
from bare.compiler.tree import Function, Local, LoopLabels, Node

FIX = "take the storage as a parameter, or allocate it from an Arena"


@dataclass(frozen=True, slots=True)
class Taint:
    """How a value reaches this function's stack; `loop` counts the loops around its storage."""

    level: int = 0  # 1: an address on the stack. 2: what lies there holds such addresses too.
    loop: int = 0

    def join(self, other: "Taint") -> "Taint":
        """Either of two."""
        return Taint(max(self.level, other.level), max(self.loop, other.loop))


CLEAN = Taint()


@dataclass(slots=True)
class State:
    """What is known at one point of the function."""

    assigned: set[Local] = field(default_factory=set)
    taints: dict[Local, Taint] = field(default_factory=dict)

    def copy(self) -> "State":
        """For one of several paths."""
        return State(set(self.assigned), dict(self.taints))


def meet(states: list[State | None]) -> State | None:
    """Where paths come together; None is a path that does not get here."""
    found = [s for s in states if s is not None]
    if not found:
        return None
    result = found[0].copy()
    for other in found[1:]:
        result.assigned &= other.assigned
        for local, taint in other.taints.items():
            result.taints[local] = taint.join(result.taints.get(local, CLEAN))
    return result


class Flow:
    """One walk over one function."""

    def __init__(self, function: Function, diagnostics: Diagnostics) -> None:
        self.function = function
        self.diagnostics = diagnostics
        self.state: State | None = State(set(function.parameters))
        self.exits: dict[LoopLabels, list[State | None]] = {}
        self.entries: list[set[Local]] = []  # What was assigned when each open loop began.
        self.span = function.span
        self.reported: set[tuple[Any, ...]] = set()
        self.quiet = False

    def run(self) -> None:
        """Report everything that is wrong."""
        self.statements(self.function.body)

    def report(self, rule: str, message: str, fix: str, span: Span | None = None) -> None:
        """An error, once."""
        place = span or self.span
        key = (rule, message, place.line, place.column)
        if not self.quiet and key not in self.reported:
            self.reported.add(key)
            self.diagnostics.error(place, rule, message, fix)

    # -- statements ------------------------------------------------------------------------------

    def statements(self, body: list[Node]) -> None:
        """Statements in order, as far as they are reached."""
        for node in body:
            if self.state is None:
                return
            self.span = node.span or self.span
            method = getattr(self, "_" + node.op, None)
            if method is not None:
                method(node)
            else:
                self.values(node)

    def values(self, node: Node) -> None:
        """A statement that only computes."""
        for argument in node.args:
            self.value(argument)

    def _assign(self, node: Node) -> None:
        taint = self.value(node.args[0])
        local: Local = node.data
        if self.state is None:
            return
        named = not local.name.startswith(".")
        if named and taint.loop and local in self.entries[taint.loop - 1]:
            self.report(
                "stack-loop",
                f"{local.name} is older than the loop, which uses one storage for every iteration",
                "make it before the loop and assign its fields",
            )
        self.state.assigned.add(local)
        self.state.taints[local] = taint

    def _store(self, node: Node) -> None:
        taint = self.value(node.args[1])
        target = self.value(node.args[0])
        if not taint.level or self.state is None:
            return
        if not target.level or target.loop < taint.loop:
            self.report(
                "stack-escape", "this lives on the stack and must not be stored in memory", FIX
            )
        root = node.args[0]
        while root.op != "local" and root.args:
            root = root.args[0]
        if root.op == "local":
            self.state.taints[root.data] = target.join(Taint(2))

    def _return(self, node: Node) -> None:
        for argument in node.args:
            if self.value(argument).level:
                message = "this lives on the stack of the function that returns it"
                self.report("stack-escape", message, FIX)
        self.state = None

    def _trap(self, node: Node) -> None:
        self.state = None

    def _evaluate(self, node: Node) -> None:
        self.values(node)
        if getattr(node.args[0].type, "__name__", "") == "NoReturn":
            self.state = None

    def _if(self, node: Node) -> None:
        self.value(node.args[0])
        before = self.state
        ends = []
        for body in node.bodies:
            self.state = before.copy() if before is not None else None
            self.statements(body)
            ends.append(self.state)
        self.state = meet(ends)

    def _loop(self, node: Node) -> None:
        """The body is walked until nothing more can be reached through it, then reported on."""
        assert self.state is not None
        entry = self.state.copy()
        self.entries.append(set(entry.assigned))
        quiet, self.quiet = self.quiet, True
        while True:
            end = self.iteration(node, entry)
            grown = meet([entry, end])
            assert grown is not None
            if grown.taints == entry.taints:
                break
            entry.taints = grown.taints
        self.quiet = quiet
        self.iteration(node, entry)
        self.entries.pop()
        forever = node.args[0].op == "const" and node.args[0].data
        after = None if forever else entry
        self.state = meet([after, *self.exits[node.data]])

    def iteration(self, node: Node, entry: State) -> State | None:
        """Once through a loop; gives the state at its end."""
        self.state = entry.copy()
        self.exits[node.data] = []
        self.value(node.args[0])
        self.statements(node.bodies[0])
        end = self.state
        if end is not None:
            self.statements(node.bodies[1])
        return end

    def _block(self, node: Node) -> None:
        self.exits[node.data] = []
        self.statements(node.bodies[0])
        self.state = meet([self.state, *self.exits[node.data]])

    def _break(self, node: Node) -> None:
        self.exits[node.data].append(self.state)
        self.state = None

    def _continue(self, node: Node) -> None:
        self.state = None

    # -- values ----------------------------------------------------------------------------------

    def value(self, node: Node) -> Taint:
        """Walk a value; gives how it reaches the stack."""
        if self.state is None:
            return CLEAN
        if node.op == "local":
            return self.read(node)
        if node.op == "sequence":
            self.statements(node.bodies[0])
            return self.value(node.args[0])
        if node.op in ("and_then", "or_else", "choose"):
            return self.choice(node)
        taints = [self.value(argument) for argument in node.args]
        if node.op == "stack":
            return Taint(1, len(self.entries))
        if node.op == "memory" and node.data != "fill":
            if taints[1].level == 2 and not taints[0].level:
                self.report("stack-escape", "this holds addresses of the stack", FIX)
            return CLEAN
        if not any(t.level for t in taints) or not holds_address(node.type):
            return CLEAN
        if node.op == "call":
            return self.result_of(node, taints)
        if node.op in DERIVED:
            joined = CLEAN
            for taint in taints:
                joined = joined.join(taint)
            return joined
        return CLEAN

    def read(self, node: Node) -> Taint:
        """A variable."""
        assert self.state is not None
        local: Local = node.data
        if local not in self.state.assigned and not local.name.startswith("."):
            message = f"{local.name} may be used before it is assigned"
            fix = "assign it on every path to here"
            self.report("unassigned", message, fix, node.span)
            self.state.assigned.add(local)
        return self.state.taints.get(local, CLEAN)

    def choice(self, node: Node) -> Taint:
        """Operands of which some are not computed."""
        first, *rest = node.args
        self.value(first)
        before = self.state
        joined = CLEAN
        for argument in rest:
            self.state = before.copy() if before is not None else None
            joined = joined.join(self.value(argument))
        self.state = before
        return joined

    def result_of(self, node: Node, taints: list[Taint]) -> Taint:
        """What a function gives may look into what it was given."""
        joined = CLEAN
        for argument, taint in zip(node.args, taints, strict=True):
            if taint.level and may_give(argument.type, node.type, taint.level):
                joined = joined.join(taint)
        return joined


DERIVED = frozenset(
    (
        "field_address",
        "element_address",
        "subslice",
        "make_slice",
        "slice_pointer",
        "make",
        "make_union",
        "part",
        "union_part",
    )
)


def components(t: Any) -> list[Any]:
    """The types whose values are in a value of type `t`."""
    if isinstance(t, ty.UnionType):
        return [c for m in ty.members(t) for c in components(m)]
    if isinstance(t, ty.TupleType):
        return [c for p in t.parts for c in components(p)]
    if ty.is_record(t):
        return [c for _, kind in ty.record_fields(t) for c in components(kind)]
    return [t]


def holds_address(t: Any) -> bool:
    """A value of this type can lead to storage."""
    return any(
        t is ty.ADDRESS
        or ty.is_slice(t)
        or ty.is_struct(t)
        or isinstance(t, (ty.ArrayType, ty.AtomicType))
        for t in components(t)
    )


def places(t: Any, level: int) -> list[Any]:
    """The types of the places that a result can be a view of: elements, the struct itself."""
    if ty.is_slice(t) or isinstance(t, ty.ArrayType):
        return [ty.element_of(t)]
    if not ty.is_struct(t):
        return []
    kinds = [f.type for f in t._fields_.values()] if level > 1 else []
    return [t, *(ty.element_of(k) for k in kinds if ty.is_slice(k))]


def may_give(argument: Any, result: Any, level: int) -> bool:
    """A result can look into the storage of an argument.

    Records are left out, as most hold constant text only, and so are views of arrays inside a
    struct: these two ways out are not found.
    """
    found = places(argument, level)
    for wanted in ty.possible(result):
        target = ty.element_of(wanted) if ty.is_slice(wanted) else wanted
        if target in found:
            return True
        if ty.is_wire(target) and any(getattr(p, "name", "") == "u8" for p in found):
            return True
    return False
