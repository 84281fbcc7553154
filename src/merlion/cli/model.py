"""`merlion model`: get, info, convert, synth."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from merlion.cli.catalog import CATALOG
from merlion.cli.errors import UserError
from merlion.cli.paths import find_model, model_directory
from merlion.cli.terminal import note, out, print_json

app = typer.Typer(help="Get, look at and convert model files.", no_args_is_help=True)

MEBIBYTE = 1 << 20


@app.command()
def get(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(CATALOG)}.")],
) -> None:
    """Download a model. The last line printed is the file's path."""
    from merlion.cli.fetch import fetch

    model = CATALOG.get(name)
    if model is None:
        raise UserError(f"no model is called {name}", f"known: {', '.join(CATALOG)}")
    print(fetch(model, model_directory()))


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="A GGUF file or a known name.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a model file holds."""
    from merlion.cli.quantise import describe

    path = find_model(model)
    found = describe(path)
    if json:
        print_json(found)
        return
    out.print(f"{path}: GGUF v{found['version']}, {found['size'] / MEBIBYTE:.1f} MiB")
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in found["metadata"].items():
        shown = value if isinstance(value, str) else repr(value)
        table.add_row(key, shown.replace("\n", "\\n")[:100])
    out.print(table)
    for kind, count in found["types"].items():
        out.print(f"{count} tensors {kind}")
    out.print(f"{found['parameters'] / 1e6:.1f} M parameters")
    if tensors:
        table = Table("tensor", "shape", "type", box=None, pad_edge=False)
        for tensor in found["tensors"]:
            table.add_row(tensor["name"], str(tensor["shape"]), tensor["type"])
        out.print(table)


@app.command()
def convert(
    model: Annotated[str, typer.Argument(help="A GGUF file or a known name.")],
    to: Annotated[str, typer.Option("--to", help="q4_0, q8_0 or f16.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
) -> None:
    """Requantise a model, as llama-quantize does. The last line printed is the file's path."""
    from merlion.cli.quantise import TARGETS
    from merlion.cli.quantise import convert as requantise

    if to not in TARGETS:
        raise UserError(f"--to {to}: no such type", f"one of: {', '.join(TARGETS)}")
    source = find_model(model)
    if output.exists() and output.samefile(source):
        raise UserError(f"{output} is the model itself", "give another file to -o")
    summary = requantise(source, to, output)
    note(
        f"{summary.changed} of {summary.tensors} tensors converted, "
        f"{summary.size / MEBIBYTE:.1f} MiB"
    )
    print(summary.path)


@app.command()
def synth(
    shape: Annotated[str, typer.Option("--shape", help="tiny, 135m, 1b, 3b or 8b.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    type: Annotated[str, typer.Option("--type", help="q4_0, q8_0, f16 or f32.")] = "q4_0",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random weights.")] = 0,
) -> None:
    """Write a Llama with random weights, to time a shape. The last line printed is its path."""
    from merlion.cli.synth import SHAPES, TYPES, synthesise

    if shape not in SHAPES:
        raise UserError(f"--shape {shape}: no such shape", f"one of: {', '.join(SHAPES)}")
    if type not in TYPES:
        raise UserError(f"--type {type}: no such type", f"one of: {', '.join(TYPES)}")
    synthesise(SHAPES[shape], shape, type, seed, output)
    print(output)
