"""Code generation: the cache, and errors that name their function."""

from pathlib import Path

import pytest

from bare.compiler import codegen
from bare.compiler.codegen import (
    CodegenError,
    cache_key,
    compile_assembly,
    compile_object,
    optimise,
)

IR = """
define i32 @twice(i32 %a) {
  %b = add i32 %a, %a
  ret i32 %b
}
"""

NEEDS_VNNI = """
declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <64 x i8>, <64 x i8>)
define void @kernel(ptr %p) {
  %a = load <16 x i32>, ptr %p
  %b = bitcast <16 x i32> %a to <64 x i8>
  %c = call <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32> %a, <64 x i8> %b, <64 x i8> %b)
  store <16 x i32> %c, ptr %p
  ret void
}
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BARE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_second_time_comes_from_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_object(IR, "jit")
    assert [path.suffix for path in cache.iterdir()] == [".object"]
    monkeypatch.setattr(codegen, "_run_child", lambda *_: pytest.fail("generated again"))
    assert compile_object(IR, "jit") == first


def test_output_is_deterministic() -> None:
    assert compile_object(IR, "image", False) == compile_object(IR, "image", False)


def test_key_depends_on_everything_that_matters() -> None:
    keys = {cache_key(IR, "jit"), cache_key(IR, "image"), cache_key(IR + " ", "jit")}
    assert len(keys | {cache_key(IR, "jit", "assembly")}) == 4


def test_unwritable_cache_is_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BARE_CACHE", str(tmp_path / "file" / "below"))
    assert compile_object(IR, "jit").startswith(b"\x7fELF")


def test_malformed_ir_shows_the_line(cache: Path) -> None:
    with pytest.raises(CodegenError, match="%a = addd i32"):
        compile_object("define i32 @f() {\n  %a = addd i32 1, 2\n  ret i32 %a\n}\n", "jit")
    assert not cache.exists()


def test_missing_cpu_feature_names_the_function(cache: Path) -> None:
    with pytest.raises(CodegenError, match="in kernel: LLVM ERROR"):
        compile_object(NEEDS_VNNI, "image")


def test_features_of_a_function_are_its_own(cache: Path) -> None:
    attribute = ' "target-features"="+avx512f,+avx512vl,+avx512bw,+avx512vnni,+evex512" {'
    text = compile_assembly(NEEDS_VNNI.replace("(ptr %p) {", "(ptr %p)" + attribute), "image")
    assert "vpdpbusd" in text


def test_readable_outputs(cache: Path) -> None:
    assert "shl" in optimise(IR, "image")
    assert "twice:" in compile_assembly(IR, "image")
