"""The `merlion` command: one file a sub-command, imported when it is called."""

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer

from merlion.cli import bench, build, check, hosted, model, run
from merlion.cli.errors import UserError
from merlion.cli.terminal import notes
from merlion.hosted.errors import HostedError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"merlion {version('merlionos-inference')}")
        raise typer.Exit


@app.callback()
def options(
    show: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """MerlionOS Inference: boot it, serve with it, build it."""


app.command()(run.run)
app.command()(hosted.serve)
app.command()(hosted.generate)
app.command()(hosted.perplexity)
app.command()(hosted.tokenize)
app.command()(bench.bench)
app.add_typer(model.app, name="model")
app.command()(build.build)
app.command()(check.check)
app.command("test")(check.run_tests)


def main() -> Any:
    """Run the command line. Failures of the user's or the machine's end in two lines."""
    try:
        return app()
    except (UserError, HostedError) as error:
        notes.print(f"error: {error.what}", style="bold red", markup=False)
        if error.fix:
            notes.print(f"  help: {error.fix}", markup=False)
    except KeyboardInterrupt:
        notes.print("interrupted", markup=False)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    sys.exit(1)


if __name__ == "__main__":
    main()
