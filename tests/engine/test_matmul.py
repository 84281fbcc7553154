"""Matrix products against numpy, and against themselves in other company."""

from typing import Any

import numpy as np
import pytest

from bare import f32
from merlion.engine.kernels import definition
from merlion.engine.quant import Format, is_quantised
from tests.engine.levels import kernel_levels
from tests.engine.matrices import (
    FORMATS,
    Floats,
    arena,
    array_of,
    make_inputs,
    make_matrix,
    quantised,
)

# Two groups and an odd one, the last of them half full; an odd number of blocks.
ROWS, COLUMNS, STRIDE = 40, 96, 48

impl = kernel_levels("merlion.engine.kernels.matmul", "merlion.engine.kernels.activations")


def product(impl: Any, weights: Floats, inputs: Floats, form: Format) -> tuple[Floats, Floats]:
    """The kernel's product and numpy's."""
    space = arena(1 << 18)
    matrix, exact = make_matrix(weights, form, space)
    count = len(inputs)
    output = space.slice(f32, count * STRIDE)
    activations = make_inputs(inputs, space, impl.quantise_row)
    impl.matmul(matrix, activations, count, output, STRIDE, 0, matrix.groups, False)
    found = array_of(output).reshape(-1, STRIDE)[:count, :ROWS]
    seen = quantised(inputs) if is_quantised(form) else inputs
    return found, seen @ exact.T


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("count", [1, 2, 21, 70])  # 64 inputs are a slab.
def test_product_equals_numpy(impl: Any, form: Format, count: int) -> None:
    random = np.random.default_rng(3)
    weights = random.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    inputs = random.standard_normal((count, COLUMNS)).astype(np.float32)
    found, wanted = product(impl, weights, inputs, form)
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_does_not_depend_on_its_neighbours(impl: Any, form: Format) -> None:
    random = np.random.default_rng(4)
    weights = random.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    inputs = random.standard_normal((5, COLUMNS)).astype(np.float32)
    together, _ = product(impl, weights, inputs, form)
    alone, _ = product(impl, weights, inputs[4:], form)
    np.testing.assert_array_equal(alone[0], together[4])


@pytest.mark.parametrize("count", [1, 3])
def test_shares_of_the_groups_make_the_whole(impl: Any, count: int) -> None:
    random = np.random.default_rng(5)
    weights = random.standard_normal((48, COLUMNS)).astype(np.float32)
    inputs = random.standard_normal((count, COLUMNS)).astype(np.float32)
    space = arena(1 << 18)
    matrix, _ = make_matrix(weights, Format.Q4_0, space)
    activations = make_inputs(inputs, space, impl.quantise_row)
    whole = space.slice(f32, count * 48)
    parts = space.slice(f32, count * 48)
    impl.matmul(matrix, activations, count, whole, 48, 0, 3, False)
    impl.matmul(matrix, activations, count, parts[32:], 48, 2, 3, False)
    impl.matmul(matrix, activations, count, parts, 48, 0, 2, False)
    np.testing.assert_array_equal(array_of(whole), array_of(parts))


@pytest.mark.parametrize("form", FORMATS)
def test_kernels_agree_with_their_scalar_definition(impl: Any, form: Format) -> None:
    random = np.random.default_rng(6)
    weights = random.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    inputs = random.standard_normal((2, COLUMNS)).astype(np.float32)
    space = arena(1 << 18)
    matrix, _ = make_matrix(weights, form, space)
    activations = make_inputs(inputs, space)
    output = space.slice(f32, 2 * STRIDE)
    impl.matmul(matrix, activations, 2, output, STRIDE, 0, matrix.groups, False)
    for row, lane in ((0, 0), (1, 5), (1, 39)):
        wanted = definition.product(matrix, activations, row, lane)
        assert output[row * STRIDE + lane] == pytest.approx(wanted, rel=2e-6, abs=2e-5)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("count", [1, 5])
def test_a_product_is_added_to_what_is_there(impl: Any, form: Format, count: int) -> None:
    random = np.random.default_rng(7)
    weights = random.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    inputs = random.standard_normal((count, COLUMNS)).astype(np.float32)
    space = arena(1 << 18)
    matrix, _ = make_matrix(weights, form, space)
    activations = make_inputs(inputs, space, impl.quantise_row)
    plain = space.slice(f32, count * STRIDE)
    added = space.slice(f32, count * STRIDE)
    added.fill(0.5)
    impl.matmul(matrix, activations, count, plain, STRIDE, 0, matrix.groups, False)
    impl.matmul(matrix, activations, count, added, STRIDE, 0, matrix.groups, True)
    np.testing.assert_array_equal(array_of(plain) + np.float32(0.5), array_of(added))
