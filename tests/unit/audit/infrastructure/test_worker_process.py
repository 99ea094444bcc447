import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from audit.application.inspection import look_at_stretch
from audit.application.ports import LogUnavailable
from audit.application.signing import Known
from audit.domain.verification import NOTHING
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.worker_process import open_worker
from tests.unit.audit.logs import fill


async def test_a_log_is_verified_in_another_process_of_lower_priority(log_file: Path) -> None:
    places = await fill(log_file, 40)
    reader = SqliteLogReader(log_file)
    with open_worker() as worker:
        findings = await worker.do(partial(look_at_stretch, reader, NOTHING, Known(seen=places[-1]), 100))
        elsewhere = await worker.do(os.getpid)
        niceness = await worker.do(partial(os.nice, 0))

    assert (findings.prefix.head, findings.first_bad, findings.whole) == (places[-1], None, True)
    assert elsewhere != os.getpid()
    assert niceness > os.nice(0)


async def test_what_fails_there_fails_here(log_file: Path) -> None:
    reader = SqliteLogReader(log_file.with_name("none"))
    with open_worker() as worker, pytest.raises(LogUnavailable):
        await worker.do(partial(look_at_stretch, reader, NOTHING, Known(), 100))


async def test_a_worker_that_is_killed_is_replaced() -> None:
    with open_worker() as worker:
        first = await worker.do(os.getpid)
        with pytest.raises(LogUnavailable):
            await worker.do(partial(os.kill, first, signal.SIGKILL))

        assert await worker.do(os.getpid) != first


SERVICE = """
import asyncio, os
from audit.infrastructure.worker_process import open_worker

async def main():
    with open_worker() as worker:
        print(await worker.do(os.getpid), flush=True)
        os.kill(os.getpid(), 9)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_workers_of_a_service_that_was_killed_end_by_themselves(tmp_path: Path) -> None:
    script = tmp_path / "service.py"
    script.write_text(SERVICE)

    worker = int(subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, check=False, timeout=30).stdout)

    until = time.monotonic() + 5
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
