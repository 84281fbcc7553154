"""Builds small GGUF files, right ones and wrong ones, byte by byte."""

import struct
from dataclasses import dataclass, field
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {
    **{U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B"},
    **{U64: "<Q", I64: "<q", F64: "<d"},
}


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content: Any) -> bytes:
    """A value without its type."""
    if kind == STRING:
        return string(content)
    if kind == ARRAY:
        element, items = content
        head = struct.pack("<IQ", element, len(items))
        return head + b"".join(value(element, item) for item in items)
    return struct.pack(FORMATS[kind], content)


@dataclass
class TensorSpec:
    name: str | bytes
    dims: tuple[int, ...]
    type: int = 0
    data: bytes | None = None  # Zeros of the right length where absent.
    offset: int | None = None


@dataclass
class Builder:
    """`build()` gives the file; every field may be set wrong on purpose."""

    magic: bytes = b"GGUF"
    version: int = 3
    alignment: int = 32
    metadata: list[tuple[str | bytes, int, bytes]] = field(default_factory=list)
    tensors: list[TensorSpec] = field(default_factory=list)
    metadata_count: int | None = None
    tensor_count: int | None = None

    def add(self, key: str | bytes, kind: int, content: Any) -> "Builder":
        self.metadata.append((key, kind, value(kind, content)))
        return self

    def raw(self, key: str | bytes, kind: int, content: bytes) -> "Builder":
        self.metadata.append((key, kind, content))
        return self

    def tensor(self, name: str | bytes, *dims: int, **rest: Any) -> "Builder":
        self.tensors.append(TensorSpec(name, dims, **rest))
        return self

    def replace(self, key: str, kind: int, content: Any) -> "Builder":
        self.metadata = [entry for entry in self.metadata if entry[0] != key]
        return self.add(key, kind, content)

    def remove(self, key: str) -> "Builder":
        self.metadata = [entry for entry in self.metadata if entry[0] != key]
        return self

    def build(self) -> bytes:
        tensor_count = len(self.tensors) if self.tensor_count is None else self.tensor_count
        count = len(self.metadata) if self.metadata_count is None else self.metadata_count
        head = self.magic + struct.pack("<IQQ", self.version, tensor_count, count)
        for key, kind, content in self.metadata:
            head += string(key) + struct.pack("<I", kind) + content
        data = b""
        for tensor in self.tensors:
            block, size = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34)}.get(tensor.type, (1, 4))
            elements = 1
            for dim in tensor.dims:
                elements *= dim
            content_bytes = tensor.data
            if content_bytes is None:
                content_bytes = bytes(min(elements // block * size, 1 << 20))
            offset = len(data) if tensor.offset is None else tensor.offset
            head += string(tensor.name) + struct.pack("<I", len(tensor.dims))
            head += b"".join(struct.pack("<Q", dim & (2**64 - 1)) for dim in tensor.dims)
            head += struct.pack("<IQ", tensor.type, offset & (2**64 - 1))
            data += content_bytes + bytes(-len(content_bytes) % self.alignment)
        return head + bytes(-len(head) % self.alignment) + data


def llama(vocabulary: int = 8, tied: bool = True) -> Builder:
    """A complete llama of two blocks: embedding 8, 4 heads of 2, 2 key/value heads."""
    builder = Builder()
    builder.add("general.architecture", STRING, "llama")
    for key, number in {
        "block_count": 2,
        "context_length": 64,
        "embedding_length": 8,
        "feed_forward_length": 12,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
    }.items():
        builder.add(f"llama.{key}", U32, number)
    builder.add("llama.attention.layer_norm_rms_epsilon", F32, 1e-5)
    builder.tensor("token_embd.weight", 8, vocabulary).tensor("output_norm.weight", 8)
    if not tied:
        builder.tensor("output.weight", 8, vocabulary)
    for block in range(2):
        for name, *dims in (
            ("attn_norm", 8),
            ("attn_q", 8, 8),
            ("attn_k", 8, 4),
            ("attn_v", 8, 4),
            ("attn_output", 8, 8),
            ("ffn_norm", 8),
            ("ffn_gate", 8, 12),
            ("ffn_up", 8, 12),
            ("ffn_down", 12, 8),
        ):
            builder.tensor(f"blk.{block}.{name}.weight", *dims)
    return builder


def bytes_to_unicode() -> dict[int, str]:
    """GPT-2's spelling of bytes (openai/gpt-2, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    mapping = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in mapping]
    mapping.update({byte: chr(256 + i) for i, byte in enumerate(others)})
    return mapping


def byte_pair(merges: list[tuple[bytes, bytes]], pre: str = "gpt-2", **special: int) -> Builder:
    """A byte-level BPE vocabulary: `special` maps names to token types, then bytes, then merges."""
    spell = bytes_to_unicode()

    def spelt(text: bytes) -> str:
        return "".join(spell[byte] for byte in text)

    tokens = [*special, *(spell[byte] for byte in range(256))]
    types = [*special.values(), *[1] * 256]
    for left, right in merges:
        if spelt(left + right) not in tokens:
            tokens.append(spelt(left + right))
            types.append(1)
    builder = Builder()
    builder.add("tokenizer.ggml.model", STRING, "gpt2").add("tokenizer.ggml.pre", STRING, pre)
    builder.add("tokenizer.ggml.tokens", ARRAY, (STRING, tokens))
    builder.add("tokenizer.ggml.token_type", ARRAY, (I32, types))
    lines = [f"{spelt(left)} {spelt(right)}" for left, right in merges]
    return builder.add("tokenizer.ggml.merges", ARRAY, (STRING, lines))


def sentence_piece(pieces: dict[str, float], **special: int) -> Builder:
    """A SentencePiece vocabulary: <unk>, `special`, the 256 byte tokens, then `pieces`."""
    tokens = ["<unk>", *special, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [2, *special.values(), *[6] * 256, *[1] * len(pieces)]
    scores = [*[0.0] * (len(tokens) - len(pieces)), *pieces.values()]
    builder = Builder()
    builder.add("tokenizer.ggml.model", STRING, "llama")
    builder.add("tokenizer.ggml.tokens", ARRAY, (STRING, tokens))
    builder.add("tokenizer.ggml.token_type", ARRAY, (I32, types))
    return builder.add("tokenizer.ggml.scores", ARRAY, (F32, scores))
