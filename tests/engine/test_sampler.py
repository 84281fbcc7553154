"""The sampler against its definition in numpy: what is kept, how often it is drawn."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bare import Slice, f32, static
from bare.testing import implementations
from merlion.engine.params import GenerateParams
from merlion.engine.sampler import SamplerScratch, SamplerState
from tests.engine.files import arena

impl = implementations("merlion.engine.sampler")


def floats(values: Any) -> "Slice[f32]":
    result = static(f32, len(values))
    for i, value in enumerate(values):
        result[i] = float(np.float32(value))
    return result


def scratch_for(size: int) -> SamplerScratch:
    scratch = SamplerScratch.zeroed()
    assert scratch.allocate(arena(1 << 16), size)
    return scratch


def state_for(seed: int = 1, tokens: tuple[int, ...] = ()) -> SamplerState:
    state = SamplerState.zeroed()
    state.start(seed)
    for token in tokens:
        state.accept(token)
    return state


def kept(logits: Any, params: GenerateParams) -> list[int]:
    """The candidates that llama-server's chain leaves, best first (by definition)."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if params.top_k > 0:
        order = order[: params.top_k]
    weights = np.exp(np.array([logits[i] - logits[order[0]] for i in order], np.float64))
    if params.top_p < 1.0:
        covered = np.cumsum(weights)
        order = order[: int(np.searchsorted(covered, covered[-1] * params.top_p)) + 1]
    if params.min_p > 0.0:
        floor = logits[order[0]] + math.log(params.min_p)
        order = [i for i in order if i == order[0] or logits[i] >= floor]
    return order


random_logits = st.lists(st.integers(-40, 40), min_size=1, max_size=30).map(
    lambda numbers: [number / 8 for number in numbers]
)


@settings(max_examples=150, deadline=None)
@given(
    logits=random_logits,
    top_k=st.integers(0, 12),
    top_p=st.sampled_from([0.0, 0.3, 0.77, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.31, 1.0]),
)
def test_keeps_what_the_definition_keeps(
    impl: Any, logits: list[float], top_k: int, top_p: float, min_p: float
) -> None:
    params = GenerateParams(top_k=top_k, top_p=top_p, min_p=min_p)
    scratch = scratch_for(len(logits))
    count = impl.select_top(floats(logits), top_k, scratch)
    first, last = impl.cut_tail(params, scratch, count)
    found = [scratch.ids[last - 1 - i] for i in range(last - first)]
    wanted = kept(logits, params)
    if params.top_p >= 1.0 and params.min_p <= 0.0:
        found.sort()
        wanted.sort()
    assert found == wanted


@settings(max_examples=60, deadline=None)
@given(logits=random_logits, seed=st.integers(0, 2**64 - 1))
def test_draws_a_kept_token_and_leaves_the_logits(
    impl: Any, logits: list[float], seed: int
) -> None:
    params = GenerateParams(top_k=5, repeat_penalty=1.3, presence_penalty=0.5)
    values = floats(logits)
    state = state_for(seed, (0, len(logits) - 1))
    token = impl.sample(values, params, state, scratch_for(len(logits)))
    assert list(values) == logits
    assert token < len(logits)
    assert state.accepted == 3
    assert state.token_back(0) == token


def test_temperature_zero_takes_the_lowest_id_of_the_best(impl: Any) -> None:
    params = GenerateParams(temperature=0.0)
    scratch = scratch_for(5)
    assert impl.sample(floats([1, 3, 2, 3, 0]), params, state_for(), scratch) == 1
    assert impl.sample(floats([0, 0, 0, 0, 0]), params, state_for(), scratch) == 0
    assert impl.sample(floats([-math.inf] * 4 + [-9.0]), params, state_for(), scratch) == 4


def test_penalties(impl: Any) -> None:
    params = GenerateParams(
        temperature=0.0,
        repeat_penalty=2.0,
        presence_penalty=0.25,
        frequency_penalty=0.5,
        penalty_last_n=3,
    )
    scratch = scratch_for(4)
    logits = floats([4.0, -1.0, 0.5, 0.0])
    # Token 3 is outside the window of 3; token 0 is there twice.
    state = state_for(1, (3, 0, 1, 0))
    impl.penalise(logits, params, state, scratch)
    assert list(logits) == [4.0 / 2 - 2 * 0.5 - 0.25, -2.0 - 0.5 - 0.25, 0.5, 0.0]
    impl.restore(logits, scratch)
    assert list(logits) == [4.0, -1.0, 0.5, 0.0]
    assert all(count == 0 for count in scratch.counts)


def test_frequencies_are_the_distribution(impl: Any) -> None:
    logits = [2.0, 1.0, 0.0, -1.0]
    temperature = 1.5
    params = GenerateParams(temperature=temperature, top_k=0, top_p=1.0, min_p=0.0)
    weights = np.exp(np.array(logits) / temperature)
    wanted = weights / weights.sum()
    scratch, state, values = scratch_for(4), state_for(7), floats(logits)
    draws = 1500
    counts = np.zeros(4)
    for _ in range(draws):
        counts[impl.sample(values, params, state, scratch)] += 1
    chi_square = float(((counts - draws * wanted) ** 2 / (draws * wanted)).sum())
    assert chi_square < 16.3  # Three degrees of freedom, p = 0.001; the seed is fixed.


def test_seed_and_position_decide(impl: Any) -> None:
    values = floats(np.linspace(0, 1, 16))
    params = GenerateParams(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0)
    scratch = scratch_for(16)

    def run(seed: int) -> list[int]:
        state = state_for(seed)
        return [impl.sample(values, params, state, scratch) for _ in range(20)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert len(set(run(1))) > 4


def test_uniform(impl: Any) -> None:
    numbers = [impl.uniform(seed, counter) for seed in range(8) for counter in range(64)]
    assert all(0.0 <= number < 1.0 for number in numbers)
    assert len(set(numbers)) == len(numbers)
    assert abs(np.mean(numbers) - 0.5) < 0.05
    # The published first output of splitmix64 seeded with 0.
    assert impl.mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_broken_logits_do_not_trap(impl: Any, bad: float, temperature: float) -> None:
    for logits in ([bad] * 6, [0.0, bad, 1.0, bad, 2.0, bad]):
        params = GenerateParams(temperature=temperature, top_k=3)
        assert impl.sample(floats(logits), params, state_for(), scratch_for(6)) < 6
