"""The house style of CONTRIBUTING.md, as far as a program can judge it."""

import ast
import re
from pathlib import Path

from tests.tidy.allowed import (
    FILE_LINES_MAX,
    FUNCTION_LINES_MAX,
    LONG_FILES,
    LONG_FUNCTIONS,
)
from tests.tidy.sources import packages, sources, tracked

NAMELESS_FOLDERS = {"utils", "util", "common", "misc", "helpers", "lib", "shared"}
# Words that say nothing at an interface; the specification has better ones.
BANNED_PARAMETERS = {"buf", "pkt", "ctx", "tmp", "foo", "cb", "idx", "cnt", "ptr", "arr"}
BANNED_FUNCTIONS = re.compile(r"^(do|handle|process)_(it|stuff|things?|data)$")
LIMIT = re.compile(r"^(MAX|max)_")
type Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> list[Function]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_files_are_short() -> None:
    long = {s.path for s in sources() if s.text.count("\n") > FILE_LINES_MAX}
    assert sorted(long - set(LONG_FILES)) == [], "split it, or give a reason in allowed.py"
    assert sorted(set(LONG_FILES) - long) == [], "no longer needed in allowed.py"


def test_functions_are_short() -> None:
    long = set()
    for source in sources():
        for function in functions(source.tree):
            assert function.end_lineno is not None
            if function.end_lineno - function.lineno + 1 > FUNCTION_LINES_MAX:
                long.add(f"{source.path}:{function.name}")
    assert sorted(long - set(LONG_FUNCTIONS)) == [], "split it, or give a reason in allowed.py"
    assert sorted(set(LONG_FUNCTIONS) - long) == [], "no longer needed in allowed.py"


def test_every_file_says_what_it_is() -> None:
    silent = [s.path for s in packages() if not ast.get_docstring(s.tree) and s.text.strip()]
    assert not silent, silent


def test_every_package_names_its_bounds_in_one_file() -> None:
    for package in ("net", "engine", "serve", "kernel"):
        assert f"src/merlion/{package}/limits.py" in tracked()


def test_folders_have_a_subject() -> None:
    wrong = [name for name in tracked() if NAMELESS_FOLDERS & set(Path(name).parts[:-1])]
    assert not wrong, wrong


def test_names_say_what_they_name() -> None:
    wrong = []
    for source in packages():
        for function in functions(source.tree):
            where = f"{source.path}:{function.lineno}"
            if BANNED_FUNCTIONS.match(function.name):
                wrong.append(f"{where}: {function.name}")
            arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            wrong += [f"{where}: {a.arg}" for a in arguments if a.arg in BANNED_PARAMETERS]
    assert not wrong, wrong


def test_limits_end_in_max() -> None:
    wrong = []
    for source in packages():
        for node in source.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = [t.id for t in targets if isinstance(t, ast.Name)]
            wrong += [f"{source.path}: {name}" for name in names if LIMIT.match(name)]
    assert not wrong, f"write …_max: {wrong}"


def test_no_work_is_left_in_comments() -> None:
    marks = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK)\b")
    wrong = [
        f"{source.path}:{number}"
        for source in packages()
        for number, line in enumerate(source.text.splitlines(), 1)
        if marks.search(line)
    ]
    assert not wrong, f"open an issue instead: {wrong}"
