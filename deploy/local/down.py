"""`make down`."""

import os
import signal
import time
from pathlib import Path

from deploy.local import environment, processes, settings, state
from deploy.local.problem import Problem

_PATIENCE = 90.0  # seconds; the supervisor kills what does not stop long before


def down(root: Path) -> int:
    """Stops everything, in order, and returns when it has stopped."""
    run_dir = settings.read(root, environment.read(root)).run_dir
    pid = state.supervisor(run_dir)
    if pid is None:
        ended = processes.end_strangers(state.read(run_dir).born, grace=3)
        print(f"stopped {ended} processes that an earlier run had left behind" if ended else "nothing is running")
        return 0
    os.kill(pid, signal.SIGTERM)
    _wait_for_end(run_dir, pid)
    print("stopped")
    return 0


def _wait_for_end(run_dir: Path, pid: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while state.supervisor(run_dir) == pid:
        if time.monotonic() > deadline:
            raise Problem(f"the supervisor (process {pid}) does not stop: kill -9 {pid} ends it and all it has started")
        time.sleep(0.05)
