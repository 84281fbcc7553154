"""Makes build/peer-env: llama.cpp through `llama-cpp-python`, compiled for this machine.

    python bench/peer_env.py [--jobs N]

An environment of its own, so that neither side's packages change the other's. The package is
built from source because its wheels are for old processors: a peer without this machine's vector
units would be no comparison. Takes 10 to 30 minutes of two cores; done once.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / "build" / "peer-env"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "peer.json"
VERSION = "0.3.36"
# The first four are the defaults of llama.cpp; said so that the comparison is plain.
CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DGGML_CPU_REPACK=ON",
    "-DGGML_LLAMAFILE=ON",
    "-DGGML_OPENMP=ON",
    "-DLLAVA_BUILD=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
)


def installer() -> list[str]:
    """The command that installs into the environment: uv when there is one, else its own pip."""
    uv = shutil.which("uv")
    if uv is not None and subprocess.run([uv, "--version"], capture_output=True).returncode == 0:
        subprocess.run(
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)],
            check=True,
        )
        return [uv, "pip", "install", "--python", str(PYTHON)]
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    return [str(PYTHON), "-m", "pip", "install"]


def is_ready() -> bool:
    """Whether the environment has this version, built with these options."""
    try:
        found = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    return bool(found == {"version": VERSION, "cmake": list(CMAKE_OPTIONS)})


def main() -> None:
    """Build it unless it is there."""
    parser = argparse.ArgumentParser(description="Build the peer's environment.")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    jobs = parser.parse_args().jobs
    if is_ready():
        print(f"{ENVIRONMENT.relative_to(ROOT)} is ready: llama-cpp-python {VERSION}")
        return
    for tool in ("cmake", "gcc", "g++"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed: the peer has to be compiled (apt install {tool})")
    environment = {
        **os.environ,
        "CMAKE_ARGS": " ".join(CMAKE_OPTIONS),
        "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs),
        "FORCE_CMAKE": "1",
    }
    command = [*installer(), "--no-binary", "llama-cpp-python", f"llama-cpp-python=={VERSION}"]
    subprocess.run(command, env=environment, check=True)
    subprocess.run([str(PYTHON), "-c", "import llama_cpp"], check=True)
    STAMP.write_text(json.dumps({"version": VERSION, "cmake": list(CMAKE_OPTIONS)}))
    print(f"built llama-cpp-python {VERSION} in {ENVIRONMENT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
