"""The `bare` command: check modules, look at what the compiler makes of a function.

    bare check [--stack] FILES...
    bare dump --stage {typed,llvm,asm} file.py:function

`check` compiles every public function of the files with all it calls and prints every error; it
exits with 1 when there was one. `dump` prints one function of one stage; `file.py:Class.method`
names a method. `check --stack` also generates machine code and prints the deepest stack of each
entry. Images are built by `merlion build`.
"""

import argparse
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from bare.compiler.codegen import CodegenError, compile_assembly, optimise
from bare.compiler.diagnostics import CompileError, Diagnostic, render_all
from bare.compiler.elf import LinkError
from bare.compiler.entries import Found, import_path, module_entries
from bare.compiler.show import show_function
from bare.compiler.stack_use import depths, without_red_zone

STAGES = ("typed", "llvm", "asm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="bare", description="Compile typed Python.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="report every error of the modules")
    check.add_argument("--stack", action="store_true", help="print the deepest stack of each entry")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    dump = commands.add_parser("dump", help="print a function as a stage of the compiler sees it")
    dump.add_argument("--stage", choices=STAGES, default="llvm")
    dump.add_argument("target", metavar="FILE:FUNCTION")
    options = parser.parse_args(arguments)
    if options.command == "check":
        status = check_files(options.files)
        if options.stack and status == 0:
            print("\n".join(line for file in options.files for line in stack_lines(file)))
        return status
    try:
        print(dump_function(options.target, options.stage))
    except (CompileError, CodegenError, LinkError, LookupError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def check_files(files: Sequence[Path]) -> int:
    """Check each file as a unit of its own; print all errors, each once."""
    found: dict[Diagnostic, None] = {}
    for file in files:
        try:
            check_module(import_path(file))
        except CompileError as error:
            found.update(dict.fromkeys(error.diagnostics))
        except Exception as error:  # The module itself failed while it was imported.
            found[import_failure(file, error)] = None
    if found:
        print(render_all(found), file=sys.stderr)
        return 1
    print(f"{len(files)} file{'s' * (len(files) != 1)} checked, no errors")
    return 0


def check_module(module: ModuleType) -> None:
    """Raise `CompileError` with everything that is wrong in what `module` offers."""
    from bare.compiler.unit import compile_unit

    entries = [item.function for item in module_entries(module)]
    if entries:
        compile_unit(entries, "jit")


def stack_lines(file: Path) -> list[str]:
    """The deepest stack of each entry of a module, with the calls on the way down."""
    from bare.compiler.unit import compile_unit

    entries = [item.function for item in module_entries(import_path(file))]
    if not entries:
        return []
    unit = compile_unit(entries, "jit")
    texts = [without_red_zone(ir) for ir in unit.shards.values()]
    found = depths(compile_assembly(text, "jit") for text in texts)
    lines = []
    for source, entry in unit.entries.items():
        depth = found[entry.symbol]
        path = " > ".join(step for step in depth.path[1:])
        lines.append(f"{depth.size:>8} bytes  {source.__module__}.{source.__qualname__}  {path}")
    return sorted(lines, reverse=True)


def import_failure(file: Path, error: Exception) -> Diagnostic:
    """An exception at import as a diagnostic at the innermost line of `file`."""
    line = 1
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).resolve() == file.resolve() and frame.lineno:
            line = frame.lineno
    message = f"the module cannot be imported: {type(error).__name__}: {error}"
    return Diagnostic("import", message, str(file), line)


def dump_function(target: str, stage: str) -> str:
    """The text of one function at one stage."""
    from bare.compiler.unit import compile_unit

    file, _, name = target.rpartition(":")
    if not file:
        raise LookupError(f"{target}: write FILE:FUNCTION")
    found = find_entry(import_path(Path(file)), name)
    unit = compile_unit([found.function], "jit", split=False)
    full = f"{found.function.__module__}.{found.function.__qualname__}"
    if stage == "typed":
        return "\n".join(show_function(f) for f in unit.functions if f.name.startswith(full))
    if stage == "llvm":
        return llvm_function(optimise(unit.ir, "jit"), full)
    return assembly_function(compile_assembly(unit.ir, "jit"), full)


def find_entry(module: ModuleType, name: str) -> Found:
    """The entry called `name` (`function` or `Class.method`)."""
    entries = {item.function.__qualname__: item for item in module_entries(module)}
    if name not in entries:
        raise LookupError(f"{module.__name__} has no function {name}; it has {', '.join(entries)}")
    return entries[name]


def llvm_function(ir: str, name: str) -> str:
    """The definitions in `ir` whose symbol mentions `name`; all of it when none does."""
    bodies = re.findall(r"^define [^\n]*\{\n.*?^\}\n", ir, re.MULTILINE | re.DOTALL)
    chosen = [body for body in bodies if name in body.split("\n", 1)[0]]
    return "\n".join(chosen) or ir


def assembly_function(text: str, name: str) -> str:
    """The functions in assembler `text` whose symbol mentions `name`; all when none does."""
    chosen, keep = [], False
    for line in text.splitlines():
        label = re.match(r'^("[^"]+"|[\w.$@\[\],-]+):', line)
        if label and not line.startswith((".L", '".L')):
            keep = name in label.group(1)
        if line.startswith("\t.size"):
            keep = False
        noise = re.match(r"^(\.Ltmp|\.Lfunc|\t\.(loc|cfi|p2align|type|globl))", line)
        if keep and not noise:
            chosen.append(line)
    return "\n".join(chosen) or text


if __name__ == "__main__":
    sys.exit(main())
