"""Prints choices, tuples, slices, unions, calls and blocks of memory."""

from bare.compiler import types as ty
from bare.compiler.emit_numbers import NumberEmitter
from bare.compiler.llvm import PAIR, parts_of, stored, value
from bare.compiler.tree import Function, Node


class AggregateEmitter(NumberEmitter):
    """Values of several parts, and calls."""

    def _not(self, node: Node) -> str:
        return self.let(f"xor i1 {self.value_of(node.args[0])}, true")

    def short_circuit(self, node: Node) -> str:
        """`and`, `or`: the right side only when it decides."""
        left = self.value_of(node.args[0])
        first, more, end = self.block, self.label(), self.label()
        if node.op == "and_then":
            self.line(f"br i1 {left}, label %{more}, label %{end}")
        else:
            self.line(f"br i1 {left}, label %{end}, label %{more}")
        self.start(more)
        right = self.value_of(node.args[1])
        last = self.block
        self.jump(end)
        self.start(end)
        known = "false" if node.op == "and_then" else "true"
        return self.let(f"phi i1 [ {known}, %{first} ], [ {right}, %{last} ]")

    _and_then = _or_else = short_circuit

    def _choose(self, node: Node) -> str:
        test = self.value_of(node.args[0])
        then, other, end = self.label(), self.label(), self.label()
        self.line(f"br i1 {test}, label %{then}, label %{other}")
        found = []
        for name, side in ((then, node.args[1]), (other, node.args[2])):
            self.start(name)
            found.append((self.value_of(side), self.block))
            self.jump(end)
        self.start(end)
        kind = value(node.type, self.level)
        if kind == "void":
            return ""
        incoming = ", ".join(f"[ {v}, %{b} ]" for v, b in found)
        return self.let(f"phi {kind} {incoming}")

    def _is_null(self, node: Node) -> str:
        return self.let(f"icmp eq ptr {self.value_of(node.args[0])}, null")

    def _address_equal(self, node: Node) -> str:
        a, b = self.pair(*node.args)
        return self.let(f"icmp eq ptr {a}, {b}")

    def _sequence(self, node: Node) -> str:
        self.statements(node.bodies[0])  # type: ignore[attr-defined]
        if self.ended:  # type: ignore[has-type]
            self.ended = False
            self.start(self.label())  # Never reached.
        return self.value_of(node.args[0])

    def _make(self, node: Node) -> str:
        kind = stored(node.type, self.level)
        whole = "undef"
        for index, part in enumerate(node.args):
            operand = self.to_stored(self.value_of(part), part.type)
            inner = stored(part.type, self.level)
            whole = self.let(f"insertvalue {kind} {whole}, {inner} {operand}, {index}")
        return whole

    def _part(self, node: Node) -> str:
        whole = self.value_of(node.args[0])
        outer = node.args[0].type
        found = self.let(f"extractvalue {stored(outer, self.level)} {whole}, {node.data}")
        parts = parts_of(outer)
        assert parts is not None
        return self.from_stored(found, parts[node.data])

    def _make_slice(self, node: Node) -> str:
        pointer, length = self.pair(*node.args)
        half = self.let(f"insertvalue {PAIR} undef, ptr {pointer}, 0")
        return self.let(f"insertvalue {PAIR} {half}, i64 {length}, 1")

    def _slice_length(self, node: Node) -> str:
        return self.let(f"extractvalue {PAIR} {self.value_of(node.args[0])}, 1")

    def _slice_pointer(self, node: Node) -> str:
        return self.let(f"extractvalue {PAIR} {self.value_of(node.args[0])}, 0")

    def _subslice(self, node: Node) -> str:
        size, checked = node.data
        source, first, last = (self.value_of(a) for a in node.args)
        pointer = self.let(f"extractvalue {PAIR} {source}, 0")
        if checked:
            length = self.let(f"extractvalue {PAIR} {source}, 1")
            ordered = self.let(f"icmp ule i64 {first}, {last}")
            inside = self.let(f"icmp ule i64 {last}, {length}")
            self.trap_unless(self.let(f"and i1 {ordered}, {inside}"), "slice out of range")
        moved = self.let(f"getelementptr inbounds [{size} x i8], ptr {pointer}, i64 {first}")
        count = self.let(f"sub nuw nsw i64 {last}, {first}")
        half = self.let(f"insertvalue {PAIR} undef, ptr {moved}, 0")
        return self.let(f"insertvalue {PAIR} {half}, i64 {count}, 1")

    def _make_union(self, node: Node) -> str:
        inner = node.args[0]
        operand = self.value_of(inner)
        kind = stored(node.type, self.level)
        tag = node.data + 1
        if ty.union_kind(node.type) == "closed":
            half = self.let(f"insertvalue {PAIR} undef, ptr {operand}, 0")
            return self.let(f"insertvalue {PAIR} {half}, i64 {tag}, 1")
        member = ty.members(node.type)[node.data]
        word = self.to_stored(operand, member)
        half = self.let(f"insertvalue {kind} zeroinitializer, i8 {tag}, 0")
        return self.let(f"insertvalue {kind} {half}, {stored(member, self.level)} {word}, {tag}")

    def _union_tag(self, node: Node) -> str:
        whole = self.value_of(node.args[0])
        t = node.args[0].type
        if ty.union_kind(t) == "closed":
            return self.let(f"extractvalue {PAIR} {whole}, 1")
        tag = self.let(f"extractvalue {stored(t, self.level)} {whole}, 0")
        return self.let(f"zext i8 {tag} to i64")

    def _union_part(self, node: Node) -> str:
        whole = self.value_of(node.args[0])
        t = node.args[0].type
        if ty.union_kind(t) == "closed":
            return self.let(f"extractvalue {PAIR} {whole}, 0")
        found = self.let(f"extractvalue {stored(t, self.level)} {whole}, {node.data + 1}")
        return self.from_stored(found, ty.members(t)[node.data])

    def _address_to_int(self, node: Node) -> str:
        return self.let(f"ptrtoint ptr {self.value_of(node.args[0])} to i64")

    def _int_to_address(self, node: Node) -> str:
        return self.let(f"inttoptr i64 {self.value_of(node.args[0])} to ptr")

    def _call(self, node: Node) -> str:
        target: Function = node.data
        words = []
        for argument, parameter in zip(node.args, target.parameters, strict=True):
            operand = self.to_stored(self.value_of(argument), parameter.type)
            words.append(f"{stored(parameter.type, target.level)} {operand}")
        kind = stored(target.result, target.level)
        call = f'call {kind} @"{target.symbol}"({", ".join(words)})'
        if kind == "void":
            self.line(call)
            return ""
        return self.from_stored(self.let(call), target.result)

    def _asm(self, node: Node) -> str:
        text, constraints, parameters, results = node.data
        words = []
        for argument, t in zip(node.args, parameters, strict=True):
            operand = self.to_stored(self.value_of(argument), t)
            words.append(f"{stored(t)} {operand}")
        kinds = [stored(t) for t in results]
        result = (
            "void" if not kinds else kinds[0] if len(kinds) == 1 else f"{{ {', '.join(kinds)} }}"
        )
        clobbers = "~{memory},~{dirflag},~{fpsr},~{flags}"
        full = f"{constraints},{clobbers}" if constraints else clobbers
        call = f'call {result} asm sideeffect "{text}", "{full}"({", ".join(words)})'
        if not kinds:
            self.line(call)
            return ""
        found = self.let(call)
        return self.from_stored(found, results[0]) if len(kinds) == 1 else found

    def _memory(self, node: Node) -> str:
        target, source, size = (self.value_of(a) for a in node.args)
        if node.data == "fill":
            byte = self.let(f"trunc i64 {source} to i8")
            self.line(
                f"call void @llvm.memset.p0.i64(ptr {target}, i8 {byte}, i64 {size}, i1 false)"
            )
        else:
            name = "memmove" if node.data == "move" else "memcpy"
            operands = f"ptr {target}, ptr {source}, i64 {size}, i1 false"
            self.line(f"call void @llvm.{name}.p0.p0.i64({operands})")
        return ""
