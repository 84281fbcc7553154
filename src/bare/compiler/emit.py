"""Prints one checked function as LLVM IR: statements, storage of variables, the signature."""

from typing import Any

from bare.compiler import types as ty
from bare.compiler.emit_vectors import VectorEmitter
from bare.compiler.llvm import stored, value
from bare.compiler.tree import Function, LoopLabels, Node


class FunctionEmitter(VectorEmitter):
    """Statements of one function."""

    def __init__(self, unit: Any, function: Function) -> None:
        super().__init__(unit, function)
        self.labels: dict[LoopLabels, tuple[str, str]] = {}  # break, continue targets.
        self.ended = False

    def text(self) -> str:
        """The whole definition."""
        function = self.function
        self.scope = self.unit.debug.subprogram(function)
        self.locate(function.span)
        for local in function.locals or function.parameters:
            slot = f"%v{local.index}"
            self.slots[local] = slot
            self.allocas.append(f"  {slot} = alloca {stored(local.type, self.level)}")
        for local in function.parameters:
            kind = stored(local.type, self.level)
            self.line(f"store {kind} %p{local.index}, ptr {self.slots[local]}")
        if function.dispatch:
            self.dispatch()
        else:
            self.statements(function.body)
            if not self.ended:
                self.line("unreachable")
        body = "\n".join(["entry:", *self.allocas, *self.lines])
        return f"{self.header()} {{\n{body}\n}}\n"

    def header(self) -> str:
        """The `define` line."""
        function = self.function
        parameters = ", ".join(
            f"{stored(p.type, self.level)} %p{p.index}" for p in function.parameters
        )
        linkage = "" if function.export else "internal "
        group = self.unit.attribute_group(function)
        inline = " alwaysinline" if self.passes_vectors() else ""
        return (
            f"define {linkage}{stored(function.result, self.level)} "
            f'@"{function.symbol}"({parameters}){inline} #{group} !dbg !{self.scope}'
        )

    def passes_vectors(self) -> bool:
        """Vectors in the signature: the function becomes part of its caller."""
        kinds = [p.type for p in self.function.parameters] + [self.function.result]
        return any(isinstance(t, (ty.VecType, ty.MaskType)) for t in kinds)

    def dispatch(self) -> None:
        """Call the instance of the machine's level."""
        level = self.let(f"load i8, ptr {self.unit.level_place()}")
        targets = {target: self.label() for target in self.function.dispatch}
        names = [targets[target] for target in self.function.dispatch]
        arms = " ".join(f"i8 {i}, label %{n}" for i, n in enumerate(names))
        self.line(f"switch i8 {level}, label %{names[0]} [ {arms} ]")
        kind = stored(self.function.result)
        words = ", ".join(f"{stored(p.type)} %p{p.index}" for p in self.function.parameters)
        for target, name in targets.items():
            self.start(name)
            call = f'call {kind} @"{target.symbol}"({words})'
            if kind == "void":
                self.line(call)
                self.line("ret void")
            else:
                self.line(f"ret {kind} {self.let(call)}")

    # -- statements ------------------------------------------------------------------------------

    def statements(self, body: list[Node]) -> None:
        """Print statements in order; nothing follows a jump."""
        for node in body:
            if self.ended:
                return
            self.locate(node.span)
            getattr(self, "_" + node.op)(node)

    def _assign(self, node: Node) -> None:
        local = node.data
        operand = self.to_stored(self.value_of(node.args[0]), local.type)
        self.line(f"store {stored(local.type, self.level)} {operand}, ptr {self.slots[local]}")

    def _store(self, node: Node) -> None:
        t, align = node.data
        operand = self.value_of(node.args[1])  # Python computes the value before the place.
        address = self.value_of(node.args[0])
        suffix = f", align {align}" if align else ""
        if isinstance(t, ty.BigEndianType):
            word = self.to_stored(operand, t.base)
            kind = stored(t)
            if t.base.bits > 8:
                word = self.let(f"call {kind} @llvm.bswap.{kind}({kind} {word})")
        elif ty.is_float(t) and t.bits == 16:
            kind = stored(t)
            word = self.narrow(operand, t)
        else:
            word = self.to_stored(operand, ty.value_type(t))
            kind = stored(t, self.level)
        self.line(f"store {kind} {word}, ptr {address}{suffix}")

    def _evaluate(self, node: Node) -> None:
        inner = node.args[0]
        self.value_of(inner)
        if inner.op == "call" and value(inner.type) == "void" and _never(inner.type):
            self.line("unreachable")
            self.ended = True

    def _check(self, node: Node) -> None:
        self.trap_unless(self.value_of(node.args[0]), node.data)

    def _trap(self, node: Node) -> None:
        self.trap(node.data)
        self.ended = True

    def _return(self, node: Node) -> None:
        if not node.args:
            kind = stored(self.function.result, self.level)
            self.line("ret void" if kind == "void" else f"ret {kind} zeroinitializer")
        else:
            operand = self.to_stored(self.value_of(node.args[0]), self.function.result)
            self.line(f"ret {stored(self.function.result, self.level)} {operand}")
        self.ended = True

    def _if(self, node: Node) -> None:
        test = self.value_of(node.args[0])
        then, other, end = self.label(), self.label(), self.label()
        self.line(f"br i1 {test}, label %{then}, label %{other}")
        reached = False
        for name, body in ((then, node.bodies[0]), (other, node.bodies[1])):
            self.start(name)
            self.ended = False
            self.statements(body)
            if not self.ended:
                self.jump(end)
                reached = True
        self.ended = not reached
        if reached:
            self.start(end)

    def _loop(self, node: Node) -> None:
        head, body, step, end = (self.label() for _ in range(4))
        self.labels[node.data] = (end, step)
        self.jump(head)
        self.start(head)
        test = self.value_of(node.args[0])
        self.line(f"br i1 {test}, label %{body}, label %{end}")
        self.start(body)
        self.statements(node.bodies[0])
        if not self.ended:
            self.jump(step)
        self.ended = False
        self.start(step)
        self.statements(node.bodies[1])
        self.jump(head)
        self.start(end)

    def _block(self, node: Node) -> None:
        end = self.label()
        self.labels[node.data] = (end, end)
        self.statements(node.bodies[0])
        if not self.ended:
            self.jump(end)
        self.ended = False
        self.start(end)

    def _break(self, node: Node) -> None:
        self.jump(self.labels[node.data][0])
        self.ended = True

    def _continue(self, node: Node) -> None:
        self.jump(self.labels[node.data][1])
        self.ended = True


def _never(t: Any) -> bool:
    """The type of a function that does not return."""
    return getattr(t, "__name__", getattr(t, "_name", "")) == "NoReturn"
