"""`merlion check` and `merlion test`: what must hold before a change is kept."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from merlion.cli.errors import UserError
from merlion.cli.paths import ROOT
from merlion.cli.terminal import note

QUICK = "not slow and not model and (not qemu or quick)"
# A file's tests share what they compile, so they stay in one process.
PARALLEL = ("-n", "auto", "--dist", "loadfile")


def run_tool(name: str, command: list[str]) -> bool:
    """Run one tool, showing what it prints. Returns whether it was content."""
    start = time.monotonic()
    sys.stdout.flush()
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    verdict = "ok" if status == 0 else f"failed with status {status}"
    note(f"{name}: {verdict} ({time.monotonic() - start:.1f} s)")
    return status == 0


def python_tool(name: str) -> str:
    """A console script of this environment."""
    return str(Path(sys.executable).parent / name)


def check() -> None:
    """Format, types, the subset, quick tests: under two minutes."""
    python = sys.executable
    results = [
        run_tool("ruff check", [python_tool("ruff"), "check", "--quiet", "."]),
        run_tool("ruff format", [python_tool("ruff"), "format", "--check", "--quiet", "."]),
        run_tool("mypy", [python_tool("mypy"), "--no-error-summary"]),
        run_tool("image", [python, "-m", "merlion.cli", "build"]),
        run_tool("tests", [python, "-m", "pytest", "-m", QUICK, *PARALLEL]),
    ]
    if not all(results):
        raise UserError("the check failed", "see above; `ruff format` mends the format")


def run_tests(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Passed on to pytest, after `--`.")
    ] = None,
) -> None:
    """Every test, booting the image in QEMU included. Ends with pytest's summary."""
    command = [sys.executable, "-m", "pytest", *(arguments or [])]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    raise typer.Exit(status)
