"""The helpers of a team: one pinned thread each, spinning while there is work, else asleep.

The leader is the thread that calls `begin`; it may start passes until `end`. Between the two every
helper is in `Team.help` or on its way there, so a pass never waits for a sleeper.
"""

import os
import threading
from collections.abc import Callable

from bare.trap import Trap
from merlion.engine.team import Team

# Idle polls before a helper looks whether it may sleep: about 1 ms.
SPIN_LIMIT = 20_000
EXIT_TRAP = 70  # EX_SOFTWARE


def usable_cpus() -> list[int]:
    """CPUs this process may run on."""
    return sorted(os.sched_getaffinity(0))


def default_threads() -> int:
    """One a physical core: hardware threads of one core share its vector units."""
    cores: set[str] = set()
    for cpu in usable_cpus():
        path = f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        try:
            with open(path) as file:
                cores.add(file.read().strip())
        except OSError:
            return len(usable_cpus())
    return max(len(cores), 1)


def pin(cpu: int) -> None:
    """Keep the calling thread on one CPU. Not allowed everywhere, and never required."""
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        return


class Helpers:
    """Members 1 and up of a team."""

    def __init__(
        self, team: Team, count: int, help_compiled: Callable[[Team, int, int], None]
    ) -> None:
        """Start `count` - 1 threads, which sleep. The team may not have been started yet."""
        self._team, self._help = team, help_compiled
        self._wake = threading.Condition()
        self._computing = False
        self._stopping = False
        self._cpus = usable_cpus()
        self._count = count
        self._pinned = False
        self._leader_pinned = False
        self._threads = [
            threading.Thread(target=self._run, args=(index,), name=f"team-{index}", daemon=True)
            for index in range(1, count)
        ]
        for thread in self._threads:
            thread.start()

    def pin(self) -> None:
        """Keep each thread on a CPU of its own, from its next waking on.

        For when nobody else wants the CPUs: threads that cannot move would wait for others. With
        fewer threads than CPUs Linux knows better which are free.
        """
        self._pinned = self._count == len(self._cpus)

    def begin(self) -> None:
        """Wake the helpers: passes may start. The caller is the leader, on the first CPU."""
        if self._pinned and not self._leader_pinned:
            self._leader_pinned = True
            pin(self._cpus[0])
        if not self._computing and self._threads:
            with self._wake:
                self._computing = True
                self._wake.notify_all()

    def end(self) -> None:
        """Let the helpers sleep. No pass may start before the next `begin`."""
        self._computing = False

    def close(self) -> None:
        """End the threads."""
        with self._wake:
            self._computing = False
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        is_pinned = False
        while True:
            with self._wake:
                while not self._computing and not self._stopping:
                    self._wake.wait()
                if self._stopping:
                    return
            if self._pinned and not is_pinned:
                is_pinned = True
                pin(self._cpus[index % len(self._cpus)])
            try:
                self._help(self._team, index, SPIN_LIMIT)
            except Trap as trap:
                # The chunk it holds is never reported: the leader would wait for ever.
                os.write(2, f"trap in thread {index}: {trap}\n".encode())
                os._exit(EXIT_TRAP)
