"""Erasures: one person's values leave the log for good, and an entry says of which entries."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from audit.application.appends import Appends
from audit.application.own_entries import own_entry
from audit.application.ports import LogDamaged, LogEraser, LogReader, LogUnavailable, Workshop
from audit.domain.chain import Head
from audit.domain.entry import Draft
from audit.domain.erasure import details_of
from shared.bus import CallContext
from shared.contracts.audit import Action, Outcome
from shared.ids import new_id
from shared.principal import Role

AT_ONCE = 500
"""Entries per transaction, some 20 ms in which nobody else can write. Their ranges take at most 20 KB of details."""
SEARCHED_AT_ONCE = 10_000
"""Entries per search, some 30 ms for which a query may wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whose values are meant: those of entries of this user, or with this e-mail address. Either may be empty."""

    user_id: str
    email: str


@dataclass(slots=True)
class Report:
    """What was erased, and the places of the entries that say so; `left` entries are not what was written."""

    entries: int = 0
    fields: int = 0
    left: int = 0
    places: list[Head] = field(default_factory=list)


class Erasures:
    """Erases for admins, one person at a time."""

    def __init__(self, reader: LogReader, eraser: LogEraser, appends: Appends, workshop: Workshop) -> None:
        self._reader = reader
        self._eraser = eraser
        self._appends = appends
        self._workshop = workshop
        self._turn = asyncio.Lock()

    async def erase(self, person: Person, context: CallContext) -> Report:
        """Erases all there is of the person until now; what is gone already is no erasure.

        Returns once nothing of it is left in the log's files. Each part is one transaction with the entry that names
        it: after a failure, those parts are done, and erasing again does the rest. Raises Forbidden below admin,
        LogUnavailable.
        """
        context.principal.must_be(Role.ADMIN)
        async with self._turn:
            indexes = await self._find(person)
            report = Report()
            for start in range(0, len(indexes), AT_ONCE):
                await self._erase(indexes[start : start + AT_ONCE], partial(_entry, person, context), report)
            await self._eraser.forget()
        return report

    async def _find(self, person: Person) -> list[int]:
        try:
            last = await self._workshop.do(partial(_last_index, self._reader))
            found: list[int] = []
            for first in range(0, last + 1, SEARCHED_AT_ONCE):
                until = min(first + SEARCHED_AT_ONCE - 1, last)
                found += await self._workshop.do(partial(_search, self._reader, person, first, until))
        except LogDamaged as error:
            raise LogUnavailable("The audit log is damaged; not all of it can be searched.") from error
        return found

    async def _erase(self, indexes: Sequence[int], entry: Callable[[Sequence[int]], Draft], report: Report) -> None:
        erased = await self._eraser.erase(indexes, entry, self._appends.seen)
        report.left += erased.left
        report.entries += erased.entries
        report.fields += erased.fields
        if erased.commit is not None:
            report.places += self._appends.learn(erased.commit)


def _last_index(reader: LogReader) -> int:
    with reader.snapshot() as snapshot:
        return snapshot.last_index()


def _search(reader: LogReader, person: Person, first: int, last: int) -> list[int]:
    with reader.snapshot() as snapshot:
        return snapshot.of_person(person.user_id, person.email, first, last)


def _entry(person: Person, context: CallContext, indexes: Sequence[int]) -> Draft:
    """It names the person by id only: an e-mail address would stay for ever."""
    return own_entry(
        context,
        Action.AUDIT_PERSONAL_ERASED,
        Outcome.SUCCESS,
        resource_type="user",
        resource_id=person.user_id,
        details=details_of(indexes),
        id=new_id(),
    )
