"""Random programs mean the same compiled as under CPython, or trap; never another value."""

import os
import random
from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bare import Slice
from tests.bare.compiler import differential as run
from tests.bare.compiler import programs

BATCH = 40  # Functions in a module: compiling one at a time would take most of the time.
CALLS = 12
EXAMPLES = int(os.environ.get("BARE_EXAMPLES", "5"))
SLOW = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


def arguments(module: ModuleType, rng: random.Random, kinds: list[str]) -> tuple[list[Any], Any]:
    """Fresh arguments and a function that describes the memory they refer to."""
    values: list[Any] = []
    memory: list[Any] = []
    for kind in kinds:
        if kind == "Box":
            box = module.Box(rng.randint(0, 255), rng.randint(-100, 100), module.Level.MIDDLE)
            memory.append(lambda box=box: (box.narrow, box.wide, *box.items, box.count.load()))
            values.append(box)
        elif kind == "Slice[u8]":
            data = Slice.from_bytes(bytes(rng.randint(0, 255) for _ in range(rng.randint(1, 6))))
            memory.append(lambda data=data: tuple(data))
            values.append(data)
        else:
            values.append(programs.argument(rng, kind))
    return values, lambda: [m() for m in memory]


def compare(seed: int, make: str) -> tuple[int, int]:
    """One batch; gives how many calls were equal and how many trapped in compiled code only."""
    rng = random.Random(seed)
    texts, kinds = [programs.PRELUDE], {}
    for number in range(BATCH):
        text, kinds[f"f{number}"] = getattr(programs.Generator(rng), make)(f"f{number}")
        texts.append(text)
    module = run.module_of("\n\n".join(texts))
    program, found = run.accepted(module)
    equal = trapped = 0
    for function in found:
        name = function.__name__
        if name not in kinds:
            continue
        compiled = program.function(function)
        for _ in range(CALLS):
            state = rng.getstate()
            values, memory = arguments(module, rng, kinds[name])
            expected = run.outcome(function, values), memory()
            rng.setstate(state)
            values, memory = arguments(module, rng, kinds[name])
            result = run.outcome(compiled, values), memory()
            if result[0] == run.RAISED:
                trapped += expected[0] != run.RAISED
                continue
            shown = f"seed {seed}: {name}{tuple(values)} = {expected}, compiled {result}\n"
            shown += texts[1 + int(name[1:])]
            assert run.same(expected[0], result[0]), shown
            assert expected[1] == result[1], shown
            equal += 1
    return equal, trapped


@SLOW
@given(seed=st.integers(0, 2**32 - 1))
def test_expressions(seed: int) -> None:
    equal, _ = compare(seed, "expression_function")
    assert equal > 0


@SLOW
@given(seed=st.integers(0, 2**32 - 1))
@example(seed=1290)  # An error in a line that CPython makes no code of.
def test_programs(seed: int) -> None:
    equal, _ = compare(seed, "program_function")
    assert equal > 0
