"""What the rest of the language cannot do: addresses, registers at an address, assembly.

For boot, page tables, drivers' DMA, the arena and the hosted glue; nothing else may import it.
Addresses are virtual; the kernel maps them one to one to physical ones.
"""

import ctypes
from collections.abc import Callable
from typing import Any, overload

from bare import mmio
from bare.allocation import locate
from bare.codec import codec, layout
from bare.descriptors import normalize
from bare.memory import Array, Slice, make_view
from bare.structs import Struct, paste
from bare.trap import trap

# Assembler text added to the image, in import order.
module_asm_blocks: list[str] = []
# Addresses that tests give to linker symbols.
symbols: dict[str, int] = {}


def address_of(target: Struct | Slice[Any] | Array[Any]) -> int:
    """Give the address of a Struct, or of the first element of a slice."""
    return target._address_


def struct_at[T](kind: type[T], address: int) -> T:
    """See the Struct at `address`; nothing is initialised."""
    struct: Any = kind
    if address % struct._align_:
        trap(f"{address:#x} is not aligned for {struct.__name__}")
    return struct._at_(*locate(address, struct._size_))  # type: ignore[no-any-return]


@overload
def slice_at[T](element: type[T], address: int, count: int) -> Slice[T]: ...
@overload
def slice_at(element: object, address: int, count: int) -> Slice[Any]: ...
def slice_at(element: Any, address: int, count: int) -> Any:
    """See `count` elements at `address`."""
    kind = normalize(element)
    found = codec(kind, True)
    if address % found.align:
        trap(f"{address:#x} is not aligned for {kind}")
    return make_view(Slice, kind, *locate(address, found.size * count), count)


def set_defaults(target: object) -> None:
    """Set a Struct to the defaults of its class, zero where there is none."""
    here: Any = target
    paste(type(here), here._allocation_, here._offset_)


def size_of(element: object) -> int:
    """Bytes that one element of this type takes in a Slice."""
    return layout(normalize(element), True).size


def align_of(element: object) -> int:
    """Alignment of this type in a Slice."""
    return layout(normalize(element), True).align


def registers_at[T: mmio.Registers](kind: type[T], address: int) -> T:
    """See the device registers at `address`: on `bare.mmio.bus` in tests, else plain memory."""
    return kind.over(_Window(address), address)


class _Window:
    """The bus, or memory, from an address on."""

    def __init__(self, address: int) -> None:
        self.address = address

    def read(self, offset: int, size: int) -> int:
        if mmio.bus is not None:
            return mmio.bus.read(self.address + offset, size)  # type: ignore[no-any-return]
        return int.from_bytes(ctypes.string_at(self.address + offset, size), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        if mmio.bus is not None:
            mmio.bus.write(self.address + offset, size, value)
            return
        ctypes.memmove(self.address + offset, value.to_bytes(size, "little"), size)


def module_asm(text: str) -> None:
    """Add assembler text to the image (at import)."""
    module_asm_blocks.append(text)


def symbol_address(name: str) -> int:
    """Give the address of a linker symbol or of an exported function."""
    if name not in symbols:
        trap(f"symbol {name} exists only in the image")
    return symbols[name]


def external[F: Callable[..., Any]](symbol: str) -> Callable[[F], F]:
    """Declare a function that assembly implements under `symbol`."""

    def mark(function: F) -> F:
        setattr(function, "__bare_external__", symbol)  # noqa: B010
        return function

    return mark
