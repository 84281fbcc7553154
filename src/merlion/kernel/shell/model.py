"""Shell commands about the model: ai, ai-load, ai-unload, ai-info."""

from bare import Bytes
from merlion.kernel import counters
from merlion.kernel.console import console
from merlion.kernel.inference import engine, scheduler
from merlion.kernel.model import model
from merlion.kernel.shell.generation import generation
from merlion.kernel.shell.refuse import refuse


def ask(arguments: Bytes) -> bool:
    """Answer a text."""
    if len(arguments) == 0:
        return refuse(b"usage: ai TEXT")
    return generation.ask(arguments)


def load(arguments: Bytes) -> bool:
    """Load the model on the disk."""
    return model.load()


def unload(arguments: Bytes) -> bool:
    """Forget the model and give its memory back."""
    if not model.loaded:
        return refuse(b"no model is loaded")
    if scheduler.has_work():
        return refuse(b"requests are being answered: ai-stop first, or wait")
    model.unload()
    console.line(b"unloaded")
    return True


def show_info(arguments: Bytes) -> bool:
    """Show what the model is and what it takes."""
    if not model.loaded:
        return refuse(b"no model is loaded")
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
    return True
