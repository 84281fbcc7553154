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


def compile_assembly(ir: str, mode: Mode) -> str:
    """The assembler text of `ir` after optimisation, for reading."""
    return _cached(ir, mode, "assembly", True).decode()


def optimise(ir: str, mode: Mode) -> str:
    """`ir` after optimisation, for reading."""
    return _cached(ir, mode, "ir", True).decode()


def _cached(ir: str, mode: Mode, output: str, use_cache: bool) -> bytes:
    path = cache_directory() / f"{cache_key(ir, mode, output)}.{output}"
    if use_cache:
        try:
            return path.read_bytes()
        except OSError:
            pass  # Not there, or not readable: generate it.
    result = _run_child(ir, mode, output)
    if use_cache:
        _store(path, result)
    return result


def _store(path: Path, data: bytes) -> None:
    """Write atomically. A cache that cannot be written costs time, not correctness."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    except OSError:
        return


def _run_child(ir: str, mode: Mode, output: str) -> bytes:
    # By path, not by module name: the child must not import the rest of `bare`,
    # nor (-P) take its directory for a place of top-level modules.
    command = [sys.executable, "-P", "-B", str(Path(__file__).resolve()), mode, output]
    try:
        done = subprocess.run(
            command, input=ir.encode(), capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CodegenError(f"code generation took more than {TIMEOUT_S} s") from None
    if done.returncode == 0:
        return done.stdout
    raise CodegenError(explain(done.stderr.decode(errors="replace"), done.returncode, ir))


def explain(stderr: str, returncode: int, ir: str) -> str:
    """A message for the child's failure: LLVM's words, the function, the line of IR."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    # The useful part of an abort is from "LLVM ERROR" up to the stack dump.
    start = next((i for i, line in enumerate(lines) if "LLVM ERROR" in line), 0)
    end = next((i for i, line in enumerate(lines) if line.startswith("PLEASE submit")), len(lines))
    words = lines[start:end] or lines or [f"code generation ended with status {returncode}"]
    text = "\n".join(words[-12:] if returncode == EXIT_REFUSED else words[:12])
    function = re.search(r"In function: (\S+)|on function '@?([^']+)'", stderr)
    if function and returncode != EXIT_REFUSED:
        text = f"in {function.group(1) or function.group(2)}: {text}"
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
