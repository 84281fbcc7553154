"""`crash KIND`: fail on purpose, to see (and test) what a failure looks like."""

from bare import Bytes, Slice, u8, u64, usize
from bare.unsafe import slice_at, symbol_address
from merlion.kernel.arch.x86_64.stubs import exhaust_stack
from merlion.kernel.console import console
from merlion.kernel.shell.refuse import refuse
from merlion.kernel.start import boot_arena

UNMAPPED = 0x7FFF_0000_0000


def touch(address: u64) -> u8:
    """Read one byte of memory."""
    return slice_at(u8, address, 1)[0]


def crash(arguments: Bytes) -> bool:
    """Provoke one kind of failure: to come back is none."""
    kind = arguments
    if kind == b"assert":
        assert len(kind) == 0, "the user asked for it"
    elif kind == b"bounds":
        data: Slice[u8] = slice_at(u8, symbol_address("image_start"), 4)
        console.out.unsigned(data[usize(len(kind))])
    elif kind == b"null":
        console.out.unsigned(touch(8))
    elif kind == b"unmapped":
        console.out.unsigned(touch(UNMAPPED))
    elif kind == b"code":
        slice_at(u8, symbol_address("text_start"), 1)[0] = 0
    elif kind == b"guard":
        slice_at(u8, symbol_address("boot_stack_guard"), 1)[0] = 0
    elif kind == b"sealed":
        boot_arena.slice(u8, 1)
    elif kind == b"stack":
        exhaust_stack()
    else:
        return refuse(b"usage: crash assert|bounds|null|unmapped|code|guard|sealed|stack")
    return refuse(b"nothing failed")
