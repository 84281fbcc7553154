"""Which functions of a module can be called from Python: the entries of its unit.

Public functions and public methods of Struct and Wire classes, fully annotated with types that have
a form in memory. Generic functions, functions over vectors, registers or types have no form of
their own; they are compiled as part of whatever calls them.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal, NoReturn

from bare.codec import layout
from bare.descriptors import TypeOf, is_struct, normalize
from bare.vec import VecType

DUNDER_METHODS = ("__enter__", "__exit__")
NOT_CALLABLE = ("__bare_external__",)


@dataclass(frozen=True, slots=True)
class Found:
    """One function, and where it was found."""

    function: FunctionType
    name: str
    owner: type | None = None
    kind: Literal["function", "method", "property", "static"] = "function"


def module_entries(module: ModuleType) -> list[Found]:
    """The entries of `module`, in source order; imported names are left to their own module."""
    found = [*_functions(module), *_methods(module)]
    found = [item for item in found if callable_from_python(item)]
    return sorted(found, key=lambda item: item.function.__code__.co_firstlineno)


def _functions(module: ModuleType) -> Iterator[Found]:
    for name, value in vars(module).items():
        own = isinstance(value, FunctionType) and value.__module__ == module.__name__
        if own and value.__name__ == name and not name.startswith("_"):
            yield Found(value, name)


def _methods(module: ModuleType) -> Iterator[Found]:
    for cls in list(vars(module).values()):
        if not is_struct(cls) or cls.__module__ != module.__name__:
            continue
        if cls.__dict__.get("__type_params__", ()) or getattr(cls, "_origin_", None):
            continue
        fields = getattr(cls, "_fields_", {})
        for name, value in list(vars(cls).items()):
            public = not name.startswith("_") or name in DUNDER_METHODS
            if not public or name in fields:
                continue
            if isinstance(value, FunctionType):
                yield Found(value, name, cls, "method")
            elif isinstance(value, staticmethod) and isinstance(value.__func__, FunctionType):
                yield Found(value.__func__, name, cls, "static")
            elif isinstance(value, property) and isinstance(value.fget, FunctionType):
                yield Found(value.fget, name, cls, "property")


def callable_from_python(found: Found) -> bool:
    """Whether every parameter and the result can be passed through memory."""
    function = found.function
    if any(hasattr(function, mark) for mark in NOT_CALLABLE) or function.__type_params__:
        return False
    annotations = inspect.get_annotations(function)
    if annotations.get("return", inspect.Parameter.empty) in (inspect.Parameter.empty, NoReturn):
        return False
    parameters = list(inspect.signature(function).parameters.values())
    if found.kind in ("method", "property"):
        parameters = parameters[1:]
    named = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    if not all(name in annotations for name in named):
        return False
    return all(_storable(annotations[name], function.__globals__) for name in [*named, "return"])


def _storable(annotation: Any, names: dict[str, Any]) -> bool:
    try:
        descriptor = normalize(annotation, names)
        layout(descriptor)
    except (TypeError, AttributeError, NameError, ValueError):
        return False
    return not isinstance(descriptor, (TypeOf, VecType))


def module_name(path: Path) -> str:
    """The name `path` is imported by: relative to the innermost directory on the import path."""
    resolved = path.resolve()
    roots = [Path(entry).resolve() for entry in sys.path if entry]
    parents = [root for root in roots if resolved.is_relative_to(root)]
    if not parents:
        return resolved.stem
    root = max(parents, key=lambda parent: len(parent.parts))
    parts = list(resolved.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def import_path(path: Path) -> ModuleType:
    """Import the module in the file `path`."""
    name = module_name(path)
    if "." in name or importlib.util.find_spec(name) is not None:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
