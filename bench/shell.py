"""What the benchmarks ask of a booted machine's shell."""

import json
import re
import sys
from typing import Any

from boot_time import TOKEN_SECONDS

from merlion.cli.guest import Guest

HEARD = re.compile(r"core (\d+): longest ([\d.]+) ms; lost ([\d.]+) %")


def ai_bench(guest: Guest, tokens: int, prompt_tokens: int) -> dict[str, Any]:
    """What `ai-bench --json` reports of one answer."""
    text = guest.execute(f"ai-bench --json {tokens} {prompt_tokens} 1", TOKEN_SECONDS)
    found = re.search(r"(?m)^\{.*\}$", text)
    if found is None:
        sys.exit(f"ai-bench printed no JSON: {text!r}")
    report: dict[str, Any] = json.loads(found[0])
    return report


def noise(guest: Guest, seconds: int) -> list[dict[str, float]]:
    """What each core lost to others: the longest gap, and the share of the time."""
    text = guest.execute(f"noise {seconds}", TOKEN_SECONDS)
    return [
        {"longest_ms": float(longest), "lost": float(lost) / 100}
        for _, longest, lost in HEARD.findall(text)
    ]
