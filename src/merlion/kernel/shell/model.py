"""Shell commands about the model: ai, ai-load, ai-unload, ai-info, ai-bench."""

from bare import Bytes, u32
from merlion.kernel.config import parse_number
from merlion.kernel.console import console
from merlion.kernel.inference import engine, scheduler
from merlion.kernel.limits import BENCH_TOKENS
from merlion.kernel.model import model
from merlion.kernel.shell.generation import generation

MEBIBYTE = 1 << 20
BENCH_TOKENS_MAX = 4096


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


def bench(arguments: Bytes) -> None:
    """Time the generation of some tokens."""
    count: u32 = BENCH_TOKENS
    number = parse_number(arguments)
    if number is not None and 0 < number <= BENCH_TOKENS_MAX:
        count = u32(number)
    generation.bench(count)
