"""A process of its own that verifies and searches the log.

In a thread of the service the same work took the p50 of appends from 2 to 7 ms: hashing holds the interpreter's lock.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

from audit.application.ports import LogUnavailable

NICENESS = 5
LOOK_FOR_PARENT_EVERY_S = 0.5

T = TypeVar("T")


class WorkerProcess:
    """See Workshop. Made by `open_worker`; what is sent there and back must be picklable."""

    def __init__(self) -> None:
        self._pool = _new_pool()

    async def do(self, work: Callable[[], T]) -> T:
        """See Workshop."""
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except BrokenProcessPool as error:
            if pool is self._pool:  # the first to notice
                self._pool = _new_pool()
                pool.shutdown(wait=False)
            raise LogUnavailable("The verification of the audit log was interrupted.") from error

    def close(self) -> None:
        """Ends the process when it has done what it is doing."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def open_worker() -> Iterator[WorkerProcess]:
    """The process starts with its first work, and ends with the block."""
    worker = WorkerProcess()
    try:
        yield worker
    finally:
        worker.close()


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service ends its worker itself
    os.nice(NICENESS)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A worker whose service was killed would wait for work for ever: it holds both ends of its queue."""
    while os.getppid() == parent:
        time.sleep(LOOK_FOR_PARENT_EVERY_S)
    os._exit(0)
