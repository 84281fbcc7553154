"""The forward pass of a llama in numpy: f32, dequantised weights, no quantised activations.

What attention multiplies is rounded where the caller says how.

Written from the papers and the GGUF file, independently of src/merlion/engine, as its oracle. Run
it on its own to compare it with shared/data/smollm2_exact.json:

    python tests/engine/reference.py MODEL.gguf SMOLLM2_EXACT.json
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.float32]


class Reference:
    """A model with the keys and values of one sequence."""

    def __init__(
        self, path: str | Path, rounded: Callable[[Floats], Floats] = lambda values: values
    ) -> None:
        self.rounded = rounded
        reader = gguf.GGUFReader(str(path))
        self.weights: dict[str, Floats] = {
            tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            for tensor in reader.tensors
        }

        def field(name: str, default: Any = None) -> Any:
            found = reader.fields.get(f"llama.{name}")
            return default if found is None else found.contents()

        self.blocks = int(field("block_count"))
        self.heads = int(field("attention.head_count"))
        self.heads_kv = int(field("attention.head_count_kv", self.heads))
        self.width = int(field("embedding_length"))
        self.size = self.width // self.heads
        self.rotary = int(field("rope.dimension_count", self.size))
        self.base = float(field("rope.freq_base", 10000.0))
        self.epsilon = float(field("attention.layer_norm_rms_epsilon"))
        self.output = self.weights.get("output.weight", self.weights["token_embd.weight"])
        self.reset()

    def reset(self) -> None:
        """Forget the sequence."""
        empty = np.zeros((self.heads_kv, 0, self.size), np.float32)
        self.keys = [empty] * self.blocks
        self.values = [empty] * self.blocks

    def norm(self, rows: Floats, weight: Floats) -> Floats:
        mean = np.mean(rows.astype(np.float64) ** 2, axis=-1, keepdims=True)
        return (rows / np.sqrt(mean + self.epsilon) * weight).astype(np.float32)

    def turn(self, rows: Floats, first: int) -> Floats:
        """Rotary embedding of [row, head, dimension], adjacent pairs."""
        pairs = np.arange(self.rotary // 2)
        frequency = self.base ** (-2.0 * pairs / self.rotary)
        if "rope_freqs.weight" in self.weights:
            frequency = frequency / self.weights["rope_freqs.weight"]
        angle = (first + np.arange(len(rows)))[:, None, None] * frequency
        cosine, sine = np.cos(angle), np.sin(angle)
        out = rows.copy()
        even, odd = rows[..., 0 : self.rotary : 2], rows[..., 1 : self.rotary : 2]
        out[..., 0 : self.rotary : 2] = even * cosine - odd * sine
        out[..., 1 : self.rotary : 2] = even * sine + odd * cosine
        return out

    def forward(self, tokens: list[int]) -> Floats:
        """Logits of every token, appended to the sequence."""
        first = self.keys[0].shape[1]
        count = len(tokens)
        hidden = self.weights["token_embd.weight"][tokens]
        for block in range(self.blocks):
            w = {
                name: self.weights[f"blk.{block}.{name}.weight"]
                for name in (
                    *("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"),
                    *("ffn_norm", "ffn_gate", "ffn_up", "ffn_down"),
                )
            }
            x = self.norm(hidden, w["attn_norm"])
            query = self.turn((x @ w["attn_q"].T).reshape(count, self.heads, self.size), first)
            key = self.turn((x @ w["attn_k"].T).reshape(count, self.heads_kv, self.size), first)
            value = (x @ w["attn_v"].T).reshape(count, self.heads_kv, self.size)
            self.keys[block] = np.concatenate(
                [self.keys[block], self.rounded(key.swapaxes(0, 1))], axis=1
            )
            self.values[block] = np.concatenate(
                [self.values[block], self.rounded(value.swapaxes(0, 1))], axis=1
            )
            hidden = hidden + self.attend(block, query, first) @ w["attn_output"].T
            x = self.norm(hidden, w["ffn_norm"])
            gate = x @ w["ffn_gate"].T
            hidden = hidden + (gate / (1 + np.exp(-gate)) * (x @ w["ffn_up"].T)) @ w["ffn_down"].T
        return self.norm(hidden, self.weights["output_norm.weight"]) @ self.output.T

    def attend(self, block: int, query: Floats, first: int) -> Floats:
        count = len(query)
        out = np.zeros((count, self.heads, self.size), np.float32)
        group = self.heads // self.heads_kv
        hidden = np.triu(np.full((count, first + count), -np.inf), first + 1)
        for head in range(self.heads):
            keys, values = self.keys[block][head // group], self.values[block][head // group]
            scores = self.rounded(query[:, head]) @ keys.T / np.sqrt(self.size) + hidden
            weights = self.rounded(np.exp(scores - scores.max(axis=-1, keepdims=True)))
            out[:, head] = weights / weights.sum(axis=-1, keepdims=True) @ values
        return out.reshape(count, -1)


def _main(model: str, exact: str) -> None:
    reference = Reference(model)
    kind = next(name for name in ("Q4_1", "Q4_0", "Q8_0", "F16") if name in model)
    for name, entry in json.loads(Path(exact).read_text())["files"][kind]["greedy"].items():
        reference.reset()
        logits = reference.forward(entry["prompt_ids"])[-1]
        wanted = np.array(entry["first_logits_0_31"])
        print(name, "largest difference", np.abs(logits[:32] - wanted).max())
        ids = []
        for _ in entry["ids"][:8]:
            ids.append(int(logits.argmax()))
            logits = reference.forward(ids[-1:])[-1]
        print("  ids", ids, "wanted", entry["ids"][:8])


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
