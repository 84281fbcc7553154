"""What Linux says about machine and process: who else computes, faults, huge pages, energy.

Every figure of a benchmark is published with these, because they explain more of a difference than
most code does.
"""

import os
import platform
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

POWER_CAP = Path("/sys/class/powercap")
# Shares of the machine's time taken by others beyond which a figure is not to be published.
STEAL_MAX = 0.02
OTHERS_MAX = 0.10
# From the columns of `cpu` in /proc/stat (proc(5)).
IDLE, IOWAIT, STEAL = 3, 4, 7
STAT_COLUMNS = 8  # guest time, after these, is contained in user time.


@dataclass(frozen=True, slots=True)
class Ticks:
    """Time of all CPUs since boot, and of this process, in clock ticks."""

    total: int
    idle: int
    steal: int
    own: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What happened between two readings."""

    steal: float  # Share of the machine's time that the hypervisor gave to others.
    others: float  # Share that other processes here took.
    minor_faults: int
    major_faults: int
    voluntary_switches: int
    involuntary_switches: int
    joules: float | None  # None: no energy counter can be read.

    @property
    def disturbed(self) -> str:
        """Why the figures are not to be published; empty when they are."""
        reasons = []
        if self.steal > STEAL_MAX:
            reasons.append(f"the hypervisor took {self.steal:.0%} of the time")
        if self.others > OTHERS_MAX:
            reasons.append(f"other processes took {self.others:.0%} of the machine")
        return ", ".join(reasons)


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment."""

    ticks: Ticks
    faults: tuple[int, int]
    switches: tuple[int, int]
    energy: dict[str, tuple[int, int]]  # By zone: microjoules, and where they wrap to 0.


def parse_ticks(stat: str, own: int) -> Ticks:
    """From the text of /proc/stat."""
    columns = [int(field) for field in stat.splitlines()[0].split()[1 : 1 + STAT_COLUMNS]]
    return Ticks(sum(columns), columns[IDLE] + columns[IOWAIT], columns[STEAL], own)


def read_energy(root: Path = POWER_CAP) -> dict[str, tuple[int, int]]:
    """The packages' energy counters (Linux, power/powercap). Empty where there are none."""
    found = {}
    # Zones are `intel-rapl:0` (AMD's too); their parts, `intel-rapl:0:1`, are contained in them.
    for zone in sorted(root.glob("intel-rapl:*")):
        if zone.name.count(":") != 1:
            continue
        try:
            energy = int((zone / "energy_uj").read_text())
            wraps = int((zone / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        found[zone.name] = (energy, wraps)
    return found


def process_ticks(process: int) -> int:
    """CPU time of a process so far, in user and system (proc(5), fields 14 and 15 of stat)."""
    # The name, field 2, is in brackets and may hold anything.
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def read(others: Sequence[int] = (), energy_root: Path = POWER_CAP) -> Reading:
    """Read all counters. The processes `others` belong to the benchmark too."""
    own = sum(process_ticks(process) for process in (os.getpid(), *others))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Reading(
        ticks=parse_ticks(Path("/proc/stat").read_text(), own),
        faults=(used.ru_minflt, used.ru_majflt),
        switches=(used.ru_nvcsw, used.ru_nivcsw),
        energy=read_energy(energy_root),
    )


def joules(before: Reading, after: Reading) -> float | None:
    """Energy of all packages between two readings."""
    if not before.energy or before.energy.keys() != after.energy.keys():
        return None
    total = 0
    for zone, (energy, wraps) in after.energy.items():
        used = energy - before.energy[zone][0]
        total += used if used >= 0 else used + wraps
    return total / 1e6


def between(before: Reading, after: Reading) -> Usage:
    """What happened from `before` to `after`."""
    total = after.ticks.total - before.ticks.total
    steal = after.ticks.steal - before.ticks.steal
    idle = after.ticks.idle - before.ticks.idle
    own = after.ticks.own - before.ticks.own
    return Usage(
        steal=steal / max(total, 1),
        others=max(total - steal - idle - own, 0) / max(total, 1),
        minor_faults=after.faults[0] - before.faults[0],
        major_faults=after.faults[1] - before.faults[1],
        voluntary_switches=after.switches[0] - before.switches[0],
        involuntary_switches=after.switches[1] - before.switches[1],
        joules=joules(before, after),
    )


def field_of(text: str, name: str) -> str:
    """The value of `name : value` in a file of /proc; empty when it is not there."""
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator and key.strip() == name:
            return value.strip()
    return ""


def process_memory() -> dict[str, int]:
    """Bytes of this process: resident, and of those in huge pages."""
    rollup = Path("/proc/self/smaps_rollup").read_text()

    def size(name: str) -> int:
        value = field_of(rollup, name)
        return int(value.split()[0]) * 1024 if value else 0

    return {"resident": size("Rss"), "huge_pages": size("AnonHugePages")}


def chosen(text: str) -> str:
    """The bracketed word of a sysfs choice: `always [madvise] never`."""
    return text.partition("[")[2].partition("]")[0]


def machine() -> dict[str, str | int | float | None]:
    """Where and when: published with every result."""
    information = Path("/proc/cpuinfo").read_text()
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    memory = field_of(Path("/proc/meminfo").read_text(), "MemTotal").split()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": field_of(information, "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "hypervisor": "hypervisor" in field_of(information, "flags").split(),
        "memory_bytes": int(memory[0]) * 1024 if memory else 0,
        "linux": platform.release(),
        "huge_pages": chosen(huge.read_text()) if huge.exists() else None,
        "governor": governor.read_text().strip() if governor.exists() else None,
        "load_average": round(os.getloadavg()[0], 2),
    }
