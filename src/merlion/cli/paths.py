"""Where things lie: the checkout, what was built, the models."""

import os
from pathlib import Path

from merlion.cli.catalog import CATALOG
from merlion.cli.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / "build"
IMAGE = BUILD / "merlion.elf"
DEBUG_IMAGE = BUILD / "merlion.debug.elf"


def model_directory() -> Path:
    """`$MERLION_MODEL_DIR`, else models/ of the checkout."""
    chosen = os.environ.get("MERLION_MODEL_DIR")
    return Path(chosen) if chosen else ROOT / "models"


def find_model(name: str) -> Path:
    """The file of MODEL: a path, a name that `model get` knows, or a file in the model folder."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    directory = model_directory()
    known = CATALOG.get(name)
    if known is not None:
        path = directory / known.file
        if path.is_file():
            return path
        raise UserError(f"the model {name} is not in {directory}", f"merlion model get {name}")
    for candidate in (directory / name, directory / f"{name}.gguf"):
        if candidate.is_file():
            return candidate
    names = ", ".join(CATALOG)
    raise UserError(f"no model {name}: no such file", f"give a GGUF file, or one of: {names}")
