"""The model files of the comparison, made once in build/bench-models.

SmolLM2-135M is requantised from the file of `merlion model get`; the 1B-shaped Llama has random
weights, which cost what trained ones do.
"""

from dataclasses import dataclass
from pathlib import Path

from merlion.cli.paths import BUILD, find_model
from merlion.cli.quantise import convert
from merlion.cli.synth import SHAPES, synthesise

DIRECTORY = BUILD / "bench-models"
SOURCE = "smollm2-135m"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file: which network, in which type."""

    label: str
    shape: str  # Of SHAPES; "" for SmolLM2 itself.
    type: str

    @property
    def name(self) -> str:
        """The name of its results."""
        return f"{self.label} {self.type.upper()}"

    @property
    def path(self) -> Path:
        """Where it lies."""
        return DIRECTORY / f"{self.label.replace(' ', '-')}-{self.type}.gguf"

    def make(self) -> Path:
        """Write the file unless it is there."""
        if self.path.exists():
            return self.path
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        if self.shape:
            synthesise(SHAPES[self.shape], self.shape, self.type, 0, part)
        else:
            convert(find_model(SOURCE), self.type, part)
        part.replace(self.path)
        return self.path


SMOLLM2_Q4_0 = ModelFile("SmolLM2-135M", "", "q4_0")
SMOLLM2_Q8_0 = ModelFile("SmolLM2-135M", "", "q8_0")
LLAMA_1B_Q4_0 = ModelFile("Llama 1B shape", "1b", "q4_0")
LLAMA_1B_Q8_0 = ModelFile("Llama 1B shape", "1b", "q8_0")
