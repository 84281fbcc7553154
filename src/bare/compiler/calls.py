"""Python callables for compiled functions: arguments into a block, the result out of it.

A wrapper in compiled code takes one pointer to a block: the parameters in order with C layout (as
values: a Struct is its address), then the result. The callable is generated as Python text with the
function's own parameters, so keywords and defaults work and a call costs little more than packing.

Two ways in. The fast one packs numbers, Struct addresses and slices into the thread's own block;
it is chosen when every argument has exactly the expected type. Everything else (values that do not
fit, unions, tuples, wrong types) goes the careful way: `bare.codec` converts or raises.

Lifetime: a `bytes` argument is passed by the address of its own storage. Compiled code may keep
that address in a Struct, so the last few are kept alive. Where a result may hold pointers, `bytes`
go the careful way; each view in a result holds the storage it looks into.
"""

import enum
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, is_dataclass
from inspect import Parameter
from types import NoneType
from typing import Any, NoReturn, Protocol

from bare.allocation import Allocation
from bare.codec import PAIR, codec, dataclass_fields, layout, read, sequence_layout, write
from bare.compiler.loader import SLOTS
from bare.compiler.relocate import align_up
from bare.descriptors import (
    BytesType,
    FloatType,
    IntType,
    RefType,
    SliceType,
    TupleType,
    UnionType,
    enum_storage,
    is_struct,
)
from bare.memory import Slice
from bare.slice_codec import slice_reader

BLOCK_SIZE = 4096  # Of a thread's own block; larger ones are allocated for the call.
BYTES_HEADER = bytes.__basicsize__ - 1  # CPython: where a bytes object's storage starts.
KEPT = 256

_kept: deque[object] = deque(maxlen=KEPT)
_free_slots: list[int] = list(range(SLOTS))[::-1]

type Enter = Callable[[int, int, int], int]


class EntryLike(Protocol):
    """What the compiler says about one callable function."""

    @property
    def symbol(self) -> str:
        """Name of the wrapper."""

    @property
    def parameters(self) -> Sequence[tuple[str, Any, Any]]:
        """Name, type and default (`Parameter.empty` for none) of each parameter."""

    @property
    def result(self) -> Any:
        """Type of the result; NoneType for none."""


class _Slot:
    """A place in `bare_slots`, given back when the thread ends."""

    def __init__(self) -> None:
        self.index = _free_slots.pop()
        self.give_back = _free_slots.append  # Module names may be gone at interpreter exit.

    def __del__(self) -> None:
        self.give_back(self.index)


class _State:
    """What each thread owns: its slot, and the block its calls are packed into."""

    __slots__ = ("address", "allocation", "buffer", "index", "slot")

    def __init__(self) -> None:
        self.slot = _Slot()
        self.index = self.slot.index
        self.allocation = Allocation.new(BLOCK_SIZE, 64)
        self.buffer = self.allocation.buffer
        self.address = self.allocation.address


class _Thread(threading.local):
    """`__init__` runs once a thread, when it first calls compiled code."""

    def __init__(self) -> None:
        self.state = _State()


_thread = _Thread()


@dataclass(frozen=True, slots=True)
class Block:
    """Where each parameter and the result lie."""

    offsets: tuple[int, ...]
    result_offset: int
    size: int
    align: int


def block_layout(types: Sequence[Any], result: Any) -> Block:
    """C layout of the parameters as values, then the result."""
    at, align, offsets = 0, 8, []
    for descriptor in [*types, result]:
        found = layout(descriptor)
        at = align_up(at, found.align)
        offsets.append(at)
        at += found.size
        align = max(align, found.align)
    return Block(tuple(offsets[:-1]), offsets[-1], max(align_up(at, align), 1), align)


@dataclass(slots=True)
class _Packing:
    """The generated text for one parameter."""

    format: str
    values: list[str]
    check: str = ""  # An expression that must hold for the fast way.


@dataclass(slots=True)
class _Names:
    """Objects the generated text refers to."""

    bound: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: object) -> str:
        name = f"_bare_{len(self.bound)}"
        self.bound[name] = value
        return name


def _number(descriptor: Any, name: str, names: _Names) -> _Packing | None:
    if descriptor is bool:
        return _Packing("?", [name], f"{name} is True or {name} is False")
    if isinstance(descriptor, IntType):
        # `struct` checks the range of the other widths.
        check = f"{name} <= {descriptor.maximum}" if descriptor.name == "usize" else ""
        return _Packing(descriptor.format, [name], check)
    if isinstance(descriptor, FloatType) and descriptor.bits >= 32:
        return _Packing(descriptor.format, [name])
    if isinstance(descriptor, type) and issubclass(descriptor, enum.Enum):
        check = f"{name}.__class__ is {names.bind(descriptor)}"
        return _Packing(enum_storage(descriptor).format, [f"{name}._value_"], check)
    return None


def _pointer(descriptor: Any, name: str, names: _Names, copies: bool) -> _Packing | None:
    """References and slices. `copies`: results may point into bytes, which then need a copy."""
    if isinstance(descriptor, RefType):
        descriptor = descriptor.element
    if is_struct(descriptor):
        return _Packing("Q", [f"{name}._address_"], f"isinstance({name}, {names.bind(descriptor)})")
    if isinstance(descriptor, UnionType) and descriptor.optional and len(descriptor.variants) == 1:
        target = descriptor.variants[0]
        target = target.element if isinstance(target, RefType) else target
        if is_struct(target):
            check = f"{name} is None or isinstance({name}, {names.bind(target)})"
            return _Packing("Q", [f"0 if {name} is None else {name}._address_"], check)
    if isinstance(descriptor, (SliceType, BytesType)):
        slices = names.bind(Slice)
        element = names.bind(descriptor.element)
        check = f"{name}.__class__ is {slices} and {name}.element is {element}"
        address = f"{name}._allocation_.address + {name}._offset_"
        if isinstance(descriptor, BytesType) and not copies:
            check = f"{name}.__class__ is bytes or {check}"
            own = f"id({name}) + {BYTES_HEADER}"
            address = f"{own} if {name}.__class__ is bytes else {address}"
        return _Packing("QQ", [address, f"len({name})"], check)
    return None


def _reading(descriptor: Any, offset: int, names: _Names) -> str:
    """An expression for the value of a type at an offset of the thread's block."""
    packing = _number(descriptor, "value", names)
    if packing is not None:
        unpack = names.bind(struct.Struct("=" + packing.format).unpack_from)
        value = f"{unpack}(_bare_t.buffer, {offset})[0]"
        is_enum = isinstance(descriptor, type) and issubclass(descriptor, enum.Enum)
        return f"{names.bind(descriptor)}({value})" if is_enum else value
    if isinstance(descriptor, (SliceType, BytesType)):
        make = names.bind(slice_reader(descriptor.element))
        return f"{make}(*{names.bind(PAIR.unpack_from)}(_bare_t.buffer, {offset}))"
    if isinstance(descriptor, TupleType):
        return f"({_parts(descriptor.parts, offset, names)})"
    if is_dataclass(descriptor):
        kinds = [kind for _, kind in dataclass_fields(descriptor)]
        return f"{names.bind(descriptor)}({_parts(kinds, offset, names)})"
    if isinstance(descriptor, UnionType) and not all(map(is_struct, descriptor.variants)):
        offsets, _ = sequence_layout([layout(variant) for variant in descriptor.variants], 1)
        tag = f"_bare_tag_{offset}"
        test, text = f"({tag} := _bare_t.buffer[{offset}])", ""
        for index, (variant, at) in enumerate(zip(descriptor.variants, offsets, strict=True)):
            text += f"{_reading(variant, offset + at, names)} if {test} == {index + 1} else "
            test = tag
        return f"({text}None)"
    return f"{names.bind(codec(descriptor).read)}(_bare_t.allocation, {offset})"


def _parts(kinds: Sequence[Any], offset: int, names: _Names) -> str:
    """The expressions of what lies one after the other from an offset on, each with a comma."""
    offsets, _ = sequence_layout([layout(kind) for kind in kinds])
    parts = zip(kinds, offsets, strict=True)
    return "".join(f"{_reading(kind, offset + at, names)}, " for kind, at in parts)


def _holds_pointers(descriptor: Any) -> bool:
    """Whether a result of this type may look into an argument's storage."""
    plain = (IntType, FloatType)
    is_enum = isinstance(descriptor, type) and issubclass(descriptor, (enum.Enum, bool))
    if is_enum or isinstance(descriptor, plain) or descriptor is NoneType:
        return False
    if isinstance(descriptor, UnionType):
        return any(_holds_pointers(variant) for variant in descriptor.variants)
    return True


class Marshal:
    """How to call one compiled function."""

    def __init__(
        self, entry: EntryLike, wrapper: int, enter: Enter, fail: Callable[[int], NoReturn]
    ) -> None:
        """`wrapper` is the address of the entry's wrapper; `fail` raises for a trap's site."""
        self.wrapper, self.enter, self.fail = wrapper, enter, fail
        self.types = [descriptor for _, descriptor, _ in entry.parameters]
        self.result = entry.result
        self.block = block_layout(self.types, self.result)
        self.stores = any(not _is_plain(t) for t in self.types)

    def careful(self, arguments: Sequence[Any]) -> Any:
        """Call with conversion and checks of every argument."""
        block = Allocation.new(self.block.size, max(self.block.align, 16))
        for descriptor, offset, value in zip(
            self.types, self.block.offsets, arguments, strict=True
        ):
            write(descriptor, block, offset, value)
        if self.stores:
            # Compiled code may have stored one of the slices, or a part of an Arena.
            _kept.extend(block.refs.values())
        site = self.enter(self.wrapper, block.address, _thread.state.index)
        if site:
            self.fail(site)
        if self.result is NoneType:
            return None
        return read(self.result, block, self.block.result_offset)

    def callable(self, name: str, entry: EntryLike) -> Callable[..., Any]:
        """Generate the Python function."""
        names = _Names()
        copies = _holds_pointers(entry.result)
        parameters, arguments, packings = [], [], []
        for parameter, descriptor, default in entry.parameters:
            arguments.append(parameter)
            has_default = default is not Parameter.empty
            parameters.append(f"{parameter}={names.bind(default)}" if has_default else parameter)
            packings.append(
                _number(descriptor, parameter, names)
                or _pointer(descriptor, parameter, names, copies)
            )
        tuple_text = "(" + "".join(f"{a}, " for a in arguments) + ")"
        fast = [p for p in packings if p is not None]
        head = f"def {name}({', '.join(parameters)}):\n"
        if len(fast) != len(packings) or self.block.size > BLOCK_SIZE:
            text = head + f"    return _careful({tuple_text})\n"
        else:
            text = head + self._fast_body(fast, tuple_text, entry, names)
        scope = names.bound | {
            "_careful": self.careful, "_thread": _thread, "_enter": self.enter,
            "_fail": self.fail, "_struct_error": struct.error, "_keep": _kept.append,
        }  # fmt: skip
        exec(compile(text, f"<compiled {name}>", "exec"), scope)
        result: Callable[..., Any] = scope[name]
        return result

    def _fast_body(
        self, packings: list[_Packing], arguments: str, entry: EntryLike, names: _Names
    ) -> str:
        """The body for arguments that `struct` can pack."""
        layout_text = "="
        at = 0
        for packing, offset in zip(packings, self.block.offsets, strict=True):
            layout_text += "x" * (offset - at) + packing.format
            at = offset + struct.calcsize("=" + packing.format)
        lines = ["    _bare_t = _thread.state\n"]
        checks = [f"({p.check})" for p in packings if p.check]
        if packings:
            pack = names.bind(struct.Struct(layout_text).pack_into)
            values = ", ".join(value for p in packings for value in p.values)
            if checks:
                lines.append(f"    if not ({' and '.join(checks)}):\n")
                lines.append(f"        return _careful({arguments})\n")
            lines += [
                "    try:\n",
                f"        {pack}(_bare_t.buffer, 0, {values})\n",
                "    except (_struct_error, TypeError, OverflowError):\n",
                f"        return _careful({arguments})\n",
            ]
        pointers = [
            name
            for p, (name, kind, _) in zip(packings, entry.parameters, strict=True)
            if p.format == "QQ" or is_struct(kind)
        ]
        if self.stores and len(pointers) > 1:  # One alone has nothing to be stored in.
            lines.append(f"    _keep(({', '.join(pointers)},))\n")
        lines.append(f"    _bare_site = _enter({self.wrapper}, _bare_t.address, _bare_t.index)\n")
        lines.append("    if _bare_site:\n        _fail(_bare_site)\n")
        lines.append(self._result_text(entry.result, names))
        return "".join(lines)

    def _result_text(self, descriptor: Any, names: _Names) -> str:
        if descriptor is NoneType:
            return "    return None\n"
        return f"    return {_reading(descriptor, self.block.result_offset, names)}\n"


def _is_plain(descriptor: Any) -> bool:
    """A parameter through which compiled code cannot store a pointer."""
    return isinstance(descriptor, (BytesType, SliceType)) or not _holds_pointers(descriptor)
