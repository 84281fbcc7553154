"""The C functions of an image, run in this process against Python's bytes."""

import ctypes
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare.compiler.codegen import compile_object
from bare.compiler.loader import LoadedObject
from bare.compiler.runtime_ir import runtime_ir

SIZE = 1024
MARGIN = 64


@pytest.fixture(scope="module")
def functions() -> dict[str, Callable[..., int]]:
    loaded = LoadedObject(compile_object(runtime_ir(), "jit"), {})
    types = {
        "memcpy": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
        "memmove": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
        "memset": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t),
        "memcmp": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
        "bcmp": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
    }
    found: dict[str, Callable[..., int]] = {
        name: ctypes.CFUNCTYPE(*kinds)(loaded.symbols[name]) for name, kinds in types.items()
    }
    found["keep"] = lambda: loaded.address
    return found


def pattern(size: int) -> bytes:
    return bytes((i * 7 + i // 251) & 0xFF for i in range(size))


def test_copy_moves_every_small_size_at_every_overlap(
    functions: dict[str, Callable[..., int]],
) -> None:
    for size in [*range(0, 140), 191, 192, 193, 255, 256, 257, 400]:
        for shift in (-80, -64, -63, -17, -16, -9, -1, 0, 1, 3, 8, 15, 16, 33, 64, 65, 100):
            storage = ctypes.create_string_buffer(pattern(SIZE), SIZE)
            base = ctypes.addressof(storage) + 200
            expected = bytearray(pattern(SIZE))
            expected[200 + shift : 200 + shift + size] = pattern(SIZE)[200 : 200 + size]
            assert functions["memmove"](base + shift, base, size) == base + shift
            assert storage.raw == bytes(expected), (size, shift)


def test_set_writes_exactly_its_range(functions: dict[str, Callable[..., int]]) -> None:
    for size in [*range(0, 200), 255, 256, 257, 511]:
        for start in (MARGIN, MARGIN + 1, MARGIN + 7):
            storage = ctypes.create_string_buffer(pattern(SIZE), SIZE)
            expected = bytearray(pattern(SIZE))
            expected[start : start + size] = b"\xa5" * size
            address = ctypes.addressof(storage) + start
            assert functions["memset"](address, 0x1A5, size) == address
            assert storage.raw == bytes(expected), (size, start)


@given(
    common=st.binary(max_size=80),
    a=st.binary(max_size=40),
    b=st.binary(max_size=40),
)
def test_compare_orders_as_bytes_do(
    functions: dict[str, Callable[..., int]], common: bytes, a: bytes, b: bytes
) -> None:
    size = len(common) + min(len(a), len(b))
    left, right = (common + a)[:size], (common + b)[:size]
    found = functions["memcmp"](left, right, size)
    assert (found > 0) - (found < 0) == (left > right) - (left < right)
    assert (functions["bcmp"](left, right, size) == 0) == (left == right)
