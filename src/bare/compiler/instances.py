"""Which functions the program consists of: one instance for each way a function is called.

An instance is a source function with concrete types for its type parameters, a receiver class and a
SIMD level. Asking for one adds it to the work list; the unit checks until the list is empty.
"""

import inspect
import typing
from dataclasses import dataclass, field
from typing import Any

from bare.compiler import types as ty
from bare.compiler.diagnostics import Diagnostics, Span
from bare.compiler.levels import BY_NUMBER, NUMBERS, SHARING
from bare.compiler.load import FunctionType, definition, span_of
from bare.compiler.tree import Function, Local
from bare.levels import LEVELS


@dataclass(slots=True)
class Parameter:
    """One parameter: its value type, or `comptime` for `type[T]`, and its default."""

    name: str
    type: Any
    comptime: bool = False
    default: Any = inspect.Parameter.empty


@dataclass(slots=True)
class Signature:
    """Parameters after the receiver (which is first when there is one) and the result type."""

    parameters: list[Parameter]
    result: Any


@dataclass(slots=True)
class Pending:
    """An instance whose body is still to be checked."""

    function: Function
    source: FunctionType
    mapping: dict[Any, Any]
    signature: Signature


@dataclass(slots=True)
class Dispatcher:
    """A switch on the level, and what it switches between."""

    function: Function
    source: FunctionType
    owner: Any
    mapping: dict[Any, Any]
    static: bool


class SignatureError(Exception):
    """An annotation is missing or is no type of the language."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def evaluate_annotation(source: FunctionType, annotation: Any) -> Any:
    """An annotation as a type descriptor; text is evaluated in the function's module."""
    if isinstance(annotation, str):
        parameters = {t.__name__: t for t in getattr(source, "__type_params__", ())}
        annotation = eval(annotation, dict(source.__globals__), parameters)
    return annotation


def signature_of(source: FunctionType, owner: Any, static: bool = False) -> Signature:
    """The signature as annotated, type parameters still in it."""
    annotations = inspect.get_annotations(source)
    parameters = []
    receiver = owner is not None and not static
    for index, p in enumerate(inspect.signature(source).parameters.values()):
        if p.kind is inspect.Parameter.VAR_POSITIONAL:
            continue  # `__exit__(self, *_: object)`
        if index == 0 and receiver:
            parameters.append(Parameter(p.name, owner))
            continue
        if p.name not in annotations:
            raise SignatureError(
                f"parameter {p.name} of {source.__name__} has no type", f"write `{p.name}: T`"
            )
        annotation = evaluate_annotation(source, annotations[p.name])
        found = _value(annotation)
        comptime = isinstance(found, ty.TypeOf)
        parameters.append(
            Parameter(p.name, found.element if comptime else found, comptime, p.default)
        )
    if "return" not in annotations:
        raise SignatureError(f"{source.__name__} has no return type", "write `-> None` or `-> T`")
    result = evaluate_annotation(source, annotations["return"])
    return Signature(parameters, typing.NoReturn if result is typing.NoReturn else _value(result))


def _value(annotation: Any) -> Any:
    try:
        return ty.value_type(ty.normalize(annotation))
    except (TypeError, ValueError, AttributeError) as error:
        raise SignatureError(f"{annotation!r} is not a type of the language: {error}", "") from None


def owner_of(source: FunctionType) -> tuple[Any, bool]:
    """The class a function is a method of (None: a plain function), and whether it is static."""
    parts = source.__qualname__.split(".")
    if len(parts) == 1 or "<locals>" in parts:
        return None, True
    owner: Any = source.__globals__.get(parts[0])
    for name in parts[1:-1]:
        owner = vars(owner)[name]
    found = vars(owner).get(parts[-1]) if owner is not None else None
    return owner, isinstance(found, staticmethod)


@dataclass
class Instances:
    """All instances asked for so far."""

    diagnostics: Diagnostics
    checked: bool = False  # @unchecked functions keep their checks.
    pending: list[Pending] = field(default_factory=list)
    known: dict[Any, Function] = field(default_factory=dict)
    signatures: dict[Any, Signature] = field(default_factory=dict)
    symbols: set[str] = field(default_factory=set)
    dispatchers: list[Dispatcher] = field(default_factory=list)  # Without the sharing levels.
    same: dict[int, set[Function]] = field(default_factory=dict)  # See `bodies_shared`.

    def signature(self, source: FunctionType, owner: Any, static: bool) -> Signature:
        """The cached signature of a function seen through a receiver class."""
        key = (source, owner, static)
        if key not in self.signatures:
            self.signatures[key] = signature_of(source, owner, static)
        return self.signatures[key]

    def get(
        self, source: FunctionType, owner: Any, mapping: dict[Any, Any], level: int, static: bool
    ) -> Function:
        """The instance of `source` for these types at this level, checked later if new."""
        if getattr(source, "__bare_export__", None) or getattr(source, "__bare_external__", None):
            level = ty.PLAIN
        if level == ty.PLAIN and getattr(source, "__bare_multiversion__", False):
            return self.dispatcher(source, owner, mapping, static)
        written = source
        if level > 0:
            source = variant(written, level)
        key = (source, owner, static, tuple(mapping.items()), level)
        if key in self.known:
            return self.known[key]
        if level in SHARING:
            below = self.known.get((*key[:4], level - 1))
            if below in self.same[level]:
                return below
        signature = self.signature(source, owner, static)
        concrete = Signature(
            [
                Parameter(p.name, ty.substitute(p.type, mapping), p.comptime, p.default)
                for p in signature.parameters
            ],
            ty.substitute(signature.result, mapping),
        )
        function = self._declare(source, mapping, level, concrete)
        self.known[key] = function
        if level + 1 in SHARING and variant(written, level + 1) is not source:
            function.operations.add(LEVELS[level + 1])
        if function.external is None:
            self.pending.append(Pending(function, source, dict(mapping), concrete))
        return function

    def dispatcher(
        self, source: FunctionType, owner: Any, mapping: dict[Any, Any], static: bool
    ) -> Function:
        """A function that calls the instance of the machine's level."""
        key = (source, owner, static, tuple(mapping.items()), "dispatch")
        if key not in self.known:
            targets: list[Function] = []
            for level in NUMBERS:
                shares = level in SHARING  # For now: complete_dispatchers sees to it.
                targets.append(
                    targets[-1] if shares else self.get(source, owner, mapping, level, static)
                )
            first = targets[0]
            dispatcher = Function(
                self._unique(first.name + ".dispatch"),
                first.name,
                first.span,
                [Local(p.name, p.type, i) for i, p in enumerate(first.parameters)],
                first.result,
                ty.PLAIN,
                dispatch=targets,
                calls=set(targets),
            )
            self.known[key] = dispatcher
            self.dispatchers.append(Dispatcher(dispatcher, source, owner, mapping, static))
        return self.known[key]

    def complete_dispatchers(self) -> None:
        """Now that all bodies asked for are checked: which need another at a level that shares."""
        for level in SHARING:
            self.same[level] = self.bodies_shared(level)
        complete, self.dispatchers = self.dispatchers, []
        for d in complete:
            for level in SHARING:
                found = self.get(d.source, d.owner, d.mapping, level, d.static)
                d.function.dispatch[level] = found
                d.function.calls.add(found)

    def bodies_shared(self, level: int) -> set[Function]:
        """Functions of the level below whose body would be the same at this one.

        They use nothing that the level adds, and call only functions of which this is true.
        """
        own = BY_NUMBER[level].adds | {LEVELS[level]}
        below = [f for f in self.known.values() if f.level == level - 1]
        callers: dict[Function, list[Function]] = {}
        for function in below:
            for called in function.calls:
                callers.setdefault(called, []).append(function)
        waiting = [f for f in below if f.operations & own]
        different = set(waiting)
        while waiting:
            for caller in callers.get(waiting.pop(), ()):
                if caller not in different:
                    different.add(caller)
                    waiting.append(caller)
        return set(below) - different

    def _declare(
        self,
        source: FunctionType,
        mapping: dict[Any, Any],
        level: int,
        signature: Signature,
    ) -> Function:
        external = getattr(source, "__bare_external__", None)
        export = getattr(source, "__bare_export__", None)
        name = f"{source.__module__}.{source.__qualname__}"
        if mapping:
            name += "[" + ",".join(ty.name_of(t) for t in mapping.values()) + "]"
        if level != ty.PLAIN:
            name += "@" + LEVELS[level]
        span = (
            Span(source.__code__.co_filename, source.__code__.co_firstlineno)
            if external
            else span_of(source.__code__.co_filename, definition(source))
        )
        runtime = [p for p in signature.parameters if not p.comptime]
        return Function(
            external or export or self._unique(name),
            name,
            span,
            [Local(p.name, p.type, i) for i, p in enumerate(runtime)],
            signature.result,
            level,
            export=export,
            external=external,
        )

    def _unique(self, name: str) -> str:
        symbol, count = name, 1
        while symbol in self.symbols:
            count += 1
            symbol = f"{name}.{count}"
        self.symbols.add(symbol)
        return symbol


def variant(source: FunctionType, level: int) -> FunctionType:
    """The replacement registered for the highest level up to `level`, or the function itself."""
    variants = getattr(source, "__bare_variants__", {})
    for candidate in LEVELS[level::-1]:
        if candidate in variants:
            found: FunctionType = variants[candidate]
            return found
    return source
