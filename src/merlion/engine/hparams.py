"""Hyper-parameters of the llama architecture, read from the file and checked against its tensors.

Keys: ggml/docs/gguf.md, "LLM"; names and defaults as llama.cpp's llama-arch.cpp. Everything a
forward pass depends on is read here, or the file is refused: a key that asks for something that is
not computed (experts, YaRN, clamped attention) and a tensor that would be ignored are errors, since
the model would answer, wrongly.

Shapes (dims[0] is the row length; a matrix maps dims[0] inputs to dims[1] outputs):

    token_embd.weight      [embedding, vocabulary]      output.weight  the same, or absent: tied
    output_norm.weight     [embedding]                  rope_freqs.weight [rope_dimension / 2]
    blk.N.attn_norm        [embedding]                  blk.N.ffn_norm   [embedding]
    blk.N.attn_q           [embedding, heads * size]    blk.N.ffn_gate   [embedding, feed_forward]
    blk.N.attn_k, attn_v   [embedding, heads_kv * size] blk.N.ffn_up     [embedding, feed_forward]
    blk.N.attn_output      [heads * size, embedding]    blk.N.ffn_down   [feed_forward, embedding]
"""

from enum import Enum, auto

from bare import Bytes, Struct, f32, f64, u32, u64
from merlion.engine.block_tensors import (
    BLOCK_TENSORS,
    Extent,
    block_tensor,
    has_shape,
    is_llama_tensor,
)
from merlion.engine.gguf import Gguf
from merlion.engine.gguf_value import Lookup, ValueType, read_u32
from merlion.engine.limits import (
    BLOCK_COUNT_MAX,
    CONTEXT_LENGTH_MAX,
    HEAD_COUNT_MAX,
    HEAD_SIZE_MAX,
    VOCABULARY_MAX,
    WIDTH_MAX,
)

ROPE_BASE_DEFAULT = 10_000.0

# Each would change the computation; a zero is harmless.
REFUSED_KEYS = (
    b"llama.expert_count",
    b"llama.attention.max_alibi_bias",
    b"llama.attention.clamp_kqv",
    b"llama.attention.scale",
    b"llama.logit_scale",
    b"llama.residual_scale",
    b"llama.embedding_scale",
)


class HparamsError(Enum):
    """Why a model is refused. `error_key` names the key or tensor."""

    UNSUPPORTED_ARCHITECTURE = auto()
    MISSING_KEY = auto()
    WRONG_TYPE = auto()
    OUT_OF_RANGE = auto()
    WRONG_LENGTH = auto()
    UNSUPPORTED_FEATURE = auto()
    MISSING_TENSOR = auto()
    UNEXPECTED_TENSOR = auto()
    SHAPE_MISMATCH = auto()


HPARAMS_MESSAGES = {
    HparamsError.UNSUPPORTED_ARCHITECTURE: b"model architecture is not supported",
    HparamsError.MISSING_KEY: b"metadata key is missing",
    HparamsError.WRONG_TYPE: b"metadata value has the wrong type",
    HparamsError.OUT_OF_RANGE: b"metadata value is out of range",
    HparamsError.WRONG_LENGTH: b"per-layer metadata array does not have one entry a block",
    HparamsError.UNSUPPORTED_FEATURE: b"the model asks for a feature that is not supported",
    HparamsError.MISSING_TENSOR: b"tensor is missing",
    HparamsError.UNEXPECTED_TENSOR: b"the model has a tensor that the architecture does not use",
    HparamsError.SHAPE_MISMATCH: b"tensor shape contradicts the hyper-parameters",
}


class Hyperparameters(Struct):
    """A llama model's dimensions and constants."""

    block_count: u32
    context_length: u32  # As trained.
    embedding_length: u32
    feed_forward_length: u32
    head_count: u32
    head_count_kv: u32
    head_size: u32  # Of keys, queries and values.
    rope_dimension_count: u32
    rope_frequency_base: f32
    rope_frequency_scale: f32  # Linear scaling: positions are multiplied by it.
    norm_epsilon: f32
    vocabulary_size: u32
    tied_output: bool  # The output matrix is token_embd.
    has_rope_factors: bool  # rope_freqs.weight: each frequency is divided by its factor.
    error_key: Bytes

    def read(self, gguf: Gguf) -> HparamsError | None:
        """Read and check everything."""
        architecture = gguf.string(b"general.architecture")
        if isinstance(architecture, Lookup):
            return self.fail_lookup(architecture, b"general.architecture")
        if architecture != b"llama":
            return self.fail(HparamsError.UNSUPPORTED_ARCHITECTURE, architecture)
        error = self.read_sizes(gguf)
        if error is not None:
            return error
        error = self.read_rope(gguf)
        if error is not None:
            return error
        error = self.refuse_features(gguf)
        if error is not None:
            return error
        return self.check_tensors(gguf)

    def fail(self, error: HparamsError, key: Bytes) -> HparamsError:
        """Note what the error is about."""
        self.error_key = key
        return error

    def fail_lookup(self, reason: Lookup, key: Bytes) -> HparamsError:
        """The error for a key without a usable value."""
        if reason == Lookup.ABSENT:
            return self.fail(HparamsError.MISSING_KEY, key)
        return self.fail(HparamsError.WRONG_TYPE, key)

    def size(self, gguf: Gguf, key: Bytes, limit: u32) -> u32 | HparamsError:
        """A required size from 1 to `limit`: an integer, or an array of equal integers."""
        value = gguf.unsigned(key)
        if isinstance(value, Lookup):
            if value == Lookup.ABSENT:
                return self.fail_lookup(value, key)
            return self.equal_sizes(gguf, key, limit)
        if value < 1 or value > limit:
            return self.fail(HparamsError.OUT_OF_RANGE, key)
        return u32(value)

    def equal_sizes(self, gguf: Gguf, key: Bytes, limit: u32) -> u32 | HparamsError:
        """A per-layer array of sizes, which must not differ between layers."""
        value = gguf.array(key, ValueType.U32)
        if isinstance(value, Lookup):
            value = gguf.array(key, ValueType.I32)
        if isinstance(value, Lookup):
            return self.fail_lookup(value, key)
        # Zero until llama.block_count is known: that key itself cannot be an array.
        if self.block_count == 0 or value.count != self.block_count:
            return self.fail(HparamsError.WRONG_LENGTH, key)
        data = gguf.value_data(value)
        first = read_u32(data, 0)
        if first < 1 or first > limit:
            return self.fail(HparamsError.OUT_OF_RANGE, key)
        for i in range(len(data) // 4):
            if read_u32(data, i * 4) != first:
                return self.fail(HparamsError.UNSUPPORTED_FEATURE, key)
        return first

    def size_or(self, gguf: Gguf, key: Bytes, limit: u32, default: u32) -> u32 | HparamsError:
        """As size, `default` when the key is absent."""
        if not gguf.has(key):
            return default
        return self.size(gguf, key, limit)

    def read_sizes(self, gguf: Gguf) -> HparamsError | None:
        """The dimensions and the norm's epsilon."""
        self.block_count = 0
        value = self.size(gguf, b"llama.block_count", BLOCK_COUNT_MAX)
        if isinstance(value, HparamsError):
            return value
        self.block_count = value
        value = self.size(gguf, b"llama.context_length", CONTEXT_LENGTH_MAX)
        if isinstance(value, HparamsError):
            return value
        self.context_length = value
        value = self.size(gguf, b"llama.embedding_length", WIDTH_MAX)
        if isinstance(value, HparamsError):
            return value
        self.embedding_length = value
        value = self.size(gguf, b"llama.feed_forward_length", WIDTH_MAX)
        if isinstance(value, HparamsError):
            return value
        self.feed_forward_length = value
        error = self.read_heads(gguf)
        if error is not None:
            return error
        epsilon = gguf.real(b"llama.attention.layer_norm_rms_epsilon")
        if isinstance(epsilon, Lookup):
            return self.fail_lookup(epsilon, b"llama.attention.layer_norm_rms_epsilon")
        if not (epsilon > 0.0 and epsilon < 1.0):
            key = b"llama.attention.layer_norm_rms_epsilon"
            return self.fail(HparamsError.OUT_OF_RANGE, key)
        self.norm_epsilon = f32(epsilon)
        return None

    def read_heads(self, gguf: Gguf) -> HparamsError | None:
        """Head counts and sizes: key/value heads divide the heads; the size defaults to a share."""
        value = self.size(gguf, b"llama.attention.head_count", HEAD_COUNT_MAX)
        if isinstance(value, HparamsError):
            return value
        self.head_count = value
        key = b"llama.attention.head_count_kv"
        value = self.size_or(gguf, key, HEAD_COUNT_MAX, self.head_count)
        if isinstance(value, HparamsError):
            return value
        self.head_count_kv = value
        if self.head_count % self.head_count_kv != 0:
            return self.fail(HparamsError.OUT_OF_RANGE, b"llama.attention.head_count_kv")
        share = self.embedding_length // self.head_count
        value = self.size_or(gguf, b"llama.attention.key_length", HEAD_SIZE_MAX, share)
        if isinstance(value, HparamsError):
            return value
        self.head_size = value
        if value < 2 or value > HEAD_SIZE_MAX or value % 2 != 0:
            return self.fail(HparamsError.OUT_OF_RANGE, b"llama.attention.key_length")
        value = self.size_or(gguf, b"llama.attention.value_length", HEAD_SIZE_MAX, value)
        if isinstance(value, HparamsError):
            return value
        if value != self.head_size:
            return self.fail(HparamsError.UNSUPPORTED_FEATURE, b"llama.attention.value_length")
        return None

    def read_rope(self, gguf: Gguf) -> HparamsError | None:
        """Rotary embedding: dimensions, base, linear scaling. YaRN and others are refused."""
        key = b"llama.rope.dimension_count"
        value = self.size_or(gguf, key, HEAD_SIZE_MAX, self.head_size)
        if isinstance(value, HparamsError):
            return value
        if value % 2 != 0 or value > self.head_size:
            return self.fail(HparamsError.OUT_OF_RANGE, key)
        self.rope_dimension_count = value
        base = self.real_or(gguf, b"llama.rope.freq_base", ROPE_BASE_DEFAULT)
        if isinstance(base, HparamsError):
            return base
        self.rope_frequency_base = f32(base)
        self.rope_frequency_scale = 1.0
        factor = self.real_or(gguf, b"llama.rope.scale_linear", 1.0)
        if isinstance(factor, HparamsError):
            return factor
        kind = gguf.string(b"llama.rope.scaling.type")
        if isinstance(kind, Lookup):
            if kind == Lookup.WRONG_TYPE:
                return self.fail_lookup(kind, b"llama.rope.scaling.type")
        elif kind == b"linear":
            factor = self.real_or(gguf, b"llama.rope.scaling.factor", factor)
            if isinstance(factor, HparamsError):
                return factor
        elif kind == b"none":
            factor = 1.0
        else:
            return self.fail(HparamsError.UNSUPPORTED_FEATURE, b"llama.rope.scaling.type")
        self.rope_frequency_scale = f32(1.0 / factor)
        return None

    def real_or(self, gguf: Gguf, key: Bytes, default: f64) -> f64 | HparamsError:
        """A float of at least 1 and at most 1e12, `default` when the key is absent."""
        value = gguf.real(key)
        if isinstance(value, Lookup):
            if value == Lookup.ABSENT:
                return default
            return self.fail_lookup(value, key)
        if not (value >= 1.0 and value <= 1.0e12):
            return self.fail(HparamsError.OUT_OF_RANGE, key)
        return value

    def refuse_features(self, gguf: Gguf) -> HparamsError | None:
        """Refuse keys that would change the computation."""
        for key in REFUSED_KEYS:
            value = gguf.unsigned(key)
            if isinstance(value, Lookup):
                if value == Lookup.WRONG_TYPE:
                    return self.fail(HparamsError.UNSUPPORTED_FEATURE, key)
            elif value != 0:
                return self.fail(HparamsError.UNSUPPORTED_FEATURE, key)
        causal = gguf.boolean(b"llama.attention.causal")
        if not isinstance(causal, Lookup) and not causal:
            return self.fail(HparamsError.UNSUPPORTED_FEATURE, b"llama.attention.causal")
        return None

    def check_tensors(self, gguf: Gguf) -> HparamsError | None:
        """Every tensor the forward pass reads is there with its shape, and there is no other."""
        error = self.check_vocabulary(gguf)
        if error is not None:
            return error
        error = self.expect(gguf, b"output_norm.weight", self.embedding_length, 1)
        if error is not None:
            return error
        expected: u64 = 2 + u64(self.block_count) * len(BLOCK_TENSORS)
        self.tied_output = gguf.tensor(b"output.weight") is None
        if not self.tied_output:
            expected += 1
            rows = self.vocabulary_size
            error = self.expect(gguf, b"output.weight", self.embedding_length, rows)
            if error is not None:
                return error
        self.has_rope_factors = gguf.tensor(b"rope_freqs.weight") is not None
        if self.has_rope_factors:
            expected += 1
            error = self.expect(gguf, b"rope_freqs.weight", self.rope_dimension_count // 2, 1)
            if error is not None:
                return error
        for block in range(self.block_count):
            error = self.check_block(gguf, u32(block))
            if error is not None:
                return error
        # All the expected ones exist, so a surplus is one that nothing would read.
        if len(gguf.tensors) != expected:
            return self.fail(
                HparamsError.UNEXPECTED_TENSOR, first_unexpected(gguf, self.block_count)
            )
        return None

    def check_vocabulary(self, gguf: Gguf) -> HparamsError | None:
        """The embedding's rows are the vocabulary, and what the file says of it agrees."""
        embedding = gguf.tensor(b"token_embd.weight")
        if embedding is None:
            return self.fail(HparamsError.MISSING_TENSOR, b"token_embd.weight")
        if embedding.dims[1] > VOCABULARY_MAX:
            return self.fail(HparamsError.SHAPE_MISMATCH, b"token_embd.weight")
        rows = u32(embedding.dims[1])
        size = self.size_or(gguf, b"llama.vocab_size", VOCABULARY_MAX, rows)
        if isinstance(size, HparamsError):
            return size
        self.vocabulary_size = size
        tokens = gguf.array(b"tokenizer.ggml.tokens", ValueType.STRING)
        if not isinstance(tokens, Lookup) and tokens.count != size:
            return self.fail(HparamsError.SHAPE_MISMATCH, b"tokenizer.ggml.tokens")
        return self.expect(gguf, b"token_embd.weight", self.embedding_length, size)

    def expect(self, gguf: Gguf, name: Bytes, row: u32, rows: u32) -> HparamsError | None:
        """The tensor `name` exists with `rows` rows of `row` elements."""
        tensor = gguf.tensor(name)
        if tensor is None:
            return self.fail(HparamsError.MISSING_TENSOR, name)
        if not has_shape(tensor, row, rows):
            return self.fail(HparamsError.SHAPE_MISMATCH, name)
        return None

    def check_block(self, gguf: Gguf, block: u32) -> HparamsError | None:
        """The tensors of one block."""
        for entry in BLOCK_TENSORS:
            tensor = block_tensor(gguf, block, entry.suffix)
            if tensor is None:
                return self.fail(HparamsError.MISSING_TENSOR, entry.suffix)
            if not has_shape(tensor, self.extent(entry.row), self.extent(entry.rows)):
                return self.fail(HparamsError.SHAPE_MISMATCH, entry.suffix)
        return None

    def extent(self, extent: Extent) -> u32:
        """The number that a tensor's dimension must have."""
        match extent:
            case Extent.ONE:
                return 1
            case Extent.EMBEDDING:
                return self.embedding_length
            case Extent.FEED_FORWARD:
                return self.feed_forward_length
            case Extent.QUERIES:
                return self.head_count * self.head_size
            case Extent.KEYS:
                return self.head_count_kv * self.head_size


def first_unexpected(gguf: Gguf, block_count: u32) -> Bytes:
    """The name of a tensor that the architecture does not have."""
    for i in range(len(gguf.tensors)):
        name = gguf.tensor_name(i)
        if not is_llama_tensor(name, block_count):
            return name
    return b""
