"""Where tests find model files: the folder of `merlion model` ($MERLION_MODEL_DIR or models/)."""

from pathlib import Path

from merlion.cli.paths import model_directory


def find_file(pattern: str) -> Path | None:
    """The first model file of that name, in the folder or below."""
    return next(iter(sorted(model_directory().rglob(pattern))), None)


def find_smollm2(kind: str) -> Path | None:
    """SmolLM2 in a format."""
    return find_file(f"*SmolLM2-135M*{kind}*.gguf")
