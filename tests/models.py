"""Where tests find model files and reference data.

Models: the folder of `merlion model` ($MERLION_MODEL_DIR or models/).
"""

import os
from pathlib import Path

from merlion.cli.paths import ROOT, model_directory


def find_file(pattern: str) -> Path | None:
    """The first model file of that name, in the folder or below."""
    return next(iter(sorted(model_directory().rglob(pattern))), None)


def find_smollm2(kind: str) -> Path | None:
    """SmolLM2 in a format."""
    return find_file(f"*SmolLM2-135M*{kind}*.gguf")


def reference_directory() -> Path:
    """The reference data: `$MERLION_SHARED`, else shared/ beside or in the checkout."""
    chosen = os.environ.get("MERLION_SHARED")
    if chosen:
        return Path(chosen)
    inside = ROOT / "shared"
    return inside if inside.is_dir() else ROOT.parent / "shared"
