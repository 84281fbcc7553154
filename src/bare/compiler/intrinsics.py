"""Library names the compiler knows: numbers, storage, the processor, assembly.

Each handler takes the checker and the call and gives the typed value. The table at the end is keyed
by the name of the function; all of these are defined in modules of `bare`.
"""

import ast
import typing
from collections.abc import Callable
from typing import Any

from bare import ints
from bare.compiler import types as ty
from bare.compiler.check_values import Comptime, Value
from bare.compiler.check_vectors import PARAMETERS
from bare.compiler.levels import BY_NUMBER, NUMBERS
from bare.compiler.tree import Node
from bare.simd import dispatch

type Handler = Callable[[Any, ast.Call], Value]

STACK_BYTES_MAX = 16384


def comptime_type(checker: Any, node: ast.expr) -> Any:
    """An argument that names a type."""
    value = checker.expression(node)
    if not isinstance(value, Comptime):
        checker.refuse(node, "type", "this argument is a type")
    return ty.value_type(value.value) if not ty.is_float(value.value) else value.value


def storage_type(checker: Any, node: ast.expr) -> Any:
    """An argument that names an element type of a slice."""
    value = checker.expression(node)
    if not isinstance(value, Comptime):
        checker.refuse(node, "type", "this argument is a type")
    return ty.substitute(ty.normalize(value.value), checker.mapping)


def _wrap(checker: Any, node: ast.Call) -> Value:
    target = comptime_type(checker, node.args[0])
    checker.ring = 1
    value = checker.expression(node.args[1])
    checker.ring = 0
    if isinstance(value, Comptime) and isinstance(value.value, int):
        return Comptime(ints.wrap(target, value.value))
    inner = checker.as_integer(value, node)
    low, high = ty.interval(target)
    if low <= inner.low and inner.high <= high:
        low, high = inner.low, inner.high
    return Node("wrap", target, (inner,), target, checker.span(node), low, high)


def _saturate(checker: Any, node: ast.Call) -> Value:
    target = comptime_type(checker, node.args[0])
    inner = checker.as_integer(checker.expression(node.args[1]), node)
    low, high = ty.interval(target)
    bounds = (max(low, min(inner.low, high)), min(high, max(inner.high, low)))
    return Node("saturate", target, (inner,), (low, high), checker.span(node), *bounds)


def _bitcast(checker: Any, node: ast.Call) -> Value:
    target = comptime_type(checker, node.args[0])
    value = checker.expression(node.args[1])
    if isinstance(value, Comptime):
        return Comptime(ints.bitcast(target, value.value))
    if ty.is_float(value.type) == ty.is_float(target):
        if ty.is_float(target):
            return typing.cast(Value, value)
        return Node("wrap", target, (value,), target, checker.span(node), *ty.interval(target))
    if ty.is_float(target):
        value = checker.as_integer(value, node)
        if value.type is ty.INT:
            word = ints.u32 if target.bits == 32 else ints.u64
            value = checker.fit(value, word, node)
        if value.type.bits != target.bits:
            checker.refuse(node, "type", "bitcast keeps the width")
    elif value.type.bits != target.bits:
        checker.refuse(node, "type", "bitcast keeps the width")
    low, high = checker.type_bounds(target)
    return Node("bitcast", target, (value,), target, checker.span(node), low, high)


def _stack(checker: Any, node: ast.Call) -> Value:
    stored = storage_type(checker, node.args[0])
    count = checker.expression(node.args[1])
    if not isinstance(count, Comptime) or not isinstance(count.value, int):
        checker.refuse(node, "constant", "the length of stack storage is an import-time constant")
    vector = isinstance(stored, ty.VecType)
    size = checker.element_bytes(stored)
    align = size if vector else checker.size_align(stored)[1]
    total = size * count.value
    if total > STACK_BYTES_MAX:
        fix = "take the storage as a parameter, or allocate it from an Arena"
        checker.refuse(node, "stack-size", f"{total} bytes are too many for the stack", fix)
    data = (total, max(align, 16) if total >= 16 else align)
    base = checker.hold(Node("stack", ty.ADDRESS, data=data, span=checker.span(node)))
    length = checker.integer(count.value)
    return Node("make_slice", ty.SliceType(stored), (base, length), span=checker.span(node))


def _reinterpret(checker: Any, node: ast.Call) -> Value:
    stored = storage_type(checker, node.args[0])
    source = checker.hold(checker.as_slice(checker.expression(node.args[1]), node))
    old = checker.element_bytes(checker.stored_element(source))
    new = checker.element_bytes(stored)
    base = Node("slice_pointer", ty.ADDRESS, (source,))
    total = checker.integer_binary(node, "mul", checker.length(source), Comptime(old))
    total = checker.hold(Node(total.op, total.type, total.args, "plain", None, 0, ty.I64_MAX))
    if new > 1:
        address = Node("address_to_int", ints.u64, (base,), low=0, high=ty.U64_MAX)
        both = Node("or", ints.u64, (address, total), "plain", None, 0, ty.U64_MAX)
        align = checker.size_align(stored)[1]
        for value, unit, what in ((both, align, "not aligned"), (total, new, "not whole elements")):
            rest = Node(
                "mod", ints.u64, (value, checker.integer(unit)), ("plain", False), None, 0, unit
            )
            test = checker.compare_integers("eq", rest, checker.integer(0), node)
            checker.emit(Node("check", None, (test,), f"reinterpret: {what}", checker.span(node)))
    count = Node(
        "floordiv", ints.usize, (total, checker.integer(new)), ("plain", False), None, 0, ty.I64_MAX
    )
    return Node("make_slice", ty.SliceType(stored), (base, count), span=checker.span(node))


def _panic(checker: Any, node: ast.Call) -> Value:
    value = checker.expression(node.args[0])
    if not isinstance(value, Comptime) or not isinstance(value.value, bytes):
        checker.refuse(node, "constant", "a panic message is a bytes literal")
    reason = value.value.decode("utf-8", "replace")
    checker.emit(Node("trap", None, data=reason, span=checker.span(node)))
    checker.terminated = True
    return Node("null", typing.NoReturn)


def _math(name: str) -> Handler:
    def handle(checker: Any, node: ast.Call) -> Value:
        value = checker.expression(node.args[0])
        if isinstance(value, Comptime):
            import bare.math as library

            return Comptime(getattr(library, name)(value.value))
        if not ty.is_float(value.type):
            checker.refuse(node, "type", f"expected f32 or f64, found {ty.name_of(value.type)}")
        return Node("math", value.type, (value,), name, checker.span(node))

    return handle


def _vector(name: str) -> Handler:
    def handle(checker: Any, node: ast.Call) -> Value:
        value: Value = checker.vector_function(name, node)
        return value

    return handle


def _level_has(name: str, what: str) -> Handler:
    def handle(checker: Any, node: ast.Call) -> Value:
        if checker.level == ty.PLAIN:
            checker.refuse(node, "vector-level", "a level is known only in @multiversion code")
        checker.function.operations.add(name)
        return Comptime(bool(getattr(BY_NUMBER[checker.level], what)))

    return handle


# -- processor: (assembly, constraints, parameter types, result types, memory clobber) -------------

U8, U16, U32, U64 = ints.u8, ints.u16, ints.u32, ints.u64
PROCESSOR: dict[str, tuple[str, str, tuple[Any, ...], tuple[Any, ...]]] = {
    "inb": ("inb %dx, %al", "={al},{dx}", (U16,), (U8,)),
    "inw": ("inw %dx, %ax", "={ax},{dx}", (U16,), (U16,)),
    "inl": ("inl %dx, %eax", "={eax},{dx}", (U16,), (U32,)),
    "outb": ("outb %al, %dx", "{dx},{al}", (U16, U8), ()),
    "outw": ("outw %ax, %dx", "{dx},{ax}", (U16, U16), ()),
    "outl": ("outl %eax, %dx", "{dx},{eax}", (U16, U32), ()),
    "rdtsc": ("rdtsc; shlq $$32, %rdx; orq %rdx, %rax", "={rax},~{rdx}", (), (U64,)),
    "cpuid": (
        "cpuid",
        "={eax},={ebx},={ecx},={edx},{eax},{ecx}",
        (U32, U32),
        (U32, U32, U32, U32),
    ),
    "rdmsr": ("rdmsr; shlq $$32, %rdx; orq %rdx, %rax", "={rax},{ecx},~{rdx}", (U32,), (U64,)),
    "wrmsr": ("movq %rax, %rdx; shrq $$32, %rdx; wrmsr", "{ecx},{rax},~{rdx}", (U32, U64), ()),
    "xgetbv": ("xgetbv; shlq $$32, %rdx; orq %rdx, %rax", "={rax},{ecx},~{rdx}", (U32,), (U64,)),
    "xsetbv": ("movq %rax, %rdx; shrq $$32, %rdx; xsetbv", "{ecx},{rax},~{rdx}", (U32, U64), ()),
    **{f"read_cr{n}": (f"movq %cr{n}, $0", "=r", (), (U64,)) for n in (2, 3, 4)},
    **{f"write_cr{n}": (f"movq $0, %cr{n}", "r", (U64,), ()) for n in (3, 4)},
    "halt": ("hlt", "", (), ()),
    "pause": ("pause", "", (), ()),
    "enable_interrupts": ("sti", "", (), ()),
    "disable_interrupts": ("cli", "", (), ()),
    "enable_interrupts_and_halt": ("sti; hlt; cli", "", (), ()),
    "invlpg": ("invlpg ($0)", "r", (U64,), ()),
    "fence": ("mfence", "", (), ()),
    "lgdt": ("lgdt ($0)", "r", (U64,), ()),
    "lidt": ("lidt ($0)", "r", (U64,), ()),
    "ltr": ("ltrw ${0:w}", "r", (U16,), ()),
}


def _processor(name: str) -> Handler:
    text, constraints, parameters, results = PROCESSOR[name]

    def handle(checker: Any, node: ast.Call) -> Value:
        arguments = checker.arguments(node)
        if len(arguments) != len(parameters):
            checker.refuse(node, "call", f"{name} takes {len(parameters)} arguments")
        operands = tuple(
            checker.coerce(a[1] if isinstance(a, tuple) else a, p, node)
            for a, p in zip(arguments, parameters, strict=True)
        )
        kind: Any = ty.NONE
        if len(results) == 1:
            kind = results[0]
        elif results:
            kind = ty.TupleType(*results)
        low, high = checker.type_bounds(kind)
        data = (text, constraints, parameters, results)
        return Node("asm", kind, operands, data, checker.span(node), low, high)

    return handle


def _prefetch(locality: int) -> Handler:
    def handle(checker: Any, node: ast.Call) -> Value:
        source = checker.hold(checker.as_slice(checker.expression(node.args[0]), node))
        index = checker.as_integer(checker.expression(node.args[1]), node)
        place = checker.element_place(source, index, node, checked=False)
        return Node("vector", ty.NONE, (place,), ("prefetch", locality), checker.span(node))

    return handle


# -- unsafe ----------------------------------------------------------------------------------------


def _address_of(checker: Any, node: ast.Call) -> Value:
    value = checker.materialize(checker.expression(node.args[0]), node)
    if ty.is_slice(value.type):
        value = Node("slice_pointer", ty.ADDRESS, (value,))
    return Node("address_to_int", ints.u64, (value,), low=0, high=ty.U64_MAX)


def _struct_at(checker: Any, node: ast.Call) -> Value:
    cls = comptime_type(checker, node.args[0])
    address = checker.coerce(checker.expression(node.args[1]), ints.u64, node)
    return Node("int_to_address", cls, (address,), span=checker.span(node))


def _slice_at(checker: Any, node: ast.Call) -> Value:
    stored = storage_type(checker, node.args[0])
    address = checker.coerce(checker.expression(node.args[1]), ints.u64, node)
    count = checker.coerce(checker.expression(node.args[2]), ints.usize, node)
    base = Node("int_to_address", ty.ADDRESS, (address,))
    return Node("make_slice", ty.SliceType(stored), (base, count), span=checker.span(node))


def _size_of(checker: Any, node: ast.Call) -> Value:
    return Comptime(checker.element_bytes(storage_type(checker, node.args[0])))


def _align_of(checker: Any, node: ast.Call) -> Value:
    return Comptime(checker.size_align(storage_type(checker, node.args[0]))[1])


def _set_defaults(checker: Any, node: ast.Call) -> Value:
    """Zero the storage, then store the defaults that are not zero."""
    value = checker.hold(checker.materialize(checker.expression(node.args[0]), node))
    total = checker.integer(value.type._size_)
    zero = Node("memory", ty.NONE, (value, Node("const", U8, data=0), total), "fill")
    checker.emit(Node("evaluate", None, (zero,), span=checker.span(node)))
    checker.default_fields(value, value.type, set(), node)
    return Node("null", ty.NONE)


def _symbol_address(checker: Any, node: ast.Call) -> Value:
    argument = node.args[0]
    if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
        value = checker.expression(argument)
        if not isinstance(value, Comptime) or not isinstance(value.value, str):
            checker.refuse(node, "constant", "a symbol is named by a text literal")
        name = value.value
    else:
        name = argument.value
    return Node("symbol", ints.u64, data=name, low=0, high=ty.U64_MAX)


# -- levels and traps ------------------------------------------------------------------------------


def _set_level(checker: Any, node: ast.Call) -> Value:
    value = checker.hold(checker.coerce(checker.expression(node.args[0]), ints.u8, node))
    place = checker.attribute_place(dispatch, "level", node)
    known = checker.compare_integers("le", value, checker.integer(NUMBERS[-1]), node)
    reason = "there is no such instruction-set level"
    checker.emit(Node("check", None, (known,), reason, checker.span(node)))
    checker.emit(Node("store", None, (place, value), (ints.u8, 0), checker.span(node)))
    return Node("null", ty.NONE)


def _trap_site(checker: Any, node: ast.Call) -> Value:
    from bare.trap import TrapSite

    index = checker.as_integer(checker.expression(node.args[0]), node)
    return Node("trap_site", TrapSite, (index,), span=checker.span(node))


def _static(checker: Any, node: ast.Call) -> Value:
    message, fix = "static storage is made at import", "name it at module level"
    raise checker.refuse(node, "subset", message, fix)  # It does not return.


INTRINSICS: dict[str, Handler] = {
    "wrap": _wrap,
    "saturate": _saturate,
    "bitcast": _bitcast,
    "stack": _stack,
    "static": _static,
    "reinterpret": _reinterpret,
    "panic": _panic,
    **{name: _math(name) for name in ("sqrt", "floor", "fabs")},
    **{name: _vector(name) for name in ("select", *PARAMETERS)},
    "exact_dot4": _level_has("exact_dot4", "dot4"),
    "native_dot2": _level_has("native_dot2", "dot2"),
    **{name: _processor(name) for name in PROCESSOR},
    "prefetch": _prefetch(3),  # LLVM's localities: prefetcht0, prefetcht1.
    "prefetch_l2": _prefetch(2),
    "address_of": _address_of,
    "struct_at": _struct_at,
    "registers_at": _struct_at,
    "slice_at": _slice_at,
    "size_of": _size_of,
    "align_of": _align_of,
    "set_defaults": _set_defaults,
    "symbol_address": _symbol_address,
    "set_level": _set_level,
    "trap_site": _trap_site,
}
