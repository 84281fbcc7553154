"""Formats against gguf's own quants, and the repacked layouts against the formats."""

import numpy as np
import pytest

from bare import f32
from merlion.engine.kernels.definition import unpacked_value
from merlion.engine.quant import Format, dequantise_row, find_format, row_bytes
from tests.engine.matrices import FORMATS, arena, array_of, encode, make_matrix, to_slice


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_dequantises_as_gguf_does(form: Format) -> None:
    values = np.random.default_rng(1).standard_normal((1, 96)).astype(np.float32)
    data, exact = encode(values, form)
    assert len(data) == row_bytes(form, 96)
    out = arena(4096).slice(f32, 96)
    dequantise_row(form, to_slice(data), out)
    np.testing.assert_array_equal(array_of(out), exact[0])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("columns", [64, 96])  # 3 blocks a row: a pair belongs to two groups.
def test_repacking_keeps_every_value(form: Format, columns: int) -> None:
    values = np.random.default_rng(2).standard_normal((19, columns)).astype(np.float32)
    matrix, exact = make_matrix(values, form, arena(1 << 16))
    assert matrix.groups == 2
    for row in range(19):
        found = [unpacked_value(matrix, row, column) for column in range(columns)]
        np.testing.assert_array_equal(np.array(found, np.float32), exact[row])


def test_formats_without_kernels_are_not_found() -> None:
    assert find_format(8) is Format.Q8_0
    assert find_format(12) is None
