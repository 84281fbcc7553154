"""Norm, SiLU, exponential, rotary embedding against numpy."""

from typing import Any

import numpy as np
import pytest

from merlion.engine.kernels.rope import RopeTable
from tests.engine.levels import kernel_levels
from tests.engine.matrices import arena, array_of, floats

impl = kernel_levels("merlion.engine.kernels.rows", "merlion.engine.kernels.rope")


@pytest.mark.parametrize("length", [16, 64, 43])
def test_rms_norm(impl: Any, length: int) -> None:
    random = np.random.default_rng(length)
    row, weight = random.standard_normal((2, length)).astype(np.float32)
    space = arena(8192)
    out = floats(space, np.zeros(length, np.float32))
    impl.rms_norm(floats(space, row), floats(space, weight), 1e-5, out)
    wanted = row / np.sqrt(np.mean(row.astype(np.float64) ** 2) + 1e-5) * weight
    np.testing.assert_allclose(array_of(out), wanted, rtol=1e-6)


@pytest.mark.parametrize("length", [16, 48])
def test_silu_multiply(impl: Any, length: int) -> None:
    random = np.random.default_rng(length)
    gate, up = random.standard_normal((2, length)).astype(np.float32) * 6
    gate[0] = -200.0
    space = arena(8192)
    out = floats(space, np.zeros(length, np.float32))
    impl.silu_multiply(floats(space, gate), floats(space, up), out)
    wanted = gate / (1 + np.exp(-gate.astype(np.float64))) * up
    np.testing.assert_allclose(array_of(out), wanted, rtol=2e-6, atol=1e-30)


def test_rotation_of_two_heads_in_two_parts(impl: Any) -> None:
    head, rotary, base, position = 8, 6, 10000.0, 5
    values = np.random.default_rng(6).standard_normal(16).astype(np.float32)
    space = arena(1 << 16)
    table = space.alloc(RopeTable)
    table.init(space, 8, rotary, base, 1.0, floats(space, np.zeros(0, np.float32)))
    row = floats(space, values)
    impl.rotate(row, 0, 4, head, table, position)
    impl.rotate(row, 4, 16, head, table, position)

    wanted = values.astype(np.float64).reshape(2, head).copy()
    angle = position * base ** (-2.0 * np.arange(3) / rotary)
    even, odd = values.reshape(2, head)[:, 0:6:2], values.reshape(2, head)[:, 1:6:2]
    wanted[:, 0:6:2] = even * np.cos(angle) - odd * np.sin(angle)
    wanted[:, 1:6:2] = even * np.sin(angle) + odd * np.cos(angle)
    np.testing.assert_allclose(array_of(row), wanted.ravel(), rtol=2e-6, atol=1e-6)
