"""The life of everything that runs here, from the start to the last process stopped."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from deploy.local import announcing, log_file, processes, state
from deploy.local.cluster import Cluster
from deploy.local.log import Log, Shows
from deploy.local.log_file import LogFile
from deploy.local.settings import Settings
from deploy.local.startup import Startup
from deploy.local.terminal import Terminal

Companion = Callable[[Cluster, Terminal], Coroutine[Any, Any, None]]
OnReady = Callable[[Startup], Shows]


class Supervisor:
    """`on_ready` is called once, when all is ready, and says which records of the log are shown from then on."""

    def __init__(self, settings: Settings, terminal: Terminal, *, on_ready: OnReady) -> None:
        self._settings = settings
        self._terminal = terminal
        self._on_ready = on_ready
        self._stop = asyncio.Event()

    async def run(self, companion: Companion | None = None) -> None:
        """Returns after a signal, when everything has stopped. Raises `Problem` and `state.AlreadyRunning`.

        `companion` runs beside the services (the watcher of `make dev`).
        """
        with state.only_supervisor(self._settings.run_dir), self._opened_log() as log:
            self._end_leftovers()
            cluster = Cluster(log=log, changed=self._remember)
            with self._signals(cluster):
                try:
                    await self._live(cluster, log, companion)
                finally:
                    await self._end(cluster)

    async def _live(self, cluster: Cluster, log: Log, companion: Companion | None) -> None:
        startup = Startup(self._settings, cluster, terminal=self._terminal, log=log)
        try:
            if await self._unless_stopped(cluster, startup.run()):
                log.shows = self._on_ready(startup)
                await self._unless_stopped(cluster, companion(cluster, self._terminal) if companion else _forever())
        finally:
            # Also of a start that failed: it is generated only once.
            announcing.password(startup.take_password(), self._terminal)

    async def _unless_stopped(self, cluster: Cluster, work: Coroutine[Any, Any, None]) -> bool:
        """Whether the work came to its end. A signal ends it earlier, and so does a process that cannot be kept."""
        task, stop = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        first: set[asyncio.Future[Any]] = {task, stop, cluster.failure}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_done = task.done()
            task.cancel()
            stop.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)
        if cluster.failure.done():
            cluster.failure.result()
        if is_done:
            task.result()
        return is_done

    async def _end(self, cluster: Cluster) -> None:
        began = time.monotonic()
        await cluster.stop()
        self._terminal.say(f"stopped after {time.monotonic() - began:.1f} s")

    @contextlib.contextmanager
    def _signals(self, cluster: Cluster) -> Iterator[None]:
        """The first signal stops everything in order; another one does not wait for it."""

        def on_signal() -> None:
            if self._stop.is_set():
                cluster.kill()
            self._stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    @contextlib.contextmanager
    def _opened_log(self) -> Iterator[Log]:
        file = LogFile(self._settings.run_dir / log_file.NAME)
        try:
            yield Log(file, self._terminal)
        finally:
            file.close()

    def _end_leftovers(self) -> None:
        """Processes of a supervisor that was killed, where the kernel did not end them with it."""
        ended = processes.end_strangers(state.read(self._settings.run_dir).born, grace=3)
        if ended:
            self._terminal.say(f"  stopped {ended} processes that an earlier run had left behind")

    def _remember(self, cluster: Cluster) -> None:
        state.write(self._settings.run_dir, state.State(processes=cluster.processes))


async def _forever() -> None:
    await asyncio.Event().wait()
