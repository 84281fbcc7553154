"""The tensors of one llama block: names and shapes, as data."""

from dataclasses import dataclass
from enum import Enum, auto

from bare import Bytes, stack, u8, u32
from bare.text import Writer
from merlion.engine.gguf import Gguf, Tensor
from merlion.engine.limits import TENSOR_NAME_BYTES_MAX


class Extent(Enum):
    """What a dimension is equal to."""

    ONE = auto()
    EMBEDDING = auto()
    FEED_FORWARD = auto()
    QUERIES = auto()  # head_count * head_size
    KEYS = auto()  # head_count_kv * head_size


@dataclass(frozen=True, slots=True)
class BlockTensor:
    """One tensor of every block: `blk.N.` + suffix, `rows` rows of `row` elements."""

    suffix: Bytes
    row: Extent
    rows: Extent


BLOCK_TENSORS = (
    BlockTensor(b"attn_norm.weight", Extent.EMBEDDING, Extent.ONE),
    BlockTensor(b"attn_q.weight", Extent.EMBEDDING, Extent.QUERIES),
    BlockTensor(b"attn_k.weight", Extent.EMBEDDING, Extent.KEYS),
    BlockTensor(b"attn_v.weight", Extent.EMBEDDING, Extent.KEYS),
    BlockTensor(b"attn_output.weight", Extent.QUERIES, Extent.EMBEDDING),
    BlockTensor(b"ffn_norm.weight", Extent.EMBEDDING, Extent.ONE),
    BlockTensor(b"ffn_gate.weight", Extent.EMBEDDING, Extent.FEED_FORWARD),
    BlockTensor(b"ffn_up.weight", Extent.EMBEDDING, Extent.FEED_FORWARD),
    BlockTensor(b"ffn_down.weight", Extent.FEED_FORWARD, Extent.EMBEDDING),
)

MODEL_TENSORS = (
    b"token_embd.weight",
    b"output_norm.weight",
    b"output.weight",
    b"rope_freqs.weight",
)


def block_tensor(gguf: Gguf, block: u32, suffix: Bytes) -> Tensor | None:
    """The tensor `blk.<block>.<suffix>`."""
    name = Writer(stack(u8, TENSOR_NAME_BYTES_MAX))
    name.text(b"blk.")
    name.unsigned(block)
    name.byte(0x2E)
    name.text(suffix)
    return gguf.tensor(name.written())


def has_shape(tensor: Tensor, row: u32, rows: u32) -> bool:
    """Whether the tensor has `rows` rows of `row` elements."""
    if tensor.dims[0] != row or tensor.dims[1] != rows:
        return False
    return tensor.dims[2] == 1 and tensor.dims[3] == 1


def is_llama_tensor(name: Bytes, block_count: u32) -> bool:
    """Whether a llama model of `block_count` blocks reads a tensor of this name."""
    for known in MODEL_TENSORS:
        if name == known:
            return True
    for entry in BLOCK_TENSORS:
        fixed = 4 + len(entry.suffix)
        if len(name) > fixed and name.startswith(b"blk.") and name.endswith(entry.suffix):
            return names_block(name[4 : len(name) - len(entry.suffix)], block_count)
    return False


def names_block(text: Bytes, block_count: u32) -> bool:
    """Whether `text` is the decimal number of a block, and a dot."""
    number: u32 = 0
    for i, byte in enumerate(text):
        if byte == 0x2E:
            return i == len(text) - 1 and i > 0
        if byte < 0x30 or byte > 0x39 or (number == 0 and i > 0):
            return False
        number = number * 10 + (byte - 0x30)
        if number >= block_count:
            return False
    return False
