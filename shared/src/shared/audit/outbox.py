"""The outbox: entries that could not be delivered when they were due wait here, durably, until they are."""

import asyncio
import fcntl
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from shared.audit.appender import EntryRefused
from shared.audit.encoding import Recordable, encode
from shared.bus import read
from shared.contracts.audit import NewEntry
from shared.durable import write_durably
from shared.errors import PlatformError
from shared.ids import new_id

DELIVER_EVERY_S = 0.5
AT_ONCE = 256
OWN_LOCK_WITHIN_S = 10.0
LAST_DELIVERY_S = 1.0
REFUSED = "refused"

Append = Callable[[Recordable], Awaitable[object]]

_log = logging.getLogger(__name__)


class InstanceTaken(PlatformError):
    """Two processes cannot be one instance."""

    reason = "instance-taken"


class Outbox:
    """One file per entry in a directory that this process has locked; directories of dead processes are adopted.

    A file that holds no entry, or one that the log refuses for good, is set aside and said loudly: it blocks no other.
    """

    def __init__(self, directory: Path, instance: str) -> None:
        self._root = directory
        self._own = directory / instance
        self._new = asyncio.Event()
        self._unwritten: list[Recordable] = []

    @asynccontextmanager
    async def delivering(self, append: Append) -> AsyncIterator[None]:
        """Locks the own directory and delivers with `append` while the block runs, and once more at its end.

        Raises InstanceTaken when another process holds the directory.
        """
        async with self._owning():
            task = asyncio.create_task(self._deliver_always(append))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])
                await asyncio.wait([asyncio.create_task(self._deliver_all(append))], timeout=LAST_DELIVERY_S)

    async def put(self, entry: Recordable) -> None:
        """Keeps the entry; returns when it would survive a power failure.

        It does not fail: what cannot be written is kept in memory, and that is said loudly.
        """
        try:
            await asyncio.to_thread(self._write, f"{new_id()}.json", encode(entry))
        except OSError as error:
            self._unwritten.append(entry)
            _log.error("outbox_not_written", extra={"id": entry.id, "action": entry.action, "detail": str(error)})
        self._new.set()

    def _write(self, name: str, entry: bytes) -> None:
        self._own.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(self._own / name, entry)

    @asynccontextmanager
    async def _owning(self) -> AsyncIterator[None]:
        """Waits for the lock: another process may just be delivering what our predecessor left."""
        self._own.mkdir(parents=True, exist_ok=True, mode=0o700)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + OWN_LOCK_WITHIN_S
        while loop.time() < give_up:
            with _lock(self._own) as is_ours:
                if is_ours:
                    yield
                    return
            await asyncio.sleep(0.05)
        raise InstanceTaken(f"Another process runs as instance {self._own.name}.")

    async def _deliver_always(self, append: Append) -> None:
        while True:
            try:
                await self._deliver_all(append)
            except Exception:
                _log.exception("outbox_failed")
            self._new.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(DELIVER_EVERY_S):  # wait_for can swallow a cancellation (Python 3.11)
                    await self._new.wait()

    async def _deliver_all(self, append: Append) -> None:
        try:
            await self._deliver_unwritten(append)
            await _deliver(self._own, append)
            for orphan in self._orphans():
                with _lock(orphan) as is_ours:
                    if is_ours:
                        await _deliver(orphan, append)
        except PlatformError:
            return  # the log is not there; the entries stay, and the next round tries again

    async def _deliver_unwritten(self, append: Append) -> None:
        while self._unwritten:
            try:
                await append(self._unwritten[0])
            except EntryRefused as error:
                _log.error("audit_entry_refused", extra={"id": self._unwritten[0].id, "detail": error.detail})
            del self._unwritten[0]

    def _orphans(self) -> list[Path]:
        return [path for path in self._root.iterdir() if path != self._own and any(path.glob("*.json"))]


async def _deliver(directory: Path, append: Append) -> None:
    """Oldest first; raises what `append` raises when the log is not there."""
    while files := sorted(directory.glob("*.json"))[:AT_ONCE]:
        results = await asyncio.gather(*(_deliver_file(file, append) for file in files), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


async def _deliver_file(file: Path, append: Append) -> None:
    try:
        entry = read(NewEntry, file.read_bytes())
    except PlatformError as error:
        _set_aside(file, error)
        return
    try:
        await append(entry)
    except EntryRefused as error:
        _set_aside(file, error)
    else:
        file.unlink(missing_ok=True)


def _set_aside(file: Path, error: PlatformError) -> None:
    refused = file.parent / REFUSED
    refused.mkdir(exist_ok=True, mode=0o700)
    file.rename(refused / file.name)
    _log.error("outbox_entry_set_aside", extra={"file": file.name, "detail": error.detail})


@contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    with open(directory / "lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
