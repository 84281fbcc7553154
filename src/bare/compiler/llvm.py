"""How types and constants are written in LLVM IR.

Two spellings of a type: in a register (`value`) every integer is i64 and a bool is i1; in memory,
in aggregates, and across calls (`stored`) they have their own width. Aggregates use C layout, which
is also what `bare.codec` gives them under CPython.
"""

import enum
import struct
import typing
from functools import cache
from typing import Any, Literal

from bare.compiler import types as ty
from bare.compiler.statics import StaticNames
from bare.memory import Slice

PAIR = "{ ptr, i64 }"
STATIC_ALIGN = 64  # What every static allocation of an image is aligned to.

# Static storage: defined for this module only, defined for the other modules of the program,
# defined by one of them, or outside the program (the CPython objects themselves).
type Linkage = Literal["internal", "shared", "declared", "outside"]


@cache
def stored(t: Any, level: int = ty.PLAIN) -> str:
    """The type in memory."""
    if t is ty.NONE or t is typing.NoReturn:
        return "void"
    if t is bool:
        return "i8"
    if ty.is_float(t):
        return {"f32": "float", "f64": "double", "f16": "half", "bf16": "bfloat"}[t.name]
    if ty.is_int(t) or ty.is_enum(t) or ty.is_bitfield(t) or isinstance(t, ty.BigEndianType):
        return f"i{ty.storage_int(t).bits}"
    if isinstance(t, ty.VecType):
        lanes = ty.VECTOR_BYTES[level] // t.element.size
        # Lanes of bf16 are only moved: as bits, which LLVM does not take for numbers to convert.
        return f"<{lanes} x {'i16' if t.element.size == 2 else stored(t.element)}>"
    if isinstance(t, ty.MaskType):
        return f"<{t.lanes} x i1>"
    if ty.is_slice(t):
        return PAIR
    if isinstance(t, ty.UnionType):
        kind = ty.union_kind(t)
        if kind == "nullable":
            return "ptr"
        if kind == "closed":
            return PAIR
        return "{ i8, " + ", ".join(stored(m, level) for m in ty.members(t)) + " }"
    parts = parts_of(t)
    if parts is not None:
        return "{ " + ", ".join(stored(p, level) for p in parts) + " }"
    return "ptr"


def value(t: Any, level: int = ty.PLAIN) -> str:
    """The type in a register."""
    if t is bool:
        return "i1"
    if is_integer(t):
        return "i64"
    return stored(t, level)


def is_integer(t: Any) -> bool:
    """Held as i64 in registers."""
    return ty.is_int(t) or ty.is_enum(t) or ty.is_bitfield(t)


def parts_of(t: Any) -> list[Any] | None:
    """Element types of a tuple or record."""
    if isinstance(t, ty.TupleType):
        return list(t.parts)
    if ty.is_record(t):
        return [kind for _, kind in ty.record_fields(t)]
    return None


def float_text(number: float, t: Any) -> str:
    """A float constant, exact: the bits of the double that equals it."""
    if t.bits == 32:
        try:
            number = struct.unpack("<f", struct.pack("<f", number))[0]
        except OverflowError:
            number = float("inf") if number > 0 else float("-inf")
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"


def int_text(number: int) -> str:
    """A 64-bit constant; the upper half of u64 is written as its signed twin."""
    return str(number - 2**64 if number > ty.I64_MAX else number)


class Constants:
    """Constant data of a shard: literals and tables of its own, static storage."""

    def __init__(self, names: StaticNames, linkage: Linkage) -> None:
        self.names = names
        self.linkage = linkage
        self.lines: list[str] = []
        self.literals: dict[bytes, str] = {}
        self.tables: dict[Any, str] = {}
        self.statics: dict[int, tuple[str, Any]] = {}

    def literal(self, data: bytes) -> str:
        """The symbol of a bytes literal."""
        if data not in self.literals:
            name = f"@.bytes.{len(self.literals)}"
            self.literals[data] = name
            text = "".join(
                chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\{b:02X}" for b in data
            )
            self.lines.append(
                f'{name} = private unnamed_addr constant [{len(data)} x i8] c"{text}", align 1'
            )
        return self.literals[data]

    def static(self, allocation: Any, parent: str = "") -> str:
        """The symbol of import-time storage."""
        key = id(allocation)
        if key not in self.statics:
            name = f'@"{self.names.name(allocation, parent)}"'
            self.statics[key] = (name, allocation)
            if self.linkage in ("internal", "shared"):
                self.define(name, allocation)
            elif self.linkage == "declared":
                size = allocation.size
                kind = "constant" if allocation.constant else "global"
                self.lines.append(
                    f"{name} = external hidden {kind} [{size} x i8], align {STATIC_ALIGN}"
                )
            else:
                self.lines.append(f"{name} = external global i8")
        return self.statics[key][0]

    def define(self, name: str, allocation: Any) -> None:
        """Static storage in the image: its bytes, and the addresses of what it points to."""
        data = bytearray(allocation.buffer)
        place = len(self.lines)
        self.lines.append("")
        pieces: list[tuple[str, str]] = []
        at = 0
        for offset, target in sorted(allocation.refs.items()):
            address = self.reference(target, f"{name[2:-1]}+{offset}")
            if address is None and isinstance(target, Slice):  # Empty: it points to nothing.
                data[offset : offset + 8] = bytes(8)
            if address is None or offset < at:
                continue
            self.bytes_piece(pieces, data[at:offset])
            pieces.append(("ptr", address))
            at = offset + 8
        self.bytes_piece(pieces, data[at:])
        kind = "constant" if allocation.constant else "global"
        kinds = ", ".join(t for t, _ in pieces)
        values = ", ".join(f"{t} {v}" for t, v in pieces)
        body = f"<{{ {kinds} }}> <{{ {values} }}>"
        if not any(data) and all(t != "ptr" for t, _ in pieces):
            body = f"[{len(data)} x i8] zeroinitializer"
        linkage = "internal" if self.linkage == "internal" else "hidden"
        self.lines[place] = f"{name} = {linkage} {kind} {body}, align {STATIC_ALIGN}"

    def bytes_piece(self, pieces: list[tuple[str, str]], data: bytearray) -> None:
        """Add plain bytes to an initialiser."""
        if not data:
            return
        if not any(data):
            pieces.append((f"[{len(data)} x i8]", "zeroinitializer"))
            return
        text = "".join(f"\\{b:02X}" for b in data)
        pieces.append((f"[{len(data)} x i8]", f'c"{text}"'))

    def reference(self, target: Any, place: str) -> str | None:
        """The address of a Python object that static storage points to from `place`."""
        if not isinstance(target, Slice) and not ty.is_struct(type(target)):
            return None
        if isinstance(target, Slice) and not len(target):
            return None
        self.static(target._allocation_, place)
        return self.address(target._allocation_, target._offset_)

    def address(self, allocation: Any, offset: int) -> str:
        """A constant address inside static storage."""
        name = self.static(allocation)
        return name if offset == 0 else f"getelementptr (i8, ptr {name}, i64 {offset})"

    def table(self, values: tuple[Any, ...], t: Any) -> str:
        """The symbol of a constant array."""
        key = (values, t)
        if key not in self.tables:
            kind = stored(t)
            body = ", ".join(f"{kind} {self.constant(v, t)}" for v in values)
            name = f"@.table.{len(self.tables)}"
            self.tables[key] = name
            self.lines.append(
                f"{name} = private unnamed_addr constant "
                f"[{len(values)} x {kind}] [{body}], align 16"
            )
        return self.tables[key]

    def constant(self, found: Any, t: Any) -> str:
        """An import-time object as the initialiser of storage."""
        if isinstance(found, enum.Enum):
            return int_text(int(found.value))
        if t is bool:
            return "1" if found else "0"
        if is_integer(t):
            return int_text(int(found))
        if ty.is_float(t):
            return float_text(float(found), t)
        if isinstance(found, (bytes, bytearray)):
            if not found:
                return "zeroinitializer"
            return f"{{ ptr {self.literal(bytes(found))}, i64 {len(found)} }}"
        if isinstance(found, Slice):
            where = self.address(found._allocation_, found._offset_)
            return f"{{ ptr {where}, i64 {len(found)} }}"
        if found is None:
            return "zeroinitializer"
        if isinstance(t, ty.UnionType):
            return self.union_constant(found, t)
        if isinstance(t, ty.TupleType):
            inner = [
                f"{stored(k)} {self.constant(v, k)}" for v, k in zip(found, t.parts, strict=True)
            ]
            return "{ " + ", ".join(inner) + " }"
        if ty.is_record(t):
            fields = [
                f"{stored(k)} {self.constant(getattr(found, n), k)}" for n, k in ty.record_fields(t)
            ]
            return "{ " + ", ".join(fields) + " }"
        return self.address(found._allocation_, found._offset_)

    def union_constant(self, found: Any, t: Any) -> str:
        """A constant member of a union."""
        if ty.union_kind(t) == "nullable":
            return self.address(found._allocation_, found._offset_)
        fitting = [i for i, member in enumerate(ty.members(t)) if _is_member(found, member)]
        if not fitting:
            raise TypeError(f"{found!r} is no member of {ty.name_of(t)}")
        index = fitting[0]
        if ty.union_kind(t) == "closed":
            where = self.address(found._allocation_, found._offset_)
            return f"{{ ptr {where}, i64 {index + 1} }}"
        parts = [f"i8 {index + 1}"]
        for number, member in enumerate(ty.members(t)):
            text = self.constant(found, member) if number == index else "zeroinitializer"
            parts.append(f"{stored(member)} {text}")
        return "{ " + ", ".join(parts) + " }"


def _is_member(found: Any, member: Any) -> bool:
    """A constant can be this member."""
    if ty.is_slice(member):
        return isinstance(found, (bytes, Slice))
    if ty.is_int(member):
        return isinstance(found, int) and not isinstance(found, (bool, enum.Enum))
    return isinstance(found, member)
