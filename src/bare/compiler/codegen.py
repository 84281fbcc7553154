"""LLVM IR text to optimised object code, in a child process, with an on-disk cache.

A child because LLVM ends the process when it cannot select an instruction (an intrinsic without its
CPU feature): that must become an error naming the function, not the end of the build. The child is
this file run as a program: IR on standard input, the result on standard output.

The cache is keyed by IR text, LLVM version and flags, which determine the object byte for byte.
Entries are written under another name and renamed, so concurrent builds never see half an object.

Base ISA: x86-64-v2. Functions for higher levels carry their own "target-features".
"""

import hashlib
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

type Mode = Literal["image", "jit"]

BASE_CPU = "x86-64-v2"
CACHE_FORMAT = 1  # Raise it when the pipeline changes what the same IR becomes.
OPTIMISATION = 3
TIMEOUT_S = 600
EXIT_REFUSED = 3  # The child found the IR malformed and said why on standard error.


class CodegenError(Exception):
    """LLVM refused the IR or died on it. The message names the function where LLVM did."""


@dataclass(frozen=True, slots=True)
class Target:
    """How one kind of output is generated."""

    triple: str
    reloc: str
    code_model: str
    jit: bool


TARGETS: dict[str, Target] = {
    # Linked below 2 GiB: absolute 32-bit addresses are the shortest code.
    "image": Target("x86_64-unknown-none-elf", "static", "small", False),
    # Loaded anywhere; symbols outside go through slots, so nothing has to be near.
    "jit": Target("x86_64-unknown-linux-gnu", "pic", "small", True),
}


def cache_directory() -> Path:
    """`$BARE_CACHE`, else below `$XDG_CACHE_HOME` or `~/.cache`."""
    chosen = os.environ.get("BARE_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "bare" / "objects"


def cache_key(ir: str, mode: Mode, output: str = "object") -> str:
    """What determines the bytes of the result."""
    version = importlib.metadata.version("llvmlite")
    flags = (CACHE_FORMAT, version, TARGETS[mode], BASE_CPU, OPTIMISATION, output)
    return hashlib.sha256(repr(flags).encode() + b"\0" + ir.encode()).hexdigest()


def compile_object(ir: str, mode: Mode, use_cache: bool = True) -> bytes:
    """The relocatable ELF object for `ir`."""
    return _cached(ir, mode, "object", use_cache)


def compile_objects(texts: Sequence[str], mode: Mode, use_cache: bool = True) -> list[bytes]:
    """The objects for several modules, generated in parallel; the largest is begun first."""
    if len(texts) == 1:
        return [compile_object(texts[0], mode, use_cache)]
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {i: pool.submit(compile_object, texts[i], mode, use_cache) for i in order}
        return [jobs[i].result() for i in range(len(texts))]


def compile_assembly(ir: str, mode: Mode) -> str:
    """The assembler text of `ir` after optimisation, for reading."""
    return _cached(ir, mode, "assembly", True).decode()


def optimise(ir: str, mode: Mode) -> str:
    """`ir` after optimisation, for reading."""
    return _cached(ir, mode, "ir", True).decode()


def read_object(key: str) -> bytes:
    """An object that was generated before, by its cache key. Raises OSError."""
    return (cache_directory() / f"{key}.object").read_bytes()


def _cached(ir: str, mode: Mode, output: str, use_cache: bool) -> bytes:
    path = cache_directory() / f"{cache_key(ir, mode, output)}.{output}"
    if use_cache:
        try:
            return path.read_bytes()
        except OSError:
            pass  # Not there, or not readable: generate it.
    result = _run_child(ir, mode, output)
    if use_cache:
        store(path, result)
    return result


def store(path: Path, data: bytes) -> None:
    """Write atomically. A cache that cannot be written costs time, not correctness."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    except OSError:
        return


def _run_child(ir: str, mode: Mode, output: str) -> bytes:
    done = _child(ir, mode, output)
    if done.returncode == 0:
        return done.stdout
    words = done.stderr.decode(errors="replace")
    if done.returncode == EXIT_REFUSED:
        raise CodegenError(explain(words, ir))
    # LLVM died without saying where. Once more, with it naming each function as it comes to it.
    traced = _child(ir, mode, f"{output}+trace").stderr.decode(errors="replace")
    named = re.findall(r"^define .*?@(\"[^\"]+\"|[\w.$-]+)\(", traced, re.MULTILINE)
    place = f"in {named[-1].strip(chr(34))}: " if named else ""
    errors = [line for line in words.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(errors) if "LLVM ERROR" in line), 0)
    text = "\n".join(errors[start : start + 12]) or f"status {done.returncode}"
    raise CodegenError(f"{place}{text}")


def _child(ir: str, mode: Mode, output: str) -> subprocess.CompletedProcess[bytes]:
    # By path, not by module name: the child must not import the rest of `bare`,
    # nor (-P) take its directory for a place of top-level modules.
    command = [sys.executable, "-P", "-B", str(Path(__file__).resolve()), mode, output]
    try:
        return subprocess.run(
            command, input=ir.encode(), capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CodegenError(f"code generation took more than {TIMEOUT_S} s") from None


def explain(words: str, ir: str) -> str:
    """What the parser, verifier or assembler said, with the line of IR it points at."""
    text = "\n".join([line for line in words.splitlines() if line.strip()][-12:])
    place = re.search(r"<string>:(\d+):(\d+)", text)
    if place:
        source = ir.splitlines()
        line = int(place.group(1))
        if 0 < line <= len(source):
            text += f"\n{line:>6} | {source[line - 1]}"
    return text


def generate(ir: str, mode: Mode, output: str) -> bytes:
    """Parse, verify, optimise and emit in this process. May end the process (see above)."""
    llvm = importlib.import_module("llvmlite.binding")  # Has no type information.
    output, _, trace = output.partition("+")
    if trace:
        llvm.set_option("bare", "-print-isel-input")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    chosen = TARGETS[mode]
    machine = llvm.Target.from_triple(chosen.triple).create_target_machine(
        cpu=BASE_CPU,
        opt=OPTIMISATION,
        reloc=chosen.reloc,
        codemodel=chosen.code_model,
        jit=chosen.jit,
    )
    if mode == "jit":
        # What is defined elsewhere may lie anywhere: reach it through a slot.
        ir = re.sub(r"(= external|^declare) dso_local\b", r"\1", ir, flags=re.MULTILINE)
    module = llvm.parse_assembly(ir)
    module.triple = chosen.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=OPTIMISATION)
    tuning.loop_vectorization = True
    tuning.slp_vectorization = True
    tuning.loop_unrolling = True
    tuning.loop_interleaving = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    if output == "ir":
        return str(module).encode()
    if output == "assembly":
        return str(machine.emit_assembly(module)).encode()
    return bytes(machine.emit_object(module))


def main(arguments: list[str]) -> int:
    """The child: `codegen.py MODE OUTPUT`, IR on standard input, the result on standard output."""
    mode: Mode = "image" if arguments[0] == "image" else "jit"
    ir = sys.stdin.buffer.read().decode()
    try:
        result = generate(ir, mode, arguments[1])
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    sys.stdout.buffer.write(result)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
