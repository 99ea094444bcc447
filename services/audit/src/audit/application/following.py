"""Following: what was committed after an entry, and the news that there is something."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from audit.application.knowledge import Knowledge
from audit.application.ports import LogDamaged, LogReader, LogUnavailable, Workshop
from audit.domain.entry import Row
from shared.background import beside
from shared.contracts.audit_export import MAX_FOLLOWED
from shared.principal import Principal, Role

MAX_BYTES = 1024 * 1024
"""Where entries are large, an answer ends when it has so many bytes of them."""
TELL_EVERY_S = 0.1

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Stretch:
    """Entries in order, the fingerprint before the first one, and the index of the log's last one."""

    last_index: int
    previous: bytes = b""
    rows: list[Row] = field(default_factory=list)


class Follows:
    """Shows operators what is committed, as it stands there; whether it is what was written, queries say."""

    def __init__(self, reader: LogReader, workshop: Workshop) -> None:
        self._reader = reader
        self._workshop = workshop

    async def after(self, index: int | None, caller: Principal) -> Stretch:
        """Entries after that one, at most MAX_FOLLOWED; for None only how far the log goes.

        Raises Forbidden below operator and LogUnavailable.
        """
        caller.must_be(Role.OPERATOR)
        try:
            return await self._workshop.do(partial(_read_after, self._reader, index))
        except LogDamaged as error:
            raise LogUnavailable("The audit log is damaged and cannot be read.") from error


class Herald:
    """Tells that the log has grown, at most every TELL_EVERY_S."""

    def __init__(self, knowledge: Knowledge, tell: Callable[[int], Awaitable[None]]) -> None:
        self._knowledge = knowledge
        self._tell = tell

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tells while the block runs."""
        async with beside(self._repeat):
            yield

    async def _repeat(self) -> None:
        told = self._knowledge.seen.index
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            last = self._knowledge.seen.index
            if last == told:
                continue
            told = last
            try:
                await self._tell(last)
            except Exception:
                _log.exception("growth_not_told")


def _read_after(reader: LogReader, index: int | None) -> Stretch:
    with reader.snapshot() as snapshot:
        stretch = Stretch(snapshot.last_index())
        if index is None:
            return stretch
        stretch.previous = snapshot.fingerprints([index]).get(index, b"")
        size = 0
        for row in snapshot.rows(index + 1, index + MAX_FOLLOWED):
            stretch.rows.append(row)
            size += len(row.body) + len(row.personal)
            if size >= MAX_BYTES:
                break
    return stretch
