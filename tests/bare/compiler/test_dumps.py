"""What the compiler shows of a program: the typed tree, the deepest stack."""

from pathlib import Path

import pytest

from bare.compiler.cli import main
from bare.compiler.stack_use import depths

SOURCE = """
from bare import Slice, stack, u8, u32


def fill(data: Slice[u8], value: u8) -> None:
    for i in range(len(data)):
        data[i] = value
        value = u8(value + data[0] % 3)


def deep(value: u8) -> u8:
    buffer = stack(u8, 4000)
    fill(buffer, value)
    return buffer[value]


def total(data: Slice[u8]) -> u32:
    total: u32 = 0
    for x in data:
        total += x
    return total
"""
TYPED = """def sample_dumps.total(data: Slice[u8]) -> u32:
    var total: u32
    var t2: Slice[u8]
    var t3: usize
    var t4: usize
    var x: u8
    total = 0
    t2 = data
    t4 = slice_length(t2)
    t3 = 0
    while (t3 < t4):  # loop 1
        x = load[u8](element_address[1, False](t2, t3))
        total = fit[0..4294967295]((total + x))
    step:
        t3 = (t3 + 1)
    return total
"""
ASSEMBLY = """
outer:
\tpushq\t%rbp
\tandq\t$-64, %rsp
\tsubq\t$192, %rsp
\tcallq\t"inner one"
\tcallq\t*bare_trap@GOTPCREL(%rip)
\t.size\touter, .-outer
"inner one":
\tpushq\t%rbx
\tjne\t.LBB1_2
.LBB1_2:
\tjmp\tlast
\t.size\t"inner one", .-"inner one"
last:
\tsubq\t$24, %rsp
\tretq
\t.size\tlast, .-last
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "sample_dumps.py"
    path.write_text(SOURCE)
    return path


def test_typed_tree(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", "--stage", "typed", f"{file}:total"]) == 0
    shown = capsys.readouterr().out.replace("{0..9223372036854775806}", "")
    assert shown.replace("{0..4294967550}", "").strip() == TYPED.strip()


@pytest.mark.parametrize("stage", ["llvm", "asm"])
def test_later_stages(file: Path, capsys: pytest.CaptureFixture[str], stage: str) -> None:
    assert main(["dump", "--stage", stage, f"{file}:total"]) == 0
    assert "total" in capsys.readouterr().out


def test_deepest_path_through_the_calls() -> None:
    found = depths([ASSEMBLY])
    assert found["last"].size == 8 + 24
    assert found["inner one"].size == 8 + 8 + found["last"].size
    assert found["outer"].size == 8 + 8 + 56 + 192 + found["inner one"].size
    assert found["outer"].path == ("outer", "inner one", "last")


def test_a_trap_handler_that_may_trap_is_no_cycle() -> None:
    handler = "bare_trap:\n\tsubq\t$100, %rsp\n\tcallq\touter\n\t.size\tbare_trap, .-bare_trap\n"
    found = depths([ASSEMBLY, handler], "bare_trap")
    assert found["outer"] == depths([ASSEMBLY])["outer"]
    assert found["bare_trap"].size == 8 + 100 + found["outer"].size


def test_stack_of_every_entry(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--stack", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    sizes = {line.split()[2]: int(line.split()[0]) for line in lines}
    assert 4000 < sizes["sample_dumps.deep"] < 4300
    assert sizes["sample_dumps.fill"] < 200
