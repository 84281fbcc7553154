"""Shell commands about the model: ai, ai-load, ai-unload, ai-info."""

from bare import Bytes
from merlion.kernel import counters
from merlion.kernel.console import console
from merlion.kernel.inference import engine, scheduler
from merlion.kernel.model import model
from merlion.kernel.shell.generation import generation


def ask(arguments: Bytes) -> None:
    """Answer a text."""
    if len(arguments) == 0:
        console.line(b"usage: ai TEXT")
        return
    generation.ask(arguments)


def load(arguments: Bytes) -> None:
    """Load the model on the disk."""
    model.load()


def unload(arguments: Bytes) -> None:
    """Forget the model and give its memory back."""
    if not model.loaded:
        console.line(b"no model is loaded")
        return
    if scheduler.has_work():
        console.line(b"requests are being answered: ai-stop first, or wait")
        return
    model.unload()
    console.line(b"unloaded")


def show_info(arguments: Bytes) -> None:
    """Show what the model is and what it takes."""
    if not model.loaded:
        console.line(b"no model is loaded")
        return
    out = console.out
    out.text(b"layers ")
    out.unsigned(len(engine.team.llama.model.layers))
    out.text(b", vocabulary ")
    out.unsigned(engine.team.llama.model.vocabulary)
    out.text(b", context ")
    out.unsigned(engine.context)
    out.text(b", sequences ")
    out.unsigned(engine.sequences)
    console.line(b"")
    model.report()
    out.text(b"since boot: page faults ")
    out.unsigned(counters.page_faults())
    out.text(b", interrupts ")
    out.unsigned(counters.interrupts())
    out.text(b"; allocated since the load: ")
    out.unsigned(counters.allocated_bytes())
    console.line(b" bytes")
