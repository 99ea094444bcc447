"""All the processes that are kept running together."""

import asyncio
from collections.abc import Callable, Container
from itertools import groupby

from deploy.local.keeper import Keeper, Log
from deploy.local.processes import Program
from deploy.local.state import ProcessState

_GRACE = 15.0  # seconds for the calls in flight of one process


class Cluster:
    """`failure` ends with the `Problem` of the first program that cannot be kept running."""

    def __init__(self, *, log: Log, changed: Callable[["Cluster"], None], grace: float = _GRACE) -> None:
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log = log
        self._changed = changed
        self._grace = grace
        self._keepers: list[Keeper] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def processes(self) -> tuple[ProcessState, ...]:
        """In the order in which they are stopped, turned round."""
        return tuple(keeper.state for keeper in sorted(self._keepers, key=_stage))

    def restless(self, *, among: Container[str]) -> Keeper | None:
        """One of these services that has died again and again, if any."""
        dying = (keeper for keeper in self._keepers if keeper.state.restarts >= 3)
        return next((keeper for keeper in dying if keeper.program.service in among), None)

    def keep(self, program: Program) -> None:
        """Starts the program and keeps it running until `stop`."""
        keeper = Keeper(program, log=self._log, changed=lambda: self._changed(self))
        self._keepers.append(keeper)
        task = asyncio.create_task(keeper.run())
        task.add_done_callback(self._note_failure)
        self._tasks.append(task)

    async def restart(self, services: Container[str]) -> None:
        """Starts all replicas of these services anew."""
        await asyncio.gather(*(keeper.restart() for keeper in self._keepers if keeper.program.service in services))

    async def stop(self) -> None:
        """Stops everything, stage by stage from the last: whoever is still asked is still there."""
        for _, keepers in groupby(sorted(self._keepers, key=_stage, reverse=True), key=_stage):
            await asyncio.gather(*(keeper.stop(grace=self._grace) for keeper in keepers))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def kill(self) -> None:
        """Ends every process at once; for a user who does not want to wait."""
        for keeper in self._keepers:
            keeper.kill()

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error and not self.failure.done():
            self.failure.set_exception(error)
            self.failure.exception()  # looked at: asyncio need not warn when nobody waits for it


def _stage(keeper: Keeper) -> int:
    return keeper.program.stage
