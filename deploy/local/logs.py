"""`make logs`."""

import contextlib
import sys
from pathlib import Path

from deploy.local import catalogue, environment, log_file, records, settings, state
from deploy.local.problem import Problem
from deploy.local.rendering import rendered
from deploy.local.terminal import paint_for

_LAST = 200


def logs(root: Path, service: str | None) -> int:
    """Shows the end of the log and follows it until Ctrl-C, or until nothing runs any more."""
    if service and service not in catalogue.NAMES:
        raise Problem(f"SERVICE is {service!r}: there are {', '.join(catalogue.NAMES)}")
    run_dir = settings.read(root, environment.read(root)).run_dir
    path = run_dir / log_file.NAME
    if not path.exists():
        raise Problem("there is no log yet: make up")
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _show(path, run_dir, service)
    return 0


def _show(path: Path, run_dir: Path, service: str | None) -> None:
    paint = paint_for(sys.stdout)
    for record in log_file.follow(path, last=_LAST, goes_on=lambda: state.supervisor(run_dir) is not None):
        if service in (None, records.parse(record).get("service")):
            sys.stdout.write(rendered(record, paint))
            sys.stdout.flush()
    print("nothing is running any more")
