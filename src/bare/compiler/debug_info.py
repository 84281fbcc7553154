"""DWARF by way of LLVM metadata: one compile unit, a subprogram a function, a location a line."""

from bare.compiler.diagnostics import Span
from bare.compiler.tree import Function


class DebugInfo:
    """Numbers and prints the debug metadata of a unit. Node 0 is the weight of a check."""

    def __init__(self) -> None:
        self.lines = [
            '!0 = !{!"branch_weights", i32 1048575, i32 1}',
            "!1 = distinct !DICompileUnit(language: DW_LANG_Python, file: !2, "
            'producer: "bare", isOptimized: true, runtimeVersion: 0, '
            "emissionKind: FullDebug, nameTableKind: None)",
            '!2 = !DIFile(filename: "unit", directory: "")',
            "!3 = !DISubroutineType(types: !4)",
            "!4 = !{null}",
            '!5 = !{i32 2, !"Debug Info Version", i32 3}',
            '!6 = !{i32 7, !"Dwarf Version", i32 5}',
        ]
        self.files: dict[str, int] = {}
        self.locations: dict[tuple[int, int, int], int] = {}

    def add(self, text: str) -> int:
        """Append a node and give its number."""
        number = len(self.lines)
        self.lines.append(f"!{number} = {text}")
        return number

    def file(self, name: str) -> int:
        """The node of a source file, without the path in front of the package."""
        if name not in self.files:
            shown = name.rpartition("/src/")[2] if "/src/" in name else name.rpartition("/")[2]
            self.files[name] = self.add(f'!DIFile(filename: "{shown}", directory: "")')
        return self.files[name]

    def subprogram(self, function: Function) -> int:
        """The node of a function."""
        file = self.file(function.span.file)
        line = function.span.line
        name = function.name.replace('"', "")
        return self.add(
            f'distinct !DISubprogram(name: "{name}", linkageName: "{name}", scope: !{file}, '
            f"file: !{file}, line: {line}, type: !3, scopeLine: {line}, "
            "spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !1)"
        )

    def location(self, span: Span, scope: int) -> str:
        """The suffix of an instruction."""
        key = (span.line, min(span.column, 65535), scope)
        if key not in self.locations:
            self.locations[key] = self.add(
                f"!DILocation(line: {key[0]}, column: {key[1]}, scope: !{scope})"
            )
        return f", !dbg !{self.locations[key]}"

    def text(self) -> str:
        """All metadata."""
        return "\n".join(["!llvm.dbg.cu = !{!1}", "!llvm.module.flags = !{!5, !6}", *self.lines])
