"""Makes build/peer-env: llama.cpp through `llama-cpp-python`, compiled for this machine.

    python bench/peer_env.py [--level avx2] [--jobs N]

An environment of its own, so that neither side's packages change the other's. The package is
built from source because its wheels are for old processors: a peer without this machine's vector
units would be no comparison. `--level avx2` builds another, in build/peer-env-avx2, with the
instructions of a processor that ends there. Takes 10 to 30 minutes of two cores; done once.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION = "0.3.36"
NATIVE = "native"
# The first three are the defaults of llama.cpp; said so that the comparison is plain.
CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_LLAMAFILE=ON",
    "-DGGML_CPU_REPACK=ON",
    "-DGGML_OPENMP=ON",
    "-DLLAVA_BUILD=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
)
# What the compiler may use, by level: everything that this processor has, which is the default of
# llama.cpp, or what its options for a lesser one name.
LEVEL_OPTIONS = {
    NATIVE: ("-DGGML_NATIVE=ON",),
    "avx2": (
        "-DGGML_NATIVE=OFF",
        "-DGGML_AVX2=ON",
        "-DGGML_FMA=ON",
        "-DGGML_F16C=ON",
        "-DGGML_BMI2=ON",
    ),
}


@dataclass(frozen=True, slots=True)
class Peer:
    """The environment of one level."""

    level: str = NATIVE

    @property
    def folder(self) -> Path:
        """Where it lies."""
        name = "peer-env" if self.level == NATIVE else f"peer-env-{self.level}"
        return ROOT / "build" / name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """What says that it is whole, and of what."""
        return self.folder / "peer.json"

    @property
    def options(self) -> list[str]:
        """What llama.cpp is configured with."""
        return [*LEVEL_OPTIONS[self.level], *CMAKE_OPTIONS]

    def is_ready(self) -> bool:
        """Whether the environment has this version, built with these options."""
        try:
            found = json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return False
        return bool(found == {"version": VERSION, "cmake": self.options})

    def installer(self) -> list[str]:
        """Make it anew: the command that installs there, with uv or else its own pip."""
        uv = shutil.which("uv")
        if uv is None or subprocess.run([uv, "--version"], capture_output=True).returncode != 0:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.folder)], check=True)
            return [str(self.python), "-m", "pip", "install"]
        command = [uv, "venv", "--quiet", "--clear", "--python", sys.executable]
        subprocess.run([*command, str(self.folder)], check=True)
        return [uv, "pip", "install", "--python", str(self.python)]

    def build(self, jobs: int) -> None:
        """Compile the package."""
        environment = {
            **os.environ,
            "CMAKE_ARGS": " ".join(self.options),
            "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs),
            "FORCE_CMAKE": "1",
        }
        # Another level's package, built before, must not be taken from a cache.
        command = [*self.installer(), "--no-cache-dir", "--no-binary", "llama-cpp-python"]
        subprocess.run([*command, f"llama-cpp-python=={VERSION}"], env=environment, check=True)
        subprocess.run([str(self.python), "-c", "import llama_cpp"], check=True)
        self.stamp.write_text(json.dumps({"version": VERSION, "cmake": self.options}))


def main() -> None:
    """Build it unless it is there."""
    parser = argparse.ArgumentParser(description="Build the peer's environment.")
    parser.add_argument("--level", choices=LEVEL_OPTIONS, default=NATIVE)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    peer = Peer(options.level)
    place = peer.folder.relative_to(ROOT)
    if peer.is_ready():
        print(f"{place} is ready: llama-cpp-python {VERSION}")
        return
    for tool in ("cmake", "gcc", "g++"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed: the peer has to be compiled (apt install {tool})")
    peer.build(options.jobs)
    print(f"built llama-cpp-python {VERSION} in {place}")


if __name__ == "__main__":
    main()
