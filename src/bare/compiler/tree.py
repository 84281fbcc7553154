"""The typed tree: what `check` makes of a function and `emit` prints as LLVM IR.

One node class; the operation name decides what `args` and `data` hold. The table OPERATIONS is the
specification of the tree, and `verify` holds every function against it before anything is emitted.

Everything implicit in the source is explicit here: a store that may not fit is a `range_check`, a
slice index is an `element_address` with its check, `for` and `with` are spelled out. Structs are
addresses; integers are 64 bits wide between a load and a store, with the interval of values they
can hold (`low`, `high`) proved by the checker.
"""

from dataclasses import dataclass, field
from typing import Any

from bare.compiler.diagnostics import Span


@dataclass(slots=True, eq=False)
class Local:
    """A variable of a function. `type` is its declared type; storage is one stack slot."""

    name: str
    type: Any
    index: int
    low: int | None = None  # A tighter interval than the type's, when it is a loop counter.
    high: int | None = None


@dataclass(slots=True, eq=False)
class Node:
    """One operation: its result type, operands, immediate data and place in the source."""

    op: str
    type: Any
    args: tuple["Node", ...] = ()
    data: Any = None
    span: Span | None = None
    low: int = 0
    high: int = 0
    bodies: tuple[list["Node"], ...] = ()  # Statement lists of if, loop, block and sequence.
    possible: tuple[Any, ...] | None = None  # What a union value can still be, after narrowing.


@dataclass(slots=True, eq=False)
class Function:
    """A checked instance of a source function: concrete types, one SIMD level."""

    symbol: str
    name: str
    span: Span
    parameters: list[Local]
    result: Any
    level: int
    body: list[Node] = field(default_factory=list)
    locals: list[Local] = field(default_factory=list)
    calls: "set[Function]" = field(default_factory=set)
    operations: set[str] = field(default_factory=set)  # Vector operations it is made of.
    export: str | None = None
    external: str | None = None
    dispatch: "list[Function]" = field(default_factory=list)  # One per level: a dispatcher.


# op: (operand count or None for any, meaning of data)
OPERATIONS: dict[str, tuple[int | None, str]] = {
    # constants and places
    "const": (0, "int, float or bool"),
    "null": (0, "nullable pointer, or the zero value of a type"),
    "bytes": (0, "bytes literal"),
    "table": (1, "(tuple of constants, element type): the element at a checked index"),
    "lookup": (1, "(keys, constants): the constant of an integer key; traps when there is none"),
    "static": (0, "(allocation, offset): the address of import-time storage"),
    "symbol": (0, "name of a linker symbol: its address as u64"),
    "trap_site": (1, "index: the record of a trap site"),
    "local": (0, "Local: its value"),
    "stack": (0, "(bytes, align): zeroed stack storage, a fresh address at each place"),
    "field_address": (1, "byte offset from a struct address"),
    "element_address": (2, "(element bytes, checked): slice, index"),
    "load": (1, "address"),
    "volatile_load": (1, "bytes: address"),
    "volatile_store": (2, "bytes: address, value"),
    "atomic": (None, "operation name: address, operands"),
    # integers; data is the arithmetic mode: plain, signed, unsigned, wide or ring
    **{
        op: (2, "mode")
        for op in ("add", "sub", "mul", "floordiv", "mod", "shl", "shr", "and", "or", "xor")
    },
    "range_check": (1, "(low, high, reason): traps outside"),
    "wrap": (1, "integer type: modulo its width"),
    "saturate": (1, "(low, high)"),
    "compare": (2, "predicate: eq ne lt le gt ge"),
    "minmax": (2, "min or max"),
    # floats
    **{op: (2, "check: traps where the divisor is 0") for op in ("fadd", "fsub", "fmul", "fdiv")},
    "fneg": (1, ""),
    "fcompare": (2, "predicate"),
    "math": (None, "LLVM intrinsic name"),
    "int_to_float": (1, ""),
    "float_to_int": (1, "reason"),
    "float_cast": (1, ""),
    "bitcast": (1, ""),
    # booleans and choice
    "not": (1, ""),
    "and_then": (2, ""),
    "or_else": (2, ""),
    "choose": (3, "condition, then, else: only one side is evaluated"),
    "is_null": (1, ""),
    "address_equal": (2, ""),
    # aggregates
    "make": (None, "product type: tuple or dataclass"),
    "part": (1, "index of a tuple or dataclass element"),
    "make_slice": (2, "pointer, length"),
    "slice_length": (1, ""),
    "slice_pointer": (1, ""),
    "subslice": (3, "(element bytes, checked): slice, start, stop"),
    "make_union": (1, "member index, or -1 for None"),
    "union_tag": (1, ""),
    "union_part": (1, "member index"),
    "address_to_int": (1, ""),
    "int_to_address": (1, ""),
    "sequence": (1, "one body of statements, then the value"),
    # calls
    "call": (None, "Function"),
    "asm": (None, "(text, constraints, result kinds)"),
    "memory": (3, "copy, move or fill: destination, source or byte, byte count"),
    # vectors
    "vector": (None, "operation name and immediates"),
    # statements
    "assign": (1, "Local"),
    "store": (2, "address, value"),
    "evaluate": (1, ""),
    "if": (1, "then and else bodies"),
    "loop": (1, "LoopLabels: body and step bodies; condition is tested first"),
    "block": (0, "LoopLabels or None: one body; break leaves it, continue too"),
    "break": (0, "LoopLabels"),
    "continue": (0, "LoopLabels"),
    "return": (None, ""),
    "trap": (0, "reason"),
    "check": (1, "reason: traps when the operand is false"),
}


@dataclass(slots=True, eq=False)
class LoopLabels:
    """Identity of a loop or block that `break` and `continue` name."""

    uid: int
