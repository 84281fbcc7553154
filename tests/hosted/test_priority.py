"""The priority that `--prio` asks for is the one all threads get, or the user is told why not."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from merlion.cli.synth import SHAPES, synthesise
from merlion.hosted import priority
from merlion.hosted.errors import HostedError
from merlion.hosted.priority import FIFO_PRIORITY, NICENESS, Priority, leave_room
from tests.hosted.test_process import START_SECONDS, Served, command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PR_CAPBSET_DROP = 24
CAP_SYS_NICE = 23
THREADS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    synthesise(SHAPES["tiny"], "tiny", "q4_0", 1, path)
    return str(path)


def skip_unless_allowed(change: str) -> None:
    """Skip where a process like this one may not change its priority so: root and CI may."""
    tried = subprocess.run(
        [sys.executable, "-c", f"import os; {change}"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        reason = tried.stderr.splitlines()[-1]
        assert reason.startswith("PermissionError"), tried.stderr
        pytest.skip(f"needs CAP_SYS_NICE or a higher ulimit: {reason}")


def priorities(process: int) -> set[tuple[int, int, int]]:
    """Policy, realtime priority and niceness of all threads."""
    tasks = [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]
    assert len(tasks) >= THREADS
    return {
        (
            os.sched_getscheduler(task),
            os.sched_getparam(task).sched_priority,
            os.getpriority(os.PRIO_PROCESS, task),
        )
        for task in tasks
    }


def served_with(model: str, folder: Path, prio: Priority) -> set[tuple[int, int, int]]:
    """The priorities of a server that has answered."""
    served = Served(model, folder / "log", "--prio", str(int(prio)), "--threads", str(THREADS))
    try:
        served.wait_for("ready")
        answer = served.client().completions.create(model="", prompt="ab", max_tokens=8)
        assert answer.usage is not None
        return priorities(served.process.pid)
    finally:
        served.process.kill()
        served.process.wait()


@pytest.mark.parametrize("prio", [Priority.LOW, Priority.NORMAL, Priority.HIGH])
def test_niceness(model: str, tmp_path: Path, prio: Priority) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = NICENESS.get(prio, own)
    skip_unless_allowed(f"os.setpriority(os.PRIO_PROCESS, 0, {wanted})")
    assert served_with(model, tmp_path, prio) == {(os.SCHED_OTHER, 0, wanted)}


def test_realtime(model: str, tmp_path: Path) -> None:
    skip_unless_allowed(f"os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({FIFO_PRIORITY}))")
    found = served_with(model, tmp_path, Priority.REALTIME)
    assert {(policy, level) for policy, level, _ in found} == {(os.SCHED_FIFO, FIFO_PRIORITY)}


@pytest.mark.parametrize("prio", [Priority.MEDIUM, Priority.REALTIME])
def test_a_process_that_may_not_is_told(model: str, prio: Priority) -> None:
    def give_up() -> None:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_NICE)  # Allowed to root alone.

    done = subprocess.run(
        command("bench", model, "--prio", str(int(prio))),
        preexec_fn=give_up,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )
    assert done.returncode == 1
    assert f"--prio {int(prio)} ({prio.name.lower()}): this process may not" in done.stderr
    assert "ulimit" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_is_shut_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    throttle = tmp_path / "sched_rt_runtime_us"
    monkeypatch.setattr(priority, "THROTTLE", throttle)
    monkeypatch.setattr(priority, "usable_cpus", lambda: [0, 1])
    throttle.write_text("950000\n")
    leave_room("--prio 3", 2)
    throttle.write_text("-1\n")
    leave_room("--prio 3", 1)
    with pytest.raises(HostedError, match="leave nothing"):
        leave_room("--prio 3", 2)
