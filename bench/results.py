"""What the benchmarks here share: a quiet machine, and JSON with where, when and which version."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from merlion.hosted import observation

ROOT = Path(__file__).resolve().parents[1]
DIRECTORY = Path(__file__).resolve().parent / "results"
QUIET_SECONDS = 2.0
SCHEMA = 1
LOAD_BEFORE = round(os.getloadavg()[0], 2)  # A benchmark soon has a load of its own.


def disturbance(seconds: float = QUIET_SECONDS) -> str:
    """What else runs on this machine now; empty when nothing notable does."""
    before = observation.read()
    time.sleep(seconds)
    return observation.between(before, observation.read()).disturbed


def require_quiet(force: bool) -> str:
    """End the program on a busy machine, or with `force` say what is wrong with it."""
    reason = disturbance()
    if not reason:
        return ""
    print(f"not quiet: {reason}; load average {os.getloadavg()[0]:.2f}", file=sys.stderr)
    if not force:
        sys.exit("figures would mean nothing: wait, or use --force (they are then marked)")
    return reason


def version() -> str:
    """The commit under measurement; `+` when files differ from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def write(name: str, disturbed: str, content: dict[str, Any]) -> Path:
    """Store results/NAME.json."""
    DIRECTORY.mkdir(exist_ok=True)
    path = DIRECTORY / f"{name}.json"
    head = {
        "schema": SCHEMA,
        "command": " ".join(["python", f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "version": version(),
        "machine": observation.machine() | {"load_average": LOAD_BEFORE},
        "disturbed": disturbed,
    }
    path.write_text(json.dumps({**head, **content}, indent=1) + "\n")
    print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)
    return path


def read(name: str) -> dict[str, Any] | None:
    """results/NAME.json, or None when it was never measured."""
    path = DIRECTORY / f"{name}.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        sys.exit(f"{path.name} is of another schema: measure again")
    return found
