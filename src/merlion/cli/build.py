"""`merlion build`: the image that boots, and the same with symbols for debuggers.

Nothing is done when no source changed: the digest of all sources and of LLVM's version is kept
beside the image. Objects are cached by the compiler as well, so going back to an earlier state is
quick too.

`--stack` reads the deepest stack off the assembler text, which takes as long as making the code.
What it found is kept beside the image and shown until a source changes.
"""

import hashlib
import importlib.metadata
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Annotated

import typer

from merlion.cli.errors import UserError
from merlion.cli.paths import BUILD, DEBUG_IMAGE, IMAGE, ROOT
from merlion.cli.terminal import note, notes

if TYPE_CHECKING:
    from bare.compiler.unit import Unit

STAMP = BUILD / "merlion.stamp"
STACK = BUILD / "merlion.stack"
TRAP_HANDLER = "bare_trap"
# main.py is the program; pvh.py is what enters it, found by its symbol.
KERNEL_MODULES = ("merlion.kernel.boot.pvh", "merlion.kernel.main")
KIBIBYTE = 1 << 10


def build(
    force: Annotated[bool, typer.Option("--force", help="Even when nothing changed.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what fails.")] = False,
    stack: Annotated[bool, typer.Option("--stack", help="Find the deepest stack.")] = False,
) -> None:
    """Compile the image: build/merlion.elf, and build/merlion.debug.elf for gdb."""
    start = time.monotonic()
    made = build_image(force)
    seconds = time.monotonic() - start
    if not quiet:
        state = f"built in {seconds:.1f} s" if made else "up to date"
        note(f"{IMAGE.relative_to(ROOT)}: {IMAGE.stat().st_size / KIBIBYTE:.0f} KiB, {state}")
    deepest = deepest_stack(stack)
    if deepest and not quiet:
        note(deepest)


def build_image(force: bool = False) -> bool:
    """Build if anything changed. Returns whether it did. Raises UserError with all diagnostics."""
    digest = source_digest()
    if not force and IMAGE.exists() and DEBUG_IMAGE.exists() and STAMP.exists():
        if STAMP.read_text() == digest:
            return False
    with notes.status("compiling the image"):
        stripped, debug = compile_image()
    BUILD.mkdir(exist_ok=True)
    for path, data in ((IMAGE, stripped), (DEBUG_IMAGE, debug)):
        part = path.with_suffix(".part")
        part.write_bytes(data)
        part.replace(path)
    STAMP.write_text(digest)
    return True


def source_digest() -> str:
    """What determines the image: every source file, and LLVM."""
    digest = hashlib.sha256(importlib.metadata.version("llvmlite").encode())
    digest.update(sys.version.encode())
    sources = ROOT / "src"
    for path in sorted([*sources.glob("bare/**/*.py"), *sources.glob("merlion/**/*.py")]):
        relative = path.relative_to(sources)
        if relative.parts[:2] in (("merlion", "cli"), ("merlion", "hosted")):
            if relative != Path("merlion/cli/build.py"):
                continue
        digest.update(f"{relative}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest() + "\n"


def deepest_stack(measure: bool) -> str:
    """The deepest stack of the image that was built, in words; "" when it was not measured."""
    digest = STAMP.read_text()
    if STACK.exists():
        known, _, words = STACK.read_text().partition("\n")
        if known + "\n" == digest:
            return words
    if not measure:
        return ""
    with notes.status("finding the deepest stack"):
        words = measure_stack()
    STACK.write_text(digest + words)
    return words


def measure_stack() -> str:
    """The deepest calls of a core and, below them, a trap's report."""
    from bare.compiler.codegen import compile_assembly
    from bare.compiler.stack_use import depths
    from merlion.kernel.limits import STACK_BYTES

    shards = image_unit().shards.values()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = list(pool.map(lambda text: compile_assembly(text, "image"), shards))
    found = depths(texts, TRAP_HANDLER)
    report = found.pop(TRAP_HANDLER).size
    deepest = max(found.values(), key=lambda depth: depth.size)
    calls = " > ".join(name.removeprefix("merlion.") for name in deepest.path)
    return (
        f"deepest stack: {deepest.size:,} bytes, and {report:,} for a trap's report, "
        f"of {STACK_BYTES:,}\n{calls}"
    )


def image_unit() -> "Unit":
    """The whole kernel as LLVM IR."""
    from bare import unsafe
    from bare.compiler.diagnostics import CompileError
    from bare.compiler.unit import compile_unit

    for name in KERNEL_MODULES:
        importlib.import_module(name)
    try:
        return compile_unit(exports(), "image", "\n".join(unsafe.module_asm_blocks))
    except CompileError as error:
        raise UserError(f"the kernel does not compile\n{error}") from error


def compile_image() -> tuple[bytes, bytes]:
    """The stripped image and the one with symbols."""
    from bare.compiler.codegen import CodegenError
    from bare.compiler.elf import LinkError
    from bare.compiler.link import build_image as link_image

    try:
        image = link_image(image_unit())
    except (CodegenError, LinkError) as error:
        raise UserError(f"the kernel does not compile: {error}") from error
    return image.stripped, image.debug


def exports() -> list[FunctionType]:
    """Functions that assembly calls: the roots of the program."""
    found: dict[FunctionType, None] = {}
    for name, module in sorted(sys.modules.items()):
        if not name.startswith("merlion."):
            continue
        for value in vars(module).values():
            if isinstance(value, FunctionType) and hasattr(value, "__bare_export__"):
                found[value] = None
    return list(found)
