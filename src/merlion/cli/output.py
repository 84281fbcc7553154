"""Writing a file as a whole: it appears under its name when it is complete, or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from merlion.cli.errors import UserError

FIX = "give another file to -o"


@contextmanager
def written_whole(output: Path) -> Iterator[Path]:
    """A file beside `output` to write, renamed at the end. Raises UserError where that fails."""
    if output.is_dir():
        raise UserError(f"{output} is a directory", FIX)
    part = output.with_name(output.name + ".part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}", FIX) from error
