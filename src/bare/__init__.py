"""The names a compiled module may import, and what each means under CPython.

`bare` is a typed subset of Python. A module in it runs unmodified under CPython, where these names
check and lay out everything as compiled code does; `bare.compiler` turns the same module into
machine code.
"""

import bare.slice_codec  # noqa: F401 (before the first Struct with a slice)
from bare.arena import Arena
from bare.atomic import Atomic
from bare.ints import (
    be16,
    be32,
    be64,
    bf16,
    bitcast,
    f16,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    saturate,
    u8,
    u16,
    u32,
    u64,
    usize,
    wrap,
)
from bare.marks import export, unchecked, unroll
from bare.memory import Array, Bytes, Ref, Slice, reinterpret, stack, static
from bare.structs import Struct, Wire, array
from bare.trap import Trap, TrapSite, panic, trap_site

__all__ = [
    "Arena",
    "Array",
    "Atomic",
    "Bytes",
    "Ref",
    "Slice",
    "Struct",
    "Trap",
    "TrapSite",
    "Wire",
    "array",
    "be16",
    "be32",
    "be64",
    "bf16",
    "bitcast",
    "export",
    "f16",
    "f32",
    "f64",
    "i8",
    "i16",
    "i32",
    "i64",
    "panic",
    "reinterpret",
    "saturate",
    "stack",
    "static",
    "trap_site",
    "u8",
    "u16",
    "u32",
    "u64",
    "unchecked",
    "unroll",
    "usize",
    "wrap",
]
