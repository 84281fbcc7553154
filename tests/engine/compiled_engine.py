"""The engine compiled and loaded with a model, for tests at native speed."""

import threading
from functools import cache
from pathlib import Path
from typing import Any

from bare import Arena, Slice, f32, f64, static, u8, u32
from bare.compiler.jit import Program, load
from merlion.engine.engine import Engine, EngineConfig
from merlion.engine.scheduler import GenerateParams, Scheduler
from merlion.engine.scoring import score_tokens
from merlion.engine.team import Team
from merlion.engine.tokenizer import Tokenizer

ENTRIES = (
    *(Engine.load, Engine.open, Engine.fill, Engine.finish),
    *(Scheduler.init, Scheduler.submit, Scheduler.step, Scheduler.release),
    Tokenizer.encode,
    *(Team.start, Team.help, Team.run, score_tokens),
)
SPIN_LIMIT = 200_000


@cache
def compiled_entries() -> Program:
    """The engine's functions, compiled once a run."""
    return load(ENTRIES)


class CompiledEngine:
    """A model, a scheduler, and helper threads until `close`."""

    def __init__(
        self,
        path: Path,
        threads: int = 1,
        context: int = 512,
        sequences: int = 4,
        requests: int = 16,
        helpers: bool = True,
    ) -> None:
        program = compiled_entries()
        self.call: dict[Any, Any] = {entry: program.function(entry) for entry in ENTRIES}
        data = path.read_bytes()
        self.file: Slice[u8] = static(u8, len(data))
        self.file.copy_from(data)
        self.arena = Arena(static(u8, len(data) * 2 + (400 << 20)))
        self.engine = self.arena.alloc(Engine)
        config = EngineConfig(context=context, sequences=sequences, batch_rows=64, threads=threads)
        error = self.call[Engine.load](self.engine, self.file, self.arena, config)
        assert error is None, error
        self.scheduler = self.arena.alloc(Scheduler)
        assert self.call[Scheduler.init](self.scheduler, self.engine, self.arena, requests)
        self.call[Team.start](self.engine.team, threads)
        self.open = True
        self.helpers = [
            threading.Thread(target=self.help, args=(index,), daemon=True)
            for index in range(1, threads if helpers else 1)
        ]
        for helper in self.helpers:
            helper.start()

    def help(self, index: int) -> None:
        """What a helper thread does."""
        while self.open:
            self.call[Team.help](self.engine.team, index, SPIN_LIMIT)

    def close(self) -> None:
        """End the helpers."""
        self.open = False
        for helper in self.helpers:
            helper.join()

    def generate(self, *prompts: list[int], tokens: int) -> list[list[int]]:
        """Greedy tokens of some prompts, run together."""
        call = self.call
        params = GenerateParams(max_tokens=tokens, temperature=0.0)
        slots = []
        for prompt in prompts:
            ids = static(u32, len(prompt))
            for i, token in enumerate(prompt):
                ids[i] = token
            slots.append(call[Scheduler.submit](self.scheduler, ids, params, 0))
        while call[Scheduler.step](self.scheduler, 0):
            pass
        answers = [[int(token) for token in self.scheduler.token_ids(slot)] for slot in slots]
        for slot in slots:
            call[Scheduler.release](self.scheduler, slot)
        return answers

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text."""
        data = text.encode()
        source = static(u8, len(data))
        source.copy_from(data)
        out = static(u32, len(data) + 8)
        count = self.call[Tokenizer.encode](self.engine.tokenizer, source, out, False)
        return [out[i] for i in range(count)]

    def losses(self, tokens: list[int]) -> list[float]:
        """Negative log-likelihood of each token but the first."""
        ids = static(u32, len(tokens))
        for i, token in enumerate(tokens):
            ids[i] = token
        out = static(f64, len(tokens) - 1)
        self.call[score_tokens](self.engine.team, ids, 0, out, static(u32, 0), static(f32, 0))
        return [out[i] for i in range(len(out))]
