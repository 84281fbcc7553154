"""GGUF files: what is read from right ones, why wrong ones are refused, that nothing traps."""

import struct
from typing import Any

import pytest
from gguf import GGML_QUANT_SIZES, GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st

from bare import Slice, static, u8, u32
from bare.testing import implementations
from merlion.engine.chat_template import ChatTemplate
from merlion.engine.ggml_type import BLOCK_BYTES, BLOCK_ELEMENTS, TYPE_NAMES
from merlion.engine.gguf import Gguf
from merlion.engine.hparams import Hyperparameters
from merlion.engine.tokenizer import TokenizeError, Tokenizer
from tests.engine.files import arena, data_file, storage
from tests.engine.gguf_builder import (
    ARRAY,
    BOOL,
    F32,
    F64,
    FORMATS,
    I8,
    I16,
    I32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Builder,
    byte_pair,
    llama,
    string,
    value,
)

impl = implementations(
    "merlion.engine.gguf",
    "merlion.engine.gguf_value",
    "merlion.engine.hparams",
    "merlion.engine.tokenizer",
    "merlion.engine.chat_template",
)


def parse(impl: Any, data: bytes) -> tuple[Any, str]:
    """The Gguf and the name of its error, "" when there is none."""
    gguf = impl.Gguf.zeroed()
    error = gguf.parse(storage(data), arena(1 << 16))
    return gguf, "" if error is None else error.name


def refused(impl: Any, builder: Builder | bytes) -> str:
    data = builder if isinstance(builder, bytes) else builder.build()
    gguf, error = parse(impl, data)
    assert gguf.error_at <= len(data)
    return error


def test_reads_every_scalar_type(impl: Any) -> None:
    builder = Builder()
    integers = {U8: 200, I8: 100, U16: 60000, I16: 30000, U32: 2**32 - 1, I32: 2**31 - 1}
    integers |= {U64: 2**64 - 1, I64: 2**63 - 1}
    for kind, number in integers.items():
        builder.add(f"n{kind}", kind, number)
    builder.add("minus", I16, -1).add("f", F32, 0.5).add("d", F64, 0.1)
    builder.add("yes", BOOL, 1).add("text", STRING, "héllo").add("nothing", STRING, "")
    gguf, error = parse(impl, builder.build())
    assert error == ""
    for kind, number in integers.items():
        assert gguf.unsigned(f"n{kind}".encode()) == number
    assert gguf.unsigned(b"minus") == impl.Lookup.WRONG_TYPE
    assert gguf.unsigned(b"f") == impl.Lookup.WRONG_TYPE
    assert gguf.unsigned(b"none") == impl.Lookup.ABSENT
    assert gguf.real(b"f") == 0.5
    assert gguf.real(b"d") == 0.1
    assert gguf.real(b"text") == impl.Lookup.WRONG_TYPE
    assert gguf.boolean(b"yes") is True
    assert gguf.boolean(b"f") == impl.Lookup.WRONG_TYPE
    assert bytes(gguf.string(b"text")) == "héllo".encode()
    assert bytes(gguf.string(b"nothing")) == b""
    assert gguf.string(b"none") == impl.Lookup.ABSENT
    assert gguf.has(b"minus")
    assert not gguf.has(b"minu")


def test_reads_arrays(impl: Any) -> None:
    builder = (
        Builder().add("i", ARRAY, (I32, [1, -2, 3])).add("s", ARRAY, (STRING, ["a", "", "bc"]))
    )
    builder.add("empty", ARRAY, (U64, []))
    gguf, error = parse(impl, builder.build())
    assert error == ""
    found = gguf.array(b"i", I32)
    assert found.count == 3
    assert struct.unpack("<3i", bytes(gguf.value_data(found))) == (1, -2, 3)
    found = gguf.array(b"s", STRING)
    assert found.count == 3
    assert bytes(gguf.value_data(found)) == string("a") + string("") + string("bc")
    assert gguf.array(b"empty", U64).count == 0
    assert gguf.array(b"i", U32) == impl.Lookup.WRONG_TYPE


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [8, 64])
def test_reads_tensors(impl: Any, version: int, alignment: int) -> None:
    builder = Builder(version=version, alignment=alignment).add("general.alignment", U32, alignment)
    builder.tensor("a", 3, 5, data=bytes(range(60))).tensor("b", 64, 2, 1, type=8)
    data = builder.build()
    gguf, error = parse(impl, data)
    assert error == ""
    tensor = gguf.tensor(b"a")
    assert (tensor.type, tensor.dimension_count, list(tensor.dims)) == (0, 2, [3, 5, 1, 1])
    assert bytes(gguf.tensor_data(tensor)) == bytes(range(60))
    tensor = gguf.tensor(b"b")
    assert (tensor.type, tensor.length, tensor.offset % alignment) == (8, 136, 0)
    assert gguf.tensor(b"c") is None


def test_reads_a_real_file(impl: Any) -> None:
    path = data_file("stories260K.gguf")
    reader = GGUFReader(path)
    gguf = impl.Gguf.zeroed()
    assert gguf.parse(storage(path.read_bytes()), arena(1 << 17)) is None
    assert len(gguf.tensors) == len(reader.tensors)
    for wanted in reader.tensors:
        found = gguf.tensor(wanted.name.encode())
        assert found.offset == wanted.data_offset
        assert found.length == wanted.n_bytes
        assert list(found.dims)[: found.dimension_count] == wanted.shape.tolist()
    assert gguf.unsigned(b"llama.block_count") == 5
    assert bytes(gguf.string(b"tokenizer.ggml.model")) == b"llama"


def test_type_table_is_ggmls() -> None:
    for kind, (elements, size) in GGML_QUANT_SIZES.items():
        if kind.value < len(BLOCK_ELEMENTS) and kind.name != "Q8_1":  # The package has 40: wrong.
            assert (BLOCK_ELEMENTS[kind], BLOCK_BYTES[kind]) == (elements, size)
            assert TYPE_NAMES[kind] == kind.name.encode()


def _u32(number: int) -> bytes:
    return struct.pack("<I", number)


BAD_FILES: dict[str, tuple[str, Builder | bytes]] = {
    "empty": ("NOT_GGUF", b""),
    "magic": ("NOT_GGUF", Builder(magic=b"GGUX")),
    "header cut": ("TRUNCATED", b"GGUF" + _u32(3) + bytes(8)),
    "version 1": ("UNSUPPORTED_VERSION", Builder(version=1)),
    "version 4": ("UNSUPPORTED_VERSION", Builder(version=4)),
    "big endian": ("BIG_ENDIAN", Builder(version=0x0300_0000)),
    "metadata count": ("METADATA_COUNT", Builder(metadata_count=2**40)),
    "negative metadata count": ("METADATA_COUNT", Builder(metadata_count=2**64 - 1)),
    "tensor count": ("TENSOR_COUNT", Builder(tensor_count=2**63)),
    "cut in the tensors": ("TENSOR_OUTSIDE_FILE", llama().add("x", U8, 1).build()[:800]),
    "key length": (
        "TRUNCATED",
        Builder().add("k", U8, 1).build().replace(string("k"), b"\xff" * 9),
    ),
    "empty key": ("EMPTY_KEY", Builder().add("", U8, 1).tensor("t", 8)),
    "long key": ("KEY_TOO_LONG", Builder().add("k" * 65536, U8, 1)),
    "duplicate key": ("DUPLICATE_KEY", Builder().add("k", U8, 1).add("k", U8, 2)),
    "value type": ("UNKNOWN_VALUE_TYPE", Builder().raw("k", 13, bytes(8))),
    "element type": ("UNKNOWN_VALUE_TYPE", Builder().raw("k", ARRAY, _u32(99) + bytes(8))),
    "nested array": ("NESTED_ARRAY", Builder().raw("k", ARRAY, _u32(ARRAY) + bytes(8))),
    "boolean": ("BAD_BOOLEAN", Builder().add("k", BOOL, 2).tensor("t", 8)),
    "boolean in array": ("BAD_BOOLEAN", Builder().add("k", ARRAY, (BOOL, [0, 1, 9]))),
    "array count": ("TRUNCATED", Builder().raw("k", ARRAY, _u32(U64) + struct.pack("<Q", 2**61))),
    "string array count": (
        "TRUNCATED",
        Builder().raw("k", ARRAY, _u32(STRING) + struct.pack("<Q", 2**63)),
    ),
    "string length": ("TRUNCATED", Builder().raw("k", STRING, struct.pack("<Q", 2**64 - 8))),
    "alignment 0": ("BAD_ALIGNMENT", Builder().add("general.alignment", U32, 0)),
    "alignment 24": ("BAD_ALIGNMENT", Builder().add("general.alignment", U32, 24)),
    "alignment type": ("BAD_ALIGNMENT", Builder().add("general.alignment", U64, 32)),
    "tensor name": ("TENSOR_NAME_TOO_LONG", Builder().tensor("n" * 65, 8)),
    "empty tensor name": ("EMPTY_TENSOR_NAME", Builder().tensor("", 8)),
    "duplicate tensor": ("DUPLICATE_TENSOR", Builder().tensor("t", 8).tensor("t", 4)),
    "no dimensions": ("DIMENSION_COUNT", Builder().tensor("t", data=bytes(4))),
    "five dimensions": ("DIMENSION_COUNT", Builder().tensor("t", 1, 1, 1, 1, 1)),
    "zero dimension": ("BAD_DIMENSION", Builder().tensor("t", 8, 0)),
    "negative dimension": ("BAD_DIMENSION", Builder().tensor("t", 8, -1, data=b"")),
    "product wraps": ("TENSOR_TOO_LARGE", Builder().tensor("t", 2**32, 2**32, 2, data=b"")),
    "tensor type": ("UNKNOWN_TENSOR_TYPE", Builder().tensor("t", 8, type=4)),
    "tensor type 2**31": ("UNKNOWN_TENSOR_TYPE", Builder().tensor("t", 8, type=2**31)),
    "partial block": ("PARTIAL_BLOCK", Builder().tensor("t", 40, type=8)),
    "misaligned": ("MISALIGNED_TENSOR", Builder().tensor("t", 8, offset=4)),
    "offset past the end": ("TENSOR_OUTSIDE_FILE", Builder().tensor("t", 8, offset=1 << 20)),
    "offset wraps": ("TENSOR_OUTSIDE_FILE", Builder().tensor("t", 8, offset=-32)),
    "length past the end": ("TENSOR_OUTSIDE_FILE", Builder().tensor("t", 4096, data=bytes(32))),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_refuses(impl: Any, name: str) -> None:
    wanted, builder = BAD_FILES[name]
    assert refused(impl, builder) == wanted


def test_refuses_when_memory_is_short(impl: Any) -> None:
    gguf = impl.Gguf.zeroed()
    assert gguf.parse(storage(llama().build()), arena(256)).name == "OUT_OF_MEMORY"


def test_error_names_the_tensor(impl: Any) -> None:
    gguf, error = parse(impl, Builder().tensor("fine", 8).tensor("broken", 8, 0).build())
    assert error == "BAD_DIMENSION"
    assert bytes(gguf.error_name) == b"broken"


GOOD = llama().add("general.alignment", U32, 32).add("list", ARRAY, (STRING, ["a", "b"])).build()
HEADER = GOOD.rindex(b"ffn_down.weight") + 64


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, HEADER))
def test_truncated_never_traps(impl: Any, length: int) -> None:
    assert refused(impl, GOOD[:length]) != ""


END = GOOD.rindex(b"ffn_down.weight") + 15 + 4 + 16 + 4 + 8


@settings(max_examples=60, deadline=None)
@given(arrived=st.integers(0, END), filler=st.sampled_from([0, 1, 0xFF]))
def test_a_part_of_the_header_asks_for_more(impl: Any, arrived: int, filler: int) -> None:
    """Whatever lies behind that part."""
    part = GOOD[:arrived] + bytes([filler]) * (len(GOOD) - arrived)
    error = impl.Gguf.zeroed().parse_front(storage(part), arrived, arena(1 << 16))
    assert error == (None if arrived == END else impl.GgufError.NOT_ARRIVED)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_wrong_header_is_refused_the_same_when_it_arrives(impl: Any, data: Any) -> None:
    raw = bytearray(GOOD)
    raw[data.draw(st.integers(0, END - 1))] = data.draw(st.integers(0, 255))
    file, space = storage(bytes(raw)), arena(1 << 16)
    gguf = impl.Gguf.zeroed()
    wanted = gguf.parse(file, space)
    name = bytes(gguf.error_name)
    for arrived in sorted(data.draw(st.lists(st.integers(0, len(GOOD)), max_size=3))):
        space.reset(0)
        found = gguf.parse_front(file, arrived, space)
        if found != impl.GgufError.NOT_ARRIVED:
            assert found == wanted
            assert bytes(gguf.error_name) == name


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_never_traps_nor_leaves_the_file(impl: Any, data: Any) -> None:
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, HEADER - 9))
        if data.draw(st.booleans()):
            raw[at] = data.draw(st.integers(0, 255))
        else:
            number = data.draw(st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
            raw[at : at + 8] = struct.pack("<Q", number)
    gguf, error = parse(impl, bytes(raw))
    if error:
        return
    for tensor in gguf.tensors:
        data_slice: Slice[u8] = gguf.tensor_data(tensor)
        assert len(data_slice) == tensor.length
    for entry in gguf.values:
        assert len(gguf.value_data(entry)) == entry.length


MODEL = byte_pair([(b"a", b"b"), (b"ab", b"c")], "smollm", **{"<|im_start|>": 3, "<|im_end|>": 3})
MODEL.tensors, MODEL.metadata = llama(261).tensors, llama().metadata + MODEL.metadata
MODEL.add("tokenizer.chat_template", STRING, "{% for message in messages %}").add(
    "tokenizer.ggml.eos_token_id", U32, 1
)
WHOLE = MODEL.build()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_reader_of_a_mutated_model_traps(impl: Any, data: Any) -> None:
    """Hyper-parameters, vocabulary and template either load or refuse, whatever the file says."""
    raw = bytearray(WHOLE)
    end = WHOLE.index(b"token_embd.weight") + 200
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(24, end))
        raw[at] = data.draw(st.integers(0, 255))
    space = arena()
    gguf = Gguf.zeroed()
    if gguf.parse(storage(bytes(raw)), space) is not None:
        return
    Hyperparameters.zeroed().read(gguf)
    tokenizer = Tokenizer.zeroed()
    if tokenizer.load(gguf, space) is None:
        ChatTemplate.zeroed().load(gguf, tokenizer, space, 100)
        text = storage(b"abc <|im_end|> abab")
        assert isinstance(tokenizer.encode(text, static(u32, 64), True), int | TokenizeError)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200))
def test_noise_never_traps(impl: Any, data: bytes) -> None:
    refused(impl, b"GGUF" + _u32(3) + data)


def test_builder_value_round_trip() -> None:
    assert all(len(value(kind, 1)) == struct.calcsize(FORMATS[kind]) for kind in FORMATS)
