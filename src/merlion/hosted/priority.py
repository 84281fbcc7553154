"""How urgent the process is to Linux: `--prio`, in the levels of llama-server (sched(7)).

All threads get one priority: those started after `apply` inherit it. Were only the team realtime, a
thread that is not could hold the interpreter lock without ever getting a core to let it go.
"""

import os
from enum import IntEnum
from pathlib import Path

from merlion.hosted.errors import HostedError
from merlion.hosted.threads import usable_cpus

# -1: realtime threads may have all of the time, not 95 % of every second.
THROTTLE = Path("/proc/sys/kernel/sched_rt_runtime_us")
FIFO_PRIORITY = 1  # Above all that is not realtime; threads of the kernel and of drivers go first.
NICE_ZERO = 20  # RLIMIT_NICE counts down from here.


class Priority(IntEnum):
    """What `--prio` takes."""

    LOW = -1
    NORMAL = 0  # Whatever the process was started with.
    MEDIUM = 1
    HIGH = 2
    REALTIME = 3


NICENESS = {Priority.LOW: 5, Priority.MEDIUM: -5, Priority.HIGH: -10}


def apply(priority: Priority, threads: int) -> None:
    """Set the priority of the calling thread and of all that it starts from now on.

    `threads` will compute. Raises HostedError when the process may not, or must not.
    """
    name = f"--prio {int(priority)} ({priority.name.lower()})"
    if priority is Priority.REALTIME:
        leave_room(name, threads)
    limit = "-r 1"
    try:
        if priority is Priority.REALTIME:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
        elif priority is not Priority.NORMAL:
            niceness = NICENESS[priority]
            limit = f"-e {NICE_ZERO - niceness}"
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
    except PermissionError as error:
        raise HostedError(
            f"{name}: this process may not have it",
            f"run it as root, or with CAP_SYS_NICE, or where `ulimit {limit}` succeeds "
            "(limits.conf(5); LimitRTPRIO and LimitNICE of systemd)",
        ) from error


def leave_room(name: str, threads: int) -> None:
    """Refuse to shut everybody else out: waiting threads of the team do not sleep either."""
    cpus = len(usable_cpus())
    if threads >= cpus and THROTTLE.read_text().strip() == "-1":
        raise HostedError(
            f"{name}: {threads} threads on {cpus} CPUs would leave nothing to anybody else",
            f"lower --threads, or limit realtime threads: echo 950000 > {THROTTLE}",
        )
