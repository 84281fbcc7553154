"""Hyper-parameters: defaults, and a named refusal of everything that contradicts."""

from typing import Any

import pytest

from bare.testing import implementations
from merlion.engine.hparams import Hyperparameters
from tests.engine.files import parse, smollm2_file, stories_gguf
from tests.engine.gguf_builder import ARRAY, BOOL, F32, I32, STRING, U32, Builder, llama

impl = implementations("merlion.engine.hparams", "merlion.engine.block_tensors")


def read(builder: Builder) -> tuple[Hyperparameters, str, bytes]:
    found = Hyperparameters.zeroed()
    error = found.read(parse(builder.build()))
    return found, "" if error is None else error.name, bytes(found.error_key)


def test_defaults(impl: Any) -> None:
    found, error, _ = read(llama())
    assert error == ""
    assert (found.head_size, found.rope_dimension_count, found.vocabulary_size) == (2, 2, 8)
    assert (found.rope_frequency_base, found.rope_frequency_scale) == (10_000.0, 1.0)
    assert found.tied_output
    assert not found.has_rope_factors


def test_everything_is_read_from_the_file(impl: Any) -> None:
    builder = llama(tied=False).tensor("rope_freqs.weight", 1)
    builder.add("llama.rope.freq_base", F32, 500_000.0).add("llama.vocab_size", U32, 8)
    builder.add("llama.rope.scaling.type", STRING, "linear")
    builder.add("llama.rope.scaling.factor", F32, 4.0)
    found, error, _ = read(builder)
    assert error == ""
    assert (found.rope_frequency_base, found.rope_frequency_scale) == (500_000.0, 0.25)
    assert not found.tied_output
    assert found.has_rope_factors


def test_an_array_of_equal_head_counts(impl: Any) -> None:
    key = "llama.attention.head_count_kv"
    assert read(llama().replace(key, ARRAY, (I32, [2, 2])))[0].head_count_kv == 2
    _, error, name = read(llama().replace(key, ARRAY, (I32, [2, 4])))
    assert (error, name) == ("UNSUPPORTED_FEATURE", key.encode())
    assert read(llama().replace(key, ARRAY, (I32, [0, 0])))[1] == "OUT_OF_RANGE"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_per_layer_array_has_one_entry_a_block(impl: Any, count: int) -> None:
    key = "llama.attention.head_count_kv"
    _, error, name = read(llama().replace(key, ARRAY, (U32, [2] * count)))
    assert (error, name) == ("WRONG_LENGTH", key.encode())
    _, error, name = read(llama().replace("llama.block_count", ARRAY, (U32, [2] * count)))
    assert (error, name) == ("WRONG_LENGTH", b"llama.block_count")


def test_refuses_other_architectures(impl: Any) -> None:
    other = llama().replace("general.architecture", STRING, "mamba")
    assert read(other)[1:] == ("UNSUPPORTED_ARCHITECTURE", b"mamba")
    assert read(Builder())[1:] == ("MISSING_KEY", b"general.architecture")


@pytest.mark.parametrize(
    ("key", "kind", "content", "error"),
    [
        ("llama.block_count", U32, 0, "OUT_OF_RANGE"),
        ("llama.block_count", STRING, "2", "WRONG_TYPE"),
        ("llama.block_count", U32, 3, "MISSING_TENSOR"),
        ("llama.block_count", U32, 1, "UNEXPECTED_TENSOR"),
        ("llama.embedding_length", U32, 16, "SHAPE_MISMATCH"),
        ("llama.embedding_length", U32, 2**31, "OUT_OF_RANGE"),
        ("llama.feed_forward_length", U32, 13, "SHAPE_MISMATCH"),
        ("llama.attention.head_count", U32, 3, "OUT_OF_RANGE"),
        ("llama.attention.head_count", U32, 2, "SHAPE_MISMATCH"),
        ("llama.attention.head_count_kv", U32, 4, "SHAPE_MISMATCH"),
        ("llama.attention.head_count_kv", U32, 0, "OUT_OF_RANGE"),
        ("llama.attention.key_length", U32, 3, "OUT_OF_RANGE"),
        ("llama.attention.value_length", U32, 4, "UNSUPPORTED_FEATURE"),
        ("llama.attention.layer_norm_rms_epsilon", F32, float("nan"), "OUT_OF_RANGE"),
        ("llama.attention.layer_norm_rms_epsilon", U32, 1, "WRONG_TYPE"),
        ("llama.rope.dimension_count", U32, 4, "OUT_OF_RANGE"),
        ("llama.rope.freq_base", F32, 0.0, "OUT_OF_RANGE"),
        ("llama.rope.scaling.type", STRING, "yarn", "UNSUPPORTED_FEATURE"),
        ("llama.vocab_size", U32, 9, "SHAPE_MISMATCH"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a"]), "SHAPE_MISMATCH"),
        ("llama.expert_count", U32, 8, "UNSUPPORTED_FEATURE"),
        ("llama.logit_scale", F32, 2.0, "UNSUPPORTED_FEATURE"),
        ("llama.attention.causal", BOOL, 0, "UNSUPPORTED_FEATURE"),
    ],
)
def test_refuses(impl: Any, key: str, kind: int, content: Any, error: str) -> None:
    found = read(llama().replace(key, kind, content))
    assert found[1] == error
    assert found[2] != b""


@pytest.mark.parametrize("missing", ["llama.context_length", "llama.attention.head_count"])
def test_missing_keys(impl: Any, missing: str) -> None:
    assert read(llama().remove(missing))[1:] == ("MISSING_KEY", missing.encode())


def test_tensors_that_nothing_reads_are_refused(impl: Any) -> None:
    name = "blk.0.attn_q.bias"
    assert read(llama().tensor(name, 8))[1:] == ("UNEXPECTED_TENSOR", name.encode())
    extra = "blk.7.attn_q.weight"
    assert read(llama().tensor(extra, 8, 8))[1] == "UNEXPECTED_TENSOR"


def test_zero_of_a_refused_key_is_harmless(impl: Any) -> None:
    assert read(llama().add("llama.expert_count", U32, 0))[1] == ""


def test_stories(impl: Any) -> None:
    found = Hyperparameters.zeroed()
    assert found.read(stories_gguf()) is None
    assert (found.block_count, found.embedding_length, found.head_size) == (5, 64, 8)
    assert not found.tied_output


@pytest.mark.model
@pytest.mark.timeout(120)
def test_smollm2(impl: Any) -> None:
    found = Hyperparameters.zeroed()
    assert found.read(smollm2_file()[0]) is None
    assert (found.block_count, found.head_count, found.head_count_kv) == (30, 9, 3)
    assert (found.rope_frequency_base, found.tied_output) == (100_000.0, True)
