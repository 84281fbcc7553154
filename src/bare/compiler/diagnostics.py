"""Places in source, compile errors, and the caret printer.

A message is printed as

    mini/bad.py:5:12: error: u32 and i32 have no common type [common-type]
         5 |     return a + b
           |            ^^^^^ convert one side: u32(...)

followed by one `info:` block for each second location. Lines and columns count from 1; `end_column`
is one past the last character, so an empty span has `end_column == column`.

A stage collects every error of a run in a `Diagnostics` and raises once, so the user sees all of
them. Messages name things of the language and never of the compiler.
"""

import linecache
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

GUTTER = 6  # Width of the line-number column.


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of one source line. Lines and columns count from 1; `end_column` is exclusive."""

    file: str
    line: int
    column: int = 1
    end_column: int = 0  # 0: unknown, one caret is printed.

    def __str__(self) -> str:
        return f"{display_path(self.file)}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Info:
    """A second location that explains a diagnostic (where the other type came from)."""

    message: str
    span: Span


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message: what is wrong, by which rule, where, and what to do about it."""

    rule: str  # Kebab-case name, the one in `# error: [rule]` of the language reference.
    message: str
    file: str
    line: int
    column: int = 1
    end_column: int = 0
    fix: str = ""  # In the imperative, printed behind the carets.
    info: tuple[Info, ...] = ()
    level: str = "error"

    @classmethod
    def at(
        cls, span: Span, rule: str, message: str, fix: str = "", info: Iterable[Info] = ()
    ) -> "Diagnostic":
        """An error at `span`."""
        place = (span.file, span.line, span.column, span.end_column)
        return cls(rule, message, *place, fix=fix, info=tuple(info))

    @property
    def span(self) -> Span:
        """The stretch of source the carets stand below."""
        return Span(self.file, self.line, self.column, self.end_column)

    def __str__(self) -> str:
        return render(self)


class CompileError(Exception):
    """The program was refused. Carries every diagnostic of the run, in source order."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        unique = dict.fromkeys(diagnostics)  # A generic body may fail once an instance.
        self.diagnostics = sorted(unique, key=lambda d: (d.file, d.line, d.column, d.rule))
        assert self.diagnostics, "a CompileError needs at least one diagnostic"
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return "\n" + render_all(self.diagnostics)


@dataclass(slots=True)
class Diagnostics:
    """Collects the errors of a run; `check()` raises them together."""

    found: list[Diagnostic] = field(default_factory=list)

    def error(
        self, span: Span, rule: str, message: str, fix: str = "", info: Iterable[Info] = ()
    ) -> None:
        """Report an error at `span`."""
        self.found.append(Diagnostic.at(span, rule, message, fix, info))

    def check(self) -> None:
        """Raise `CompileError` when anything was reported."""
        if self.found:
            raise CompileError(self.found)


def display_path(file: str) -> str:
    """`file` relative to the working directory when it lies below it, else as it is."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return file


def _excerpt(span: Span, note: str) -> Iterator[str]:
    """The source line and the carets below it; nothing when the source cannot be read."""
    text = linecache.getline(span.file, span.line).rstrip("\n")
    if not text.strip():
        return
    # Tabs are kept in the padding so that the caret stands below what it points at.
    padding = "".join("\t" if c == "\t" else " " for c in text[: span.column - 1])
    width = max(1, min(span.end_column - span.column, len(text) - span.column + 1))
    yield f"{span.line:>{GUTTER}} | {text}"
    yield f"{'':>{GUTTER}} | {padding}{'^' * width} {note}".rstrip()


def render(diagnostic: Diagnostic) -> str:
    """The message with its source line, carets, fix and second locations."""
    rule = f" [{diagnostic.rule}]" if diagnostic.rule else ""
    lines = [f"{diagnostic.span}: {diagnostic.level}: {diagnostic.message}{rule}"]
    excerpt = list(_excerpt(diagnostic.span, diagnostic.fix))
    lines += excerpt
    if diagnostic.fix and not excerpt:
        lines.append(f"{'':>{GUTTER}} = {diagnostic.fix}")
    for info in diagnostic.info:
        lines.append(f"{info.span}: info: {info.message}")
        lines += _excerpt(info.span, "")
    return "\n".join(lines)


def render_all(diagnostics: Iterable[Diagnostic]) -> str:
    """Every message, then the count."""
    listed = list(diagnostics)
    errors = sum(1 for d in listed if d.level == "error")
    count = f"{errors} error" + ("" if errors == 1 else "s")
    return "\n".join([*(render(d) for d in listed), count])
