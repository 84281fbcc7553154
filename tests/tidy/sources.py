"""The Python files of the repository, parsed once."""

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """One file."""

    path: str  # From the root, with slashes.
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """`merlion.net.arp` for src/merlion/net/arp.py."""
        parts = list(Path(self.path).with_suffix("").parts[1:])
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tracked() -> tuple[str, ...]:
    """Files that are committed or will be; without git, the Python files of the source folders."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        names = done.stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        found = (path for top in ("src", "tests", "bench") for path in (ROOT / top).rglob("*.py"))
        names = [path.relative_to(ROOT).as_posix() for path in found]
    return tuple(sorted(name for name in names if name and (ROOT / name).is_file()))


@cache
def sources() -> tuple[Source, ...]:
    """All tracked Python files."""
    found = []
    for name in tracked():
        if name.endswith(".py"):
            text = (ROOT / name).read_text("utf-8")
            found.append(Source(name, text, ast.parse(text, name)))
    return tuple(found)


def packages() -> tuple[Source, ...]:
    """Those of src/."""
    return tuple(source for source in sources() if source.path.startswith("src/"))


def imported(source: Source) -> set[str]:
    """Modules named in import statements anywhere in the file, and `from x import y` as x.y."""
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{source.path}:{node.lineno}: imports are absolute"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found
