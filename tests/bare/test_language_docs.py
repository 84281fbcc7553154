"""The language reference is executable: every block compiles and does what its comments say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bare import Trap, testing
from bare.compiler.diagnostics import CompileError
from bare.compiler.jit import Program
from bare.compiler.unit import compile_unit
from tests.bare.compiler.differential import functions_of, module_of

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/language").glob("*.md"))
PRELUDE = (
    "from dataclasses import dataclass; from enum import Enum, IntEnum, IntFlag; "
    "from typing import NoReturn; from bare import *\n"
)
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ERROR = re.compile(r"# error: \[([a-z-]+)\]")
TRAP = re.compile(r"# trap: (.+)$")


def blocks() -> Iterator[Any]:
    """Every block of every page, named by page and line."""
    for page in PAGES:
        text = page.read_text()
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield pytest.param(PRELUDE + found.group(1), id=f"{page.stem}:{line}")


def marks(source: str, pattern: re.Pattern[str]) -> set[tuple[str, int]]:
    """What the comments of one kind say, with their lines."""
    lines = enumerate(source.splitlines(), 1)
    return {(m.group(1).strip(), n) for n, line in lines if (m := pattern.search(line))}


def evaluate(text: str, names: dict[str, Any], traps: set[tuple[str, int]]) -> int:
    """One `#:` line: it is true (0), or it traps in a line that says so, which is given."""
    place, result = 0, None
    try:
        result = eval(text, names)
    except Trap as trap:
        place = trap.line
    assert result or place, text
    assert place in {0, *(line for _, line in traps)}, f"{text} traps in line {place}"
    return place


@pytest.mark.parametrize("source", list(blocks()))
def test_block(source: str) -> None:
    module = module_of(source, "page")
    functions = functions_of(module)
    wrong = marks(source, ERROR)
    methods = [f.fget if isinstance(f, property) else f for f in methods_of(module)]
    if wrong:
        with pytest.raises(CompileError) as caught:
            compile_unit([*functions, *methods], "jit")
        assert {(d.rule, d.line) for d in caught.value.diagnostics} == wrong, str(caught.value)
        return
    unit = compile_unit([*functions, *methods], "jit")
    program = Program(unit)
    traps = marks(source, TRAP)
    reasons = {(site.reason, site.line) for site in sites_of(unit)}
    assert traps <= reasons, f"{traps - reasons} are no checks of the program"
    lines = [line[2:].strip() for line in source.splitlines() if line.startswith("#:")]
    for variant in ("python", "compiled"):
        fresh = module_of(source, "page") if variant == "python" else module
        make = testing.adapted if variant == "python" else program.function
        names = vars(fresh) | {f.__name__: make(f) for f in functions_of(fresh)}
        reached = {evaluate(text, names, traps) for text in lines}
        # CPython does not check what is returned or put into a variable.
        marked = {line for _, line in traps} if variant == "compiled" else set()
        assert marked <= reached, "a line marked `trap` is never reached"


def methods_of(module: Any) -> list[Any]:
    """Methods and properties of the classes of a block that can be compiled alone."""
    from bare.compiler.entries import module_entries

    return [item.function for item in module_entries(module) if item.owner is not None]


def sites_of(unit: Any) -> list[Any]:
    """The checks of a compiled program."""
    return list(unit.sites.values() if isinstance(unit.sites, dict) else unit.sites)


def rules_of_the_compiler() -> set[str]:
    """Rule names in calls that report an error."""
    found = set()
    for file in (ROOT / "src/bare/compiler").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name not in ("refuse", "report", "error", "Diagnostic"):
                continue
            for argument in node.args[:2]:
                text = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(text, str) and re.fullmatch("[a-z]+(-[a-z]+)*", text):
                    found.add(text)
    return found


def test_every_rule_has_an_example() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert rules_of_the_compiler() == set(ERROR.findall(text)) - {"rule"}
    listed = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/language/errors.md").read_text(), re.M)
    assert set(listed) == rules_of_the_compiler()


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+\.md)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
