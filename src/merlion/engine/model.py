"""The weights of a llama, repacked, and its dimensions.

Shapes are [outputs, inputs]; every matrix maps a row of inputs to a row of outputs. `open` makes
room and needs the file's header only; `filling` brings the matrices over as they arrive, `finish`
the rest once all is there.

Invariant: after `finish` nothing here changes.
"""

from dataclasses import dataclass

from bare import Arena, Bytes, Slice, Struct, f32, f64, u8, u32, usize
from merlion.engine.block_tensors import block_tensor
from merlion.engine.filling import Filling
from merlion.engine.ggml_type import type_name
from merlion.engine.gguf import Gguf, Tensor
from merlion.engine.hparams import Hyperparameters
from merlion.engine.kernels.rope import RopeTable
from merlion.engine.quant import Format, dequantise_row, find_format, is_quantised, row_bytes
from merlion.engine.repack import allocate
from merlion.engine.tensor import Matrix, repacked_bytes

MATRICES = 7  # Of a layer.
ATTENTION_NORM = b"attn_norm.weight"
FEED_NORM = b"ffn_norm.weight"


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
    rope_factors: Slice[f32]  # [pairs], where the file has them.
    rope_room: Slice[u8]  # For the table, until they have been read.
    filling: Filling  # The matrices on their way.

    def open(
        self, gguf: Gguf, hparams: Hyperparameters, context: usize, arena: Arena
    ) -> ModelError | None:
        """Make room for every weight of a file whose shapes `hparams` has checked."""
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
        self.filling.init(arena, self.matrix_count)
        for index in range(len(self.layers)):
            self.open_layer(gguf, u32(index), self.layers[index], arena)
        self.open_ends(gguf, hparams, arena)
        self.open_rope(hparams, context, arena)
        return None

    def finish(self, gguf: Gguf, hparams: Hyperparameters, context: usize) -> None:
        """Read what is not repacked: norms, and the factors of the angles."""
        for index in range(len(self.layers)):
            layer = self.layers[index]
            block = u32(index)
            read_vector(gguf, block_tensor(gguf, block, ATTENTION_NORM), layer.attention_norm)
            read_vector(gguf, block_tensor(gguf, block, FEED_NORM), layer.feed_norm)
        read_vector(gguf, gguf.tensor(b"output_norm.weight"), self.output_norm)
        if hparams.has_rope_factors:
            read_vector(gguf, gguf.tensor(b"rope_freqs.weight"), self.rope_factors)
            self.make_angles(hparams, context, Arena(self.rope_room))

    def check_types(self, gguf: Gguf) -> ModelError | None:
        """Refuse the first tensor whose type has no kernel."""
        for i in range(len(gguf.tensors)):
            tensor = gguf.tensors[i]
            if find_format(tensor.type) is None:
                return UnsupportedType(gguf.tensor_name(i), type_name(tensor.type))
        return None

    def bytes_needed(self, gguf: Gguf, hparams: Hyperparameters, context: usize) -> usize:
        """Arena bytes that `open` takes, with room for alignment."""
        total: usize = 4096 + usize(hparams.block_count) * 2048
        for tensor in gguf.tensors:
            rows = usize(tensor.dims[1])
            columns = usize(tensor.dims[0])
            if rows == 1:
                total += columns * 4 + 64
            else:
                total += repacked_bytes(format_of(tensor), rows, columns)
        return total + rope_bytes(hparams, context)

    def open_layer(self, gguf: Gguf, index: u32, layer: Layer, arena: Arena) -> None:
        """The nine tensors of one block."""
        layer.attention_norm = arena.unset(f32, self.width)
        layer.feed_norm = arena.unset(f32, self.width)
        self.open_matrix(gguf, block_tensor(gguf, index, b"attn_q.weight"), layer.query, arena)
        self.open_matrix(gguf, block_tensor(gguf, index, b"attn_k.weight"), layer.key, arena)
        self.open_matrix(gguf, block_tensor(gguf, index, b"attn_v.weight"), layer.value, arena)
        self.open_matrix(
            gguf, block_tensor(gguf, index, b"attn_output.weight"), layer.output, arena
        )
        self.open_matrix(gguf, block_tensor(gguf, index, b"ffn_gate.weight"), layer.gate, arena)
        self.open_matrix(gguf, block_tensor(gguf, index, b"ffn_up.weight"), layer.up, arena)
        self.open_matrix(gguf, block_tensor(gguf, index, b"ffn_down.weight"), layer.down, arena)

    def open_ends(self, gguf: Gguf, hparams: Hyperparameters, arena: Arena) -> None:
        """The embedding table (read in place), the last norm and the output matrix."""
        embedding = gguf.tensor(b"token_embd.weight")
        assert embedding is not None, "checked by Hyperparameters.read"
        self.embedding_format = format_of(embedding)
        self.embedding = gguf.tensor_data(embedding)
        self.output_norm = arena.unset(f32, self.width)
        if hparams.tied_output:
            self.open_matrix(gguf, embedding, self.output, arena)
        else:
            self.open_matrix(gguf, gguf.tensor(b"output.weight"), self.output, arena)

    def open_rope(self, hparams: Hyperparameters, context: usize, arena: Arena) -> None:
        """The angles of every position, now unless the file has factors for them."""
        if hparams.has_rope_factors:
            self.rope_factors = arena.unset(f32, hparams.rope_dimension_count // 2)
            self.rope_room = arena.unset(u8, rope_bytes(hparams, context))
            return
        self.rope_factors = arena.slice(f32, 0)
        self.make_angles(hparams, context, arena)

    def make_angles(self, hparams: Hyperparameters, context: usize, arena: Arena) -> None:
        """Compute the table of angles."""
        self.rope.init(
            arena,
            context,
            hparams.rope_dimension_count,
            f64(hparams.rope_frequency_base),
            f64(hparams.rope_frequency_scale),
            self.rope_factors,
        )

    def open_matrix(self, gguf: Gguf, tensor: Tensor | None, matrix: Matrix, arena: Arena) -> None:
        """Make room for one tensor."""
        assert tensor is not None, "checked by Hyperparameters.read"
        form = format_of(tensor)
        allocate(matrix, form, usize(tensor.dims[1]), usize(tensor.dims[0]), arena)
        matrix.source = gguf.tensor_data(tensor)
        self.filling.add(matrix, tensor.offset)
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


def read_vector(gguf: Gguf, tensor: Tensor | None, out: Slice[f32]) -> None:
    """Fill `out` with a tensor of one row."""
    assert tensor is not None, "checked by Hyperparameters.read"
    dequantise_row(format_of(tensor), gguf.tensor_data(tensor), out)


def rope_bytes(hparams: Hyperparameters, context: usize) -> usize:
    """Arena bytes of the table of angles, with room for the alignment of its two halves."""
    return context * hparams.rope_dimension_count * 4 + 128
