"""`make status`."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.local import environment, network, settings, state
from deploy.local.state import ProcessState

NOT_RUNNING = 3  # as in the LSB: the program is not running

_COLUMNS = "{:<14}{:<18}{:>8}  {:<26}{:>8}  {}"


def status(root: Path) -> int:
    """Prints a table of the processes; 0 when all of them run and the edge says that all is ready, else 3."""
    ours = settings.read(root, environment.read(root))
    if state.supervisor(ours.run_dir) is None:
        print("nothing is running: make up")
        return NOT_RUNNING
    processes = state.read(ours.run_dir).processes
    print(_COLUMNS.format("SERVICE", "REPLICA", "PID", "UP SINCE", "RESTARTS", "STATE"))
    for each in processes:
        print(_row(each, datetime.now(UTC)))
    is_ready = asyncio.run(network.is_ready(ours))
    print(f"\n{ours.public_url} is {'ready' if is_ready else 'not ready'}")
    return 0 if is_ready and all(each.state == "running" for each in processes) else NOT_RUNNING


def _row(each: ProcessState, now: datetime) -> str:
    since = _since(datetime.fromisoformat(each.since), now) if each.since and each.pid else "-"
    return _COLUMNS.format(each.service, each.instance, each.pid or "-", since, each.restarts, each.state)


def _since(start: datetime, now: datetime) -> str:
    return f"{start.astimezone():%Y-%m-%d %H:%M:%S} ({_short(now - start)})"


def _short(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
