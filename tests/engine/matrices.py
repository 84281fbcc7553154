"""Matrices and activations for kernel tests, and what numpy makes of them."""

from collections.abc import Callable

import gguf
import numpy as np
from numpy.typing import NDArray

from bare import Arena, Slice, f32, static, u8
from merlion.engine.kernels.activations import Activations, quantise_row
from merlion.engine.quant import Format
from merlion.engine.repack import allocate, repack
from merlion.engine.tensor import Matrix

type Floats = NDArray[np.float32]

TYPES = {
    Format.F32: gguf.GGMLQuantizationType.F32,
    Format.F16: gguf.GGMLQuantizationType.F16,
    Format.Q8_0: gguf.GGMLQuantizationType.Q8_0,
    Format.Q4_0: gguf.GGMLQuantizationType.Q4_0,
    Format.Q4_1: gguf.GGMLQuantizationType.Q4_1,
}
FORMATS = tuple(TYPES)


def arena(size: int) -> Arena:
    """An arena of its own."""
    return Arena(static(u8, size))


def to_slice(data: bytes) -> Slice[u8]:
    """Bytes as a writable, aligned slice."""
    out = static(u8, len(data))
    out.copy_from(data)
    return out


def encode(values: Floats, form: Format) -> tuple[bytes, Floats]:
    """File bytes of a matrix, and the values they stand for."""
    data = gguf.quants.quantize(values, TYPES[form])
    return data.tobytes(), gguf.quants.dequantize(data, TYPES[form]).astype(np.float32)


def make_matrix(values: Floats, form: Format, space: Arena) -> tuple[Matrix, Floats]:
    """A repacked matrix, and the values it stands for."""
    data, exact = encode(values, form)
    matrix = space.alloc(Matrix)
    allocate(matrix, form, values.shape[0], values.shape[1], space)
    repack(matrix, to_slice(data), 0, matrix.groups)
    return matrix, exact


def make_inputs(
    values: Floats, space: Arena, quantise: Callable[[Activations, int], None] = quantise_row
) -> Activations:
    """Activations of every row, quantised where whole blocks allow it."""
    inputs = space.alloc(Activations)
    inputs.init(space, values.shape[0], values.shape[1])
    for row, numbers in enumerate(values):
        target = inputs.row(row)
        for i, number in enumerate(numbers):
            target[i] = float(number)
        quantise(inputs, row)
    return inputs


def quantised(values: Floats) -> Floats:
    """What the int8 form of a batch stands for."""
    blocks = values.reshape(len(values), -1, 32)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    with np.errstate(divide="ignore", invalid="ignore"):
        quants = np.where(scale > 0, np.rint(blocks / scale), 0)
    return (quants * scale).reshape(values.shape).astype(np.float32)


def floats(space: Arena, values: Floats) -> Slice[f32]:
    """A slice of f32."""
    out = space.slice(f32, values.size)
    for i, number in enumerate(values.ravel()):
        out[i] = float(number)
    return out


def array_of(values: Slice[f32]) -> Floats:
    """A slice as numpy."""
    return np.array([values[i] for i in range(len(values))], np.float32)


def rounded(values: Floats) -> Floats:
    """To bf16, to nearest, ties to even: what attention does with its factors."""
    bits = values.astype(np.float32).view(np.uint32)
    bits = bits + 0x7FFF + (bits >> 16 & 1)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)
