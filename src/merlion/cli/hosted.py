"""`merlion generate`, `perplexity`, `tokenize` and `serve`: the engine in this process."""

import json as json_module
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from merlion.cli.errors import UserError
from merlion.cli.paths import find_model
from merlion.cli.terminal import bytes_progress, note, notes, out, print_json
from merlion.engine.limits import SEQUENCE_COUNT_MAX
from merlion.serve.limits import MODEL_NAME_BYTES_MAX

if TYPE_CHECKING:
    from merlion.hosted.code import Code
    from merlion.hosted.memory import Progress
    from merlion.hosted.model import Model, Settings

ModelArgument = Annotated[
    str, typer.Argument(help="A GGUF file, or a name `merlion model get` knows.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="0: one for each core of the machine.")
]
PriorityOption = Annotated[
    int,
    typer.Option(
        "--prio",
        min=-1,
        max=3,
        help="-1 low, 0 as it is, 1 medium, 2 high, 3 realtime (all cores).",
    ),
]
CONTEXT_SERVED = 4096
SEQUENCES_SERVED = 4
TOKENS_MAX = 1 << 20


def compile_code() -> "Code":
    """The compiled engine and server."""
    from bare.compiler.codegen import CodegenError
    from bare.compiler.diagnostics import CompileError
    from bare.compiler.elf import LinkError
    from merlion.hosted.code import Code

    with notes.status("compiling the engine"):
        try:
            return Code()
        except (CompileError, CodegenError, LinkError) as error:
            raise UserError(f"the engine does not compile: {error}", "merlion check") from error


@contextmanager
def loading_progress(name: str) -> "Iterator[Progress]":
    """A progress bar for the reading of a model file."""
    with bytes_progress() as progress:
        task = progress.add_task(f"reading {name}", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def prioritise(prio: int, threads: int) -> None:
    """Set the priority of all that is done from now on."""
    from merlion.hosted.priority import Priority, apply
    from merlion.hosted.threads import default_threads

    apply(Priority(prio), threads or default_threads())


def load_model(name: str, settings: "Settings", prio: int = 0) -> "Model":
    """Find, read and prepare a model."""
    from merlion.hosted.model import Model

    path = find_model(name)
    code = compile_code()
    prioritise(prio, settings.threads)
    with loading_progress(path.name) as progress:
        return Model(code, path, settings, progress)


def generate(
    model: ModelArgument,
    prompt: Annotated[str, typer.Option("--prompt", help="The text to go on from.")],
    tokens: Annotated[int, typer.Option("--tokens", min=1, max=TOKENS_MAX)] = 64,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0)] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random numbers.")] = 0,
    threads: ThreadsOption = 0,
    json: JsonOption = False,
) -> None:
    """Write on from a prompt. Special tokens in the prompt count as such."""
    from merlion.engine.params import GenerateParams
    from merlion.hosted.model import Settings

    # The prompt is not tokenised yet: it has at most a token a byte.
    context = len(prompt.encode("utf-8", "surrogateescape")) + tokens + 2
    lower = "lower --tokens, or shorten the prompt"
    with load_model(model, Settings(context=context, threads=threads, lower=lower)) as loaded:
        ids = loaded.encode(prompt, parse_special=True, prompt=True)
        params = GenerateParams(max_tokens=tokens, temperature=temperature, seed=seed)
        answer = loaded.generate(ids, params)
        for piece in answer:
            if not json:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
    text = answer.text.decode(errors="replace")
    if json:
        print_json({"prompt_ids": ids, "ids": answer.ids, "text": text})
        return
    print()
    decode_seconds = answer.seconds - answer.first_token_seconds
    rate = (len(answer.ids) - 1) / decode_seconds if decode_seconds > 0 else 0.0
    note(
        f"[{len(answer.ids)} tokens in {answer.seconds:.2f} s | first after "
        f"{answer.first_token_seconds:.2f} s | {rate:.1f} tok/s | {loaded.threads} threads]"
    )


def perplexity(
    model: ModelArgument,
    text: Annotated[Path | None, typer.Option("--text", help="A UTF-8 text file.")] = None,
    ids: Annotated[
        Path | None, typer.Option("--ids", help="A JSON list of token ids, scored as given.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="Likeliest tokens to report.")] = 0,
    threads: ThreadsOption = 0,
    json: JsonOption = False,
) -> None:
    """Score a text: the mean loss of its tokens, given those before them."""
    if (text is None) == (ids is None):
        raise UserError("give --text FILE or --ids FILE", "one of the two")
    content = read_text(text) if text is not None else ""
    given = read_ids(ids) if ids is not None else []
    from merlion.hosted.model import Settings

    context = max(len(content.encode()), len(given)) + 2
    with load_model(model, Settings(context=context, threads=threads)) as loaded:
        tokens = given if ids is not None else loaded.encode(content, False, prompt=True)
        vocabulary = int(loaded.engine.team.llama.model.vocabulary)
        if any(token >= vocabulary for token in tokens):
            raise UserError(f"{ids}: a token id is not below {vocabulary}", "mend the file")
        score = loaded.score(tokens, top)
    mean = sum(score.nll) / len(score.nll)
    if json:
        report: dict[str, Any] = {"ids": tokens, "nll": score.nll, "ppl": math.exp(mean)}
        if top:
            report["top"] = score.top
        print_json(report)
        return
    out.print(f"perplexity {math.exp(mean):.4f}, mean loss {mean:.5f}, {len(tokens)} tokens")


def read_text(path: Path) -> str:
    """A text file."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error


def read_json(path: Path) -> Any:
    """A JSON file."""
    try:
        return json_module.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def read_ids(path: Path) -> list[int]:
    """A JSON list of token ids."""
    found = read_json(path)
    if not isinstance(found, list) or not all(
        isinstance(token, int) and 0 <= token < 1 << 32 for token in found
    ):
        raise UserError(f"{path} is not a list of token ids", "for example [504, 19890, 3102]")
    return found


def tokenize(
    model: ModelArgument,
    text: Annotated[str | None, typer.Option("--text", help="One text.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A JSON file: a list of texts.")
    ] = None,
    parse_special: Annotated[
        bool, typer.Option("--parse-special", help="Special tokens in the text count as such.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Print the token ids of a text (JSON: a list), or of each of several (a list of lists)."""
    if (text is None) == (file is None):
        raise UserError("give --text TEXT or --file FILE", "one of the two")
    texts = [text] if text is not None else read_json(file) if file is not None else []
    if not isinstance(texts, list) or not all(isinstance(item, str) for item in texts):
        raise UserError(f"{file} is not a list of strings", 'for example ["one", "two"]')
    from merlion.hosted.model import Settings

    with load_model(model, Settings(context=16, threads=1)) as loaded:
        found = [loaded.encode(item, parse_special) for item in texts]
    if json:
        print_json(found[0] if text is not None else found)
        return
    for ids in found:
        out.print(" ".join(str(token) for token in ids))


def serve(
    model: ModelArgument,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free.")] = 8080,
    threads: ThreadsOption = 0,
    ctx_size: Annotated[
        int, typer.Option("--ctx-size", min=16, help="Tokens of one conversation.")
    ] = CONTEXT_SERVED,
    parallel: Annotated[
        int,
        typer.Option(
            "--parallel",
            "-np",
            min=1,
            max=SEQUENCE_COUNT_MAX,
            help="Answers computed together; each has room for --ctx-size tokens.",
        ),
    ] = SEQUENCES_SERVED,
    prio: PriorityOption = 0,
    alias: Annotated[
        str, typer.Option("--alias", help="The model's id in the API; else the file's own name.")
    ] = "",
    api_key: Annotated[
        str,
        typer.Option(
            "--api-key", envvar="MERLION_API_KEY", help="Clients must send it. Empty: anybody may."
        ),
    ] = "",
) -> None:
    """Serve the OpenAI API from this process. Ctrl-C ends it."""
    if len(alias.encode("utf-8", "surrogateescape")) > MODEL_NAME_BYTES_MAX:
        raise UserError("--alias: too long", f"at most {MODEL_NAME_BYTES_MAX} bytes")
    path = find_model(model)
    code = compile_code()
    prioritise(prio, threads)
    from merlion.hosted.code import level
    from merlion.hosted.main import Application
    from merlion.hosted.model import Settings

    settings = Settings(
        context=ctx_size,
        sequences=parallel,
        threads=threads,
        lower="lower --ctx-size or --parallel",
    )

    def ready(loaded: "Model", refused: str) -> None:
        if refused:
            note(f"chat is off: {refused}")
        note(
            f"ready: {path.name}, {loaded.threads} threads, {level()}, context {loaded.context}, "
            f"read in {loaded.read_seconds:.2f} s, prepared in {loaded.prepare_seconds:.2f} s"
        )

    application = Application(code, path, host, port, settings, api_key.encode(), alias.encode())
    where = application.sockets.address
    note(f"listening on http://{where[0]}:{where[1]}/v1")
    with loading_progress(path.name) as progress:
        application.progress = progress
        application.run(ready)
    note("stopped")
