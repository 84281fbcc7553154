"""Requantising a GGUF file the way `llama-quantize` does, with the `gguf` package's arithmetic.

Which tensors change, by llama.cpp's rules (llama_tensor_get_type, llama-quant.cpp) for files whose
output matrix is the embedding: matrices take the wanted type; vectors (norms) stay F32; for Q4_0
the embedding, being the output too, wants Q6_K, which needs rows of whole 256s, and falls back to
Q8_0 where rows are not. Rows that are not whole blocks of 32 fall back to F16. A tensor that has
its type already is copied bit for bit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from merlion.cli.errors import UserError
from merlion.cli.output import written_whole
from merlion.cli.terminal import bytes_progress

Q = gguf.GGMLQuantizationType
F = gguf.LlamaFileType
BLOCK = 32
TARGETS = {
    "q4_0": (Q.Q4_0, F.MOSTLY_Q4_0),
    "q8_0": (Q.Q8_0, F.MOSTLY_Q8_0),
    "f16": (Q.F16, F.MOSTLY_F16),
}
READABLE = {Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q6_K, Q.Q4_K, Q.Q5_K}
DROPPED = ("GGUF.", "general.file_type", "general.architecture", "general.quantization_version")
QUANTISATION_VERSION = 2
ARRAY_SHOWN_MAX = 16


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the file."""

    path: Path
    tensors: int
    changed: int
    size: int


def open_gguf(path: Path) -> Any:
    """A reader for the file. Raises UserError when it is no GGUF."""
    try:
        return gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise UserError(f"{path} cannot be read as GGUF: {error}", "give a GGUF file") from error


def target_type(tensor: Any, wanted: Any, tied: bool) -> Any:
    """The type the tensor gets."""
    if len(tensor.shape) < 2 or tensor.name.endswith("_norm.weight"):
        return tensor.tensor_type
    if wanted is Q.F16:
        return Q.F16
    if int(tensor.shape[0]) % BLOCK != 0:
        return Q.F16
    is_output = tensor.name == "output.weight" or (tied and tensor.name == "token_embd.weight")
    if wanted is Q.Q4_0 and is_output:
        return Q.Q8_0  # llama.cpp takes Q6_K for rows of whole 256s; we write Q8_0 for all.
    return wanted


def values(tensor: Any) -> Any:
    """The tensor as f32, rows last."""
    shape = [int(n) for n in reversed(tensor.shape)]
    flat = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return np.ascontiguousarray(flat.reshape(shape), dtype=np.float32)


def convert(source: Path, to: str, output: Path) -> Summary:
    """Write `source`, requantised to `to`, as `output`."""
    wanted, file_type = TARGETS[to]
    reader = open_gguf(source)
    names = {tensor.name for tensor in reader.tensors}
    tied = "output.weight" not in names
    unreadable = [t for t in reader.tensors if t.tensor_type not in READABLE]
    if unreadable:
        first = unreadable[0]
        raise UserError(
            f"{source}: {first.name} is {first.tensor_type.name}, which cannot be converted",
            "start from a file in F16, Q8_0, Q4_0 or Q4_1",
        )
    architecture = reader.fields["general.architecture"].contents()
    with written_whole(output) as part:
        writer = gguf.GGUFWriter(part, architecture)
        copy_fields(reader, writer)
        writer.add_file_type(file_type)
        writer.add_quantization_version(QUANTISATION_VERSION)
        changed = write_tensors(reader, writer, wanted, tied)
    return Summary(output, len(reader.tensors), changed, output.stat().st_size)


def copy_fields(reader: Any, writer: Any) -> None:
    """Copy the metadata, but for what the writer says itself."""
    for field in reader.fields.values():
        if field.name.startswith(DROPPED):
            continue
        kind = field.types[0]
        part = field.types[1] if kind is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, part)


def write_tensors(reader: Any, writer: Any, wanted: Any, tied: bool) -> int:
    """Declare, convert and write every tensor in the file's order. Returns how many changed."""
    types = {t.name: target_type(t, wanted, tied) for t in reader.tensors}
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        kind = types[tensor.name]
        # The type of the last argument counts; this one must only not be bytes.
        unused = np.dtype(np.float32)
        writer.add_tensor_info(tensor.name, shape, unused, byte_count(shape, kind), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    changed = 0
    with bytes_progress() as progress:
        total = sum(int(t.n_bytes) for t in reader.tensors)
        task = progress.add_task("converting", total=total)
        for tensor in reader.tensors:
            kind = types[tensor.name]
            if kind is tensor.tensor_type:
                data = np.ascontiguousarray(tensor.data)
            else:
                data = gguf.quants.quantize(values(tensor), kind)
                changed += 1
            writer.write_tensor_data(np.ascontiguousarray(data).view(np.uint8).reshape(-1))
            progress.advance(task, int(tensor.n_bytes))
    writer.close()
    return changed


def byte_count(shape: list[int], kind: Any) -> int:
    """Bytes of a tensor."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    count = 1
    for n in shape:
        count *= n
    return count // block * int(size)


def describe(path: Path) -> dict[str, Any]:
    """What `merlion model info` shows: metadata (long arrays as their length) and tensors."""
    reader = open_gguf(path)
    metadata: dict[str, Any] = {}
    for field in reader.fields.values():
        if field.name.startswith("GGUF."):
            continue
        is_array = field.types[0] is gguf.GGUFValueType.ARRAY
        long = is_array and len(field.data) > ARRAY_SHOWN_MAX
        metadata[field.name] = f"[{len(field.data)} elements]" if long else field.contents()
    types: dict[str, int] = {}
    for tensor in reader.tensors:
        types[tensor.tensor_type.name] = types.get(tensor.tensor_type.name, 0) + 1
    return {
        "file": str(path),
        "version": int(reader.fields["GGUF.version"].contents()),
        "size": path.stat().st_size,
        "parameters": sum(int(t.n_elements) for t in reader.tensors),
        "metadata": metadata,
        "types": types,
        "tensors": [
            {"name": t.name, "shape": [int(n) for n in t.shape], "type": t.tensor_type.name}
            for t in reader.tensors
        ],
    }
