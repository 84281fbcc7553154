"""The import table of ARCHITECTURE.md, the allow-list of bare.unsafe, and files nobody imports."""

import sys

import pytest

from tests.tidy.allowed import UNSAFE
from tests.tidy.sources import Source, imported, packages, sources

# Layer: what of ours, and what of others, it may import.
IN_SUBSET = {"collections", "dataclasses", "enum", "typing"}
LAYERS: dict[str, tuple[set[str], set[str]]] = {
    "bare": ({"bare"}, {"llvmlite", "pytest", "annotationlib"}),
    "merlion.net": ({"bare", "merlion.net"}, set()),
    # Unicode tables are made at import.
    "merlion.engine": ({"bare", "merlion.engine"}, {"unicodedata"}),
    "merlion.serve": ({"bare", "merlion.net", "merlion.engine", "merlion.serve"}, set()),
    "merlion.kernel": (
        {"bare", "merlion.net", "merlion.engine", "merlion.serve", "merlion.kernel"},
        set(),
    ),
    "merlion.hosted": (
        {"bare", "merlion.net", "merlion.engine", "merlion.serve", "merlion.hosted"},
        set(),
    ),
    "merlion.cli": ({"bare", "merlion"}, {"gguf", "numpy", "rich", "typer"}),
}
COMPILED = ("merlion.net", "merlion.engine", "merlion.serve", "merlion.kernel")
# Entered from outside: by a command, by assembly, by pytest.
ENTRIES = {
    "bare.compiler.cli",
    "bare.compiler.codegen",
    "bare.testing",
    "merlion.cli.__main__",
    "merlion.kernel.boot.pvh",
    "merlion.kernel.main",
}


def layer_of(module: str) -> str:
    """The layer a module is in; the package `merlion` itself is in none."""
    for layer in LAYERS:
        if module == layer or module.startswith(layer + "."):
            return layer
    return ""


def is_within(module: str, packages: set[str]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_the_table_says(layer: str) -> None:
    ours, others = LAYERS[layer]
    wrong = []
    for source in packages():
        if layer_of(source.module) != layer:
            continue
        standard = IN_SUBSET if layer in COMPILED else sys.stdlib_module_names
        for name in sorted(imported(source)):
            top = name.partition(".")[0]
            if top in ("bare", "merlion"):
                if not is_within(name, ours):
                    wrong.append(f"{source.path} imports {name}")
            elif top not in standard and top not in others:
                wrong.append(f"{source.path} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_llvm_is_for_the_compiler_only() -> None:
    wrong = [
        source.path
        for source in packages()
        if "llvmlite" in {name.partition(".")[0] for name in imported(source)}
        and not source.module.startswith("bare.compiler.")
    ]
    assert not wrong, wrong


def uses_unsafe(source: Source) -> bool:
    return "bare.unsafe" in imported(source)


def test_bare_unsafe_is_on_an_allow_list() -> None:
    compiler = ("src/bare/compiler/", "src/merlion/cli/build.py")
    users = {s.path for s in packages() if uses_unsafe(s) and not s.path.startswith(compiler)}
    assert sorted(users - set(UNSAFE)) == [], "add it to tests/tidy/allowed.py with a reason"
    assert sorted(set(UNSAFE) - users) == [], "no longer needed in tests/tidy/allowed.py"


def test_every_module_is_imported() -> None:
    named: set[str] = set()
    for source in sources():
        named |= imported(source)
    # Helpers that compile or run as programs name modules in strings.
    text = "\n".join(source.text for source in sources())
    dead = [
        source.path
        for source in packages()
        if source.module not in named
        and source.module not in ENTRIES
        and not source.path.endswith("__init__.py")
        and f'"{source.module}"' not in text
    ]
    assert not dead, f"nobody imports {dead}"
