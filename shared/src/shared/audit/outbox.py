"""The outbox: entries that could not be delivered when they were due wait here, durably, until they are."""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from shared.bus import read, write
from shared.contracts.audit import NewEntry
from shared.errors import PlatformError

DELIVER_EVERY_S = 0.5

_log = logging.getLogger(__name__)


class Outbox:
    """One file per entry in a directory that this process has locked; directories of dead processes are adopted."""

    def __init__(self, directory: Path, instance: str) -> None:
        self._root = directory
        self._own = directory / instance
        self._new = asyncio.Event()

    @asynccontextmanager
    async def delivering(self, append: Callable[[NewEntry], Awaitable[object]]) -> AsyncIterator[None]:
        """Locks the own directory and delivers with `append` while the block runs."""
        self._own.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _lock(self._own) as is_ours:
            if not is_ours:
                raise RuntimeError(f"another process runs as instance {self._own.name}")
            task = asyncio.create_task(self._deliver_always(append))
            try:
                yield
            finally:
                task.cancel()

    async def put(self, entry: NewEntry) -> None:
        """Keeps the entry; returns when it would survive a power failure."""
        await asyncio.to_thread(_write_durably, self._own / f"{entry.id}.{entry.phase}.json", write(entry))
        self._new.set()

    async def _deliver_always(self, append: Callable[[NewEntry], Awaitable[object]]) -> None:
        while True:
            try:
                await self._deliver(self._own, append)
                for orphan in self._orphans():
                    with _lock(orphan) as is_ours:
                        if is_ours:
                            await self._deliver(orphan, append)
            except PlatformError:
                pass  # the log is not there; the entries stay, and the next round tries again
            except Exception:
                _log.exception("outbox_failed")
            self._new.clear()
            try:
                await asyncio.wait_for(self._new.wait(), DELIVER_EVERY_S)
            except TimeoutError:
                continue

    def _orphans(self) -> list[Path]:
        return [
            path for path in self._root.iterdir() if path.is_dir() and path != self._own and any(path.glob("*.json"))
        ]

    async def _deliver(self, directory: Path, append: Callable[[NewEntry], Awaitable[object]]) -> None:
        files = sorted(directory.glob("*.json"))
        entries = [read(NewEntry, file.read_bytes()) for file in files]
        results = await asyncio.gather(*(append(entry) for entry in entries), return_exceptions=True)
        for file, result in zip(files, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            file.unlink()


def _write_durably(path: Path, body: bytes) -> None:
    draft = path.with_suffix(".draft")
    with open(draft, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    with open(directory / "lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
