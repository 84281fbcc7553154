"""Models with random weights, for timing shapes whose files are not at hand.

A Llama of the given shape, a byte-level vocabulary padded to size, block scales such that
activations stay near one. The text it writes is noise; speed and memory are those of the real one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from merlion.cli.output import written_whole
from merlion.cli.terminal import bytes_progress

Q = gguf.GGMLQuantizationType
TYPES = {"q4_0": Q.Q4_0, "q8_0": Q.Q8_0, "f16": Q.F16, "f32": Q.F32}
BLOCK = 32
NORMAL_TOKEN, CONTROL_TOKEN = 1, 3


@dataclass(frozen=True, slots=True)
class Shape:
    """Hyper-parameters of a Llama."""

    layers: int
    width: int
    heads: int
    heads_kv: int
    feed_forward: int
    vocabulary: int
    context: int
    rope_base: float
    tied: bool = True

    @property
    def head_size(self) -> int:
        """Elements of one head."""
        return self.width // self.heads


SHAPES = {
    "tiny": Shape(2, 64, 4, 2, 160, 512, 512, 10_000.0),
    "135m": Shape(30, 576, 9, 3, 1536, 49_152, 8192, 100_000.0),
    "1b": Shape(16, 2048, 32, 8, 8192, 128_256, 131_072, 500_000.0),
    "3b": Shape(28, 3072, 24, 8, 8192, 128_256, 131_072, 500_000.0),
    "8b": Shape(32, 4096, 32, 8, 14_336, 128_256, 131_072, 500_000.0, tied=False),
}


def byte_letters() -> list[str]:
    """GPT-2's letter for each byte value: printable ones stand for themselves."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, others = [], 0
    for value in range(256):
        if value in plain:
            letters.append(chr(value))
        else:
            letters.append(chr(0x100 + others))
            others += 1
    return letters


def vocabulary(count: int) -> tuple[list[str], list[int], list[str]]:
    """Tokens, their kinds, merges: specials, bytes, then pairs of letters as long as they last."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    kinds = [CONTROL_TOKEN] * len(tokens)
    letters = byte_letters()
    tokens += letters
    merges = []
    for left in letters:
        for right in letters:
            if len(tokens) == count:
                break
            tokens.append(left + right)
            merges.append(f"{left} {right}")
    for at in range(count - len(tokens)):
        tokens.append(f"<|unused_{at}|>")
    kinds += [NORMAL_TOKEN] * (count - len(kinds))
    return tokens, kinds, merges


def tensors(shape: Shape) -> list[tuple[str, list[int]]]:
    """Name and shape (rows first) of every tensor, in file order."""
    width, kv = shape.width, shape.heads_kv * shape.head_size
    found = [("token_embd.weight", [shape.vocabulary, width])]
    for layer in range(shape.layers):
        found += [
            (f"blk.{layer}.attn_norm.weight", [width]),
            (f"blk.{layer}.attn_q.weight", [width, width]),
            (f"blk.{layer}.attn_k.weight", [kv, width]),
            (f"blk.{layer}.attn_v.weight", [kv, width]),
            (f"blk.{layer}.attn_output.weight", [width, width]),
            (f"blk.{layer}.ffn_norm.weight", [width]),
            (f"blk.{layer}.ffn_gate.weight", [shape.feed_forward, width]),
            (f"blk.{layer}.ffn_up.weight", [shape.feed_forward, width]),
            (f"blk.{layer}.ffn_down.weight", [width, shape.feed_forward]),
        ]
    found.append(("output_norm.weight", [width]))
    if not shape.tied:
        found.append(("output.weight", [shape.vocabulary, width]))
    return found


def weights(rng: Any, shape: list[int], kind: Any) -> Any:
    """Random contents with a standard deviation of 1 / sqrt(row length), as bytes."""
    if len(shape) == 1:
        return np.ones(shape, np.float32).view(np.uint8)
    count, deviation = shape[0] * shape[1], shape[1] ** -0.5
    if kind in (Q.F32, Q.F16):
        width = np.float32 if kind is Q.F32 else np.float16
        flat = rng.standard_normal(count, dtype=np.float32) * np.float32(deviation)
        return flat.astype(width).view(np.uint8)
    # Random quants, one scale: uniform over n levels has a deviation of n / sqrt(12).
    payload, levels = (16, 16) if kind is Q.Q4_0 else (32, 256)
    blocks = np.empty((count // BLOCK, 2 + payload), np.uint8)
    scale = np.array([deviation * 12**0.5 / levels], np.float16).view(np.uint8)
    blocks[:, :2] = scale
    blocks[:, 2:] = rng.integers(0, 256, (count // BLOCK, payload), np.uint8)
    return blocks.reshape(-1)


def synthesise(shape: Shape, name: str, kind_name: str, seed: int, output: Path) -> None:
    """Write the file."""
    with written_whole(output) as part:
        writer = gguf.GGUFWriter(part, "llama")
        describe(writer, shape, name)
        write_tensors(writer, shape, TYPES[kind_name], seed)


def describe(writer: Any, shape: Shape, name: str) -> None:
    """Hyper-parameters and vocabulary."""
    writer.add_name(f"synthetic {name}")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads_kv)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    tokens, kinds, merges = vocabulary(shape.vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_quantization_version(2)


def write_tensors(writer: Any, shape: Shape, matrices: Any, seed: int) -> None:
    """Declare every tensor, then fill them one after another."""
    wanted = tensors(shape)
    for tensor, dimensions in wanted:
        kind = Q.F32 if len(dimensions) == 1 else matrices
        block, size = gguf.GGML_QUANT_SIZES[kind]
        count = int(np.prod(dimensions))
        unused = np.dtype(np.float32)
        writer.add_tensor_info(tensor, dimensions, unused, count // block * size, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(seed)
    with bytes_progress() as progress:
        task = progress.add_task("writing", total=None)
        for _, dimensions in wanted:
            data = weights(rng, dimensions, matrices)
            writer.write_tensor_data(data)
            progress.advance(task, data.nbytes)
    writer.close()
