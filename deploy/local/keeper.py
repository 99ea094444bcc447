"""Keeps one process running: starts it, starts it again when it dies, stops it when told."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from deploy.local import processes, records
from deploy.local.backoff import Backoff
from deploy.local.problem import Problem
from deploy.local.processes import Program
from deploy.local.state import ProcessState

BAD_SETTING = 2  # a service's exit code for a setting it cannot use

Log = Callable[[bytes], None]


class Keeper:
    """One program and the process that runs it at the moment.

    `log` is given every line as a record; `changed` is called when `state` has changed.
    """

    def __init__(self, program: Program, *, log: Log, changed: Callable[[], None]) -> None:
        self.program = program
        self.state = ProcessState(service=program.service, instance=program.instance)
        self.last_words = ""
        self._log = log
        self._changed = changed
        self._backoff = Backoff()
        self._process: asyncio.subprocess.Process | None = None
        self._wake = asyncio.Event()
        self._is_stopping = False

    async def run(self) -> None:
        """Returns after `stop`. Raises `Problem` when the program cannot be executed or refuses its settings."""
        while not self._is_stopping:
            lived, code = await self._live()
            if self._is_stopping:
                break
            if code == BAD_SETTING and self.state.restarts == 0:
                raise Problem(self.last_words or f"{self.program.service} does not accept its settings")
            await self._rest_after(lived, code)
        self._note("stopped", pid=None)

    async def restart(self) -> None:
        """Starts it anew without counting that as a death; also ends a wait."""
        self._backoff.reset()
        self._wake.set()
        if self._process:
            await processes.stop(self._process, grace=5)

    async def stop(self, *, grace: float) -> None:
        """Stops it for good: SIGTERM, and SIGKILL after `grace` seconds."""
        self._is_stopping = True
        self._wake.set()
        if self._process and not await processes.stop(self._process, grace=grace):
            self._tell("killed", level="error", cause=f"it did not stop within {grace:g} s")

    def kill(self) -> None:
        """SIGKILL, now."""
        if self._process:
            processes.kill(self._process)

    async def _live(self) -> tuple[float, int]:
        """One life of the process: how long it lasted, and its exit code."""
        started = time.monotonic()
        self._wake.clear()
        try:
            process = self._process = await processes.spawn(self.program)
        except OSError as error:
            raise Problem(f"{self.program.argv[0]} cannot be started: {error.strerror}") from error
        self._note("running", pid=process.pid, since=datetime.now(UTC).isoformat(), birth=processes.birth(process.pid))
        if self._is_stopping:  # told while it was being started
            await processes.stop(process, grace=5)
        reading = asyncio.create_task(self._read(process))
        code = await process.wait()
        await _finished_soon(reading)
        return time.monotonic() - started, code

    async def _rest_after(self, lived: float, code: int) -> None:
        if self._wake.is_set():  # a wanted restart
            return
        wait = self._backoff.after(lived)
        self._tell("died", level="error", cause=_cause(code), restartIn=wait)
        self._note("waiting" if wait else "starting", pid=None, restarts=self.state.restarts + 1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in processes.lines(process.stdout):
            if records.is_ornament(line):
                continue
            if not records.is_record(line):
                self.last_words = line.decode(errors="replace").strip()
            self._log(records.as_record(line, service=self.program.service, instance=self.program.instance))

    def _tell(self, event: str, *, level: str, **fields: object) -> None:
        service, instance = self.program.service, self.program.instance
        self._log(records.event(event, service=service, instance=instance, level=level, **fields))

    def _note(self, state: str, **changes: Any) -> None:
        self.state = replace(self.state, state=state, **changes)
        self._changed()


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


async def _finished_soon(reading: asyncio.Task[None]) -> None:
    """The end of the output; a grandchild that holds the pipe open is not waited for."""
    await asyncio.wait([reading], timeout=0.5)
    reading.cancel()
