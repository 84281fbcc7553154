"""The caret printer: the exact text a user sees."""

from pathlib import Path

import pytest

from bare.compiler.diagnostics import (
    CompileError,
    Diagnostic,
    Diagnostics,
    Info,
    Span,
    render,
    render_all,
)

SOURCE = "def f(a: u32, b: i32) -> u32:\n    return a + b\n\n\tvalue = 1\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.py"
    path.write_text(SOURCE)
    return str(path)


def test_message_shows_line_carets_and_fix(source: str) -> None:
    span = Span(source, 2, 12, 17)
    found = Diagnostic.at(
        span, "common-type", "u32 and i32 have no common type", "convert one side: u32(...)"
    )
    assert render(found) == (
        "bad.py:2:12: error: u32 and i32 have no common type [common-type]\n"
        "     2 |     return a + b\n"
        "       |            ^^^^^ convert one side: u32(...)"
    )


def test_second_location_is_info(source: str) -> None:
    info = (Info("declared i32 here", Span(source, 1, 15, 21)),)
    text = render(Diagnostic.at(Span(source, 2, 16, 17), "common-type", "no", info=info))
    assert text.endswith(
        "bad.py:1:15: info: declared i32 here\n"
        "     1 | def f(a: u32, b: i32) -> u32:\n"
        "       |               ^^^^^^"
    )


def test_tabs_keep_the_caret_in_place(source: str) -> None:
    text = render(Diagnostic.at(Span(source, 4, 2, 7), "r", "m"))
    assert text.splitlines()[-1] == "       | \t^^^^^"


def test_unreadable_source_still_shows_the_fix() -> None:
    text = render(Diagnostic("r", "m", "missing.py", 3, fix="do this"))
    assert text == "missing.py:3:1: error: m [r]\n       = do this"


def test_span_longer_than_the_line_is_cut(source: str) -> None:
    text = render(Diagnostic.at(Span(source, 2, 12, 400), "r", "m"))
    assert text.splitlines()[-1] == "       |            ^^^^^"


def test_all_errors_of_a_run_in_source_order(source: str) -> None:
    found = Diagnostics()
    found.check()  # Nothing reported: nothing raised.
    found.error(Span(source, 2, 12, 13), "b", "second")
    found.error(Span(source, 1, 5, 6), "a", "first")
    found.error(Span(source, 2, 12, 13), "b", "second")
    with pytest.raises(CompileError) as caught:
        found.check()
    assert [d.message for d in caught.value.diagnostics] == ["first", "second"]
    assert render_all(caught.value.diagnostics).endswith("\n2 errors")
