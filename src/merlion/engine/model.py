"""The weights of a llama, repacked, and its dimensions.

Shapes are [outputs, inputs]; every matrix maps a row of inputs to a row of outputs.
Invariant: after `load` and `repack_groups` nothing here changes.
"""

from dataclasses import dataclass

from bare import Arena, Bytes, Slice, Struct, f32, f64, u8, u32, usize
from merlion.engine.block_tensors import block_tensor
from merlion.engine.ggml_type import type_name
from merlion.engine.gguf import Gguf, Tensor
from merlion.engine.hparams import Hyperparameters
from merlion.engine.kernels.rope import RopeTable
from merlion.engine.quant import Format, dequantise_row, find_format, is_quantised, row_bytes
from merlion.engine.repack import allocate, repack
from merlion.engine.shares import overlap
from merlion.engine.tensor import Matrix, repacked_bytes

MATRICES = 7  # Of a layer.


@dataclass(frozen=True, slots=True)
class UnsupportedType:
    """A tensor whose element type has no kernel."""

    tensor: Bytes
    type: Bytes


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The arena is too small for the weights."""

    needed: usize


type ModelError = UnsupportedType | NoRoom


class Layer(Struct):
    """One transformer block."""

    attention_norm: Slice[f32]  # [width]
    query: Matrix  # [head_count * head_size, width]
    key: Matrix  # [head_count_kv * head_size, width]
    value: Matrix  # [head_count_kv * head_size, width]
    output: Matrix  # [width, head_count * head_size]
    feed_norm: Slice[f32]  # [width]
    gate: Matrix  # [hidden, width]
    up: Matrix  # [hidden, width]
    down: Matrix  # [width, hidden]


class Model(Struct):
    """A whole model."""

    width: usize  # Embedding length.
    hidden: usize  # Feed-forward length.
    head_count: usize
    head_count_kv: usize
    head_size: usize
    vocabulary: usize
    epsilon: f32
    uses_int8: bool  # Some matrix is quantised, so activations must be.
    weight_bytes: usize  # What one token reads.
    embedding_format: Format
    embedding: Slice[u8]  # [vocabulary, width], in the file.
    layers: Slice[Layer]
    output_norm: Slice[f32]  # [width]
    output: Matrix  # [vocabulary, width]
    rope: RopeTable

    def load(
        self, gguf: Gguf, hparams: Hyperparameters, context: usize, arena: Arena
    ) -> ModelError | None:
        """Make room for every weight of a file whose shapes `hparams` has checked.

        The matrices are filled by `repack_groups`.
        """
        self.width = hparams.embedding_length
        self.hidden = hparams.feed_forward_length
        self.head_count = hparams.head_count
        self.head_count_kv = hparams.head_count_kv
        self.head_size = hparams.head_size
        self.vocabulary = hparams.vocabulary_size
        self.epsilon = hparams.norm_epsilon
        self.uses_int8 = False
        self.weight_bytes = 0

        error = self.check_types(gguf)
        if error is not None:
            return error
        needed = self.bytes_needed(gguf, hparams, context)
        if needed > arena.remaining():
            return NoRoom(needed)

        self.layers = arena.slice(Layer, hparams.block_count)
        for index in range(len(self.layers)):
            self.load_layer(gguf, u32(index), self.layers[index], arena)
        self.load_ends(gguf, hparams, arena)
        self.load_rope(gguf, hparams, context, arena)
        return None

    def check_types(self, gguf: Gguf) -> ModelError | None:
        """Refuse the first tensor whose type has no kernel."""
        for i in range(len(gguf.tensors)):
            tensor = gguf.tensors[i]
            if find_format(tensor.type) is None:
                return UnsupportedType(gguf.tensor_name(i), type_name(tensor.type))
        return None

    def bytes_needed(self, gguf: Gguf, hparams: Hyperparameters, context: usize) -> usize:
        """Arena bytes that `load` takes, with room for alignment."""
        total: usize = 4096 + usize(hparams.block_count) * 2048
        for tensor in gguf.tensors:
            rows = usize(tensor.dims[1])
            columns = usize(tensor.dims[0])
            if rows == 1:
                total += columns * 4 + 64
            else:
                total += repacked_bytes(format_of(tensor), rows, columns)
        total += context * hparams.rope_dimension_count * 4 + 128
        return total

    def load_layer(self, gguf: Gguf, index: u32, layer: Layer, arena: Arena) -> None:
        """The nine tensors of one block."""
        layer.attention_norm = vector(gguf, block_tensor(gguf, index, b"attn_norm.weight"), arena)
        layer.feed_norm = vector(gguf, block_tensor(gguf, index, b"ffn_norm.weight"), arena)
        self.load_matrix(gguf, block_tensor(gguf, index, b"attn_q.weight"), layer.query, arena)
        self.load_matrix(gguf, block_tensor(gguf, index, b"attn_k.weight"), layer.key, arena)
        self.load_matrix(gguf, block_tensor(gguf, index, b"attn_v.weight"), layer.value, arena)
        self.load_matrix(
            gguf, block_tensor(gguf, index, b"attn_output.weight"), layer.output, arena
        )
        self.load_matrix(gguf, block_tensor(gguf, index, b"ffn_gate.weight"), layer.gate, arena)
        self.load_matrix(gguf, block_tensor(gguf, index, b"ffn_up.weight"), layer.up, arena)
        self.load_matrix(gguf, block_tensor(gguf, index, b"ffn_down.weight"), layer.down, arena)

    def load_ends(self, gguf: Gguf, hparams: Hyperparameters, arena: Arena) -> None:
        """The embedding table (read in place), the last norm and the output matrix."""
        embedding = gguf.tensor(b"token_embd.weight")
        assert embedding is not None, "checked by Hyperparameters.read"
        self.embedding_format = format_of(embedding)
        self.embedding = gguf.tensor_data(embedding)
        self.output_norm = vector(gguf, gguf.tensor(b"output_norm.weight"), arena)
        if hparams.tied_output:
            self.load_matrix(gguf, embedding, self.output, arena)
        else:
            self.load_matrix(gguf, gguf.tensor(b"output.weight"), self.output, arena)

    def load_rope(self, gguf: Gguf, hparams: Hyperparameters, context: usize, arena: Arena) -> None:
        """Angles of every position, with the file's own factors where it has them."""
        factors = arena.slice(f32, 0)
        if hparams.has_rope_factors:
            factors = vector(gguf, gguf.tensor(b"rope_freqs.weight"), arena)
        self.rope.init(
            arena,
            context,
            hparams.rope_dimension_count,
            f64(hparams.rope_frequency_base),
            f64(hparams.rope_frequency_scale),
            factors,
        )

    def load_matrix(self, gguf: Gguf, tensor: Tensor | None, matrix: Matrix, arena: Arena) -> None:
        """Make room for one tensor."""
        assert tensor is not None, "checked by Hyperparameters.read"
        form = format_of(tensor)
        allocate(matrix, form, usize(tensor.dims[1]), usize(tensor.dims[0]), arena)
        matrix.source = gguf.tensor_data(tensor)
        self.uses_int8 = self.uses_int8 or is_quantised(form)
        self.weight_bytes += matrix.stored_bytes()

    @property
    def matrix_count(self) -> usize:
        """Matrices that products read."""
        return len(self.layers) * MATRICES + 1

    def matrix(self, index: usize) -> Matrix:
        """Matrix `index` of 7 a layer and the output."""
        if index // MATRICES == len(self.layers):
            return self.output
        layer = self.layers[index // MATRICES]
        match index % MATRICES:
            case 0:
                return layer.query
            case 1:
                return layer.key
            case 2:
                return layer.value
            case 3:
                return layer.output
            case 4:
                return layer.gate
            case 5:
                return layer.up
            case _:
                return layer.down

    def group_total(self) -> usize:
        """Groups of all matrices, to be repacked."""
        total: usize = 0
        for index in range(self.matrix_count):
            total += self.matrix(index).groups
        return total

    def repack_groups(self, first: usize, last: usize) -> None:
        """Fill groups [first, last) of all matrices, in order."""
        start: usize = 0
        for index in range(self.matrix_count):
            matrix = self.matrix(index)
            low, high = overlap(first, last, start, matrix.groups)
            if low < high:
                repack(matrix, matrix.source, low, high)
            start += matrix.groups

    def embed(self, token: u32, out: Slice[f32]) -> None:
        """The embedding of a token."""
        assert token < self.vocabulary, "token ids are checked where they enter"
        stride = row_bytes(self.embedding_format, self.width)
        row = self.embedding[token * stride : (token + 1) * stride]
        dequantise_row(self.embedding_format, row, out)


def format_of(tensor: Tensor) -> Format:
    """The format of a tensor that `check_types` has accepted."""
    form = find_format(tensor.type)
    assert form is not None, "checked by Model.check_types"
    return form


def vector(gguf: Gguf, tensor: Tensor | None, arena: Arena) -> Slice[f32]:
    """A one-row tensor as f32."""
    assert tensor is not None, "checked by Hyperparameters.read"
    out = arena.slice(f32, usize(tensor.dims[0]))
    dequantise_row(format_of(tensor), gguf.tensor_data(tensor), out)
    return out
