"""Exports: the log, or a part of it, handed over entry by entry to who reads it, however slowly."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from audit.application.appends import Appends
from audit.application.own_entries import own_entry
from audit.application.ports import Filters, LogDamaged, LogReader, LogUnavailable, StoredCheckpoint, Workshop
from audit.domain.chain import EMPTY, Head
from audit.domain.entry import Draft
from audit.domain.formats import csv_lines, jsonl
from audit.domain.formats.chosen import LINES
from audit.domain.formats.records import NotAsWritten, record_of
from shared.bus import CallContext
from shared.contracts.audit import Action, Outcome
from shared.contracts.audit_export import ExportFormat
from shared.errors import FieldError, InvalidFields, PlatformError
from shared.principal import Role
from shared.tlog.merkle import Frontier

AT_ONCE = 500
"""Entries that are read and written in one go, some 20 ms: a query waits no longer for its turn."""
PART_BYTES = 1024 * 1024
"""Where entries are large, a part ends when it has so many bytes."""
PIECE_BYTES = 16 * 1024
"""Half of what may be on its way to a reader: while one piece is read the next one travels."""
FINISH_WITHIN_S = 3.0

Write = Callable[[bytes], Awaitable[None]]

_log = logging.getLogger(__name__)


class LogBroken(LogUnavailable):
    """An entry is not what was written; nothing from there on can be exported."""

    reason = "audit-log-broken"


class SignedTree(Protocol):
    """What an export needs of the tree over the log. Everything raises LogUnavailable or NotCovered."""

    async def covering(self) -> StoredCheckpoint | None:
        """A checkpoint of all that is known to be committed; None for an empty log."""

    async def frontier(self, size: int) -> Frontier:
        """That of the first `size` entries."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted: entries by index, both included; without `last`, up to the newest one."""

    format: ExportFormat
    first: int
    last: int | None


@dataclass(slots=True)
class Part:
    """Lines in pieces, each with the number of its entries, and the last entry of them."""

    head: Head
    pieces: list[tuple[bytes, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Progress:
    count: int = 0


class Exports:
    """Exports for admins, each of them recorded: its intent before the first byte, its outcome after the last."""

    def __init__(
        self, reader: LogReader, workshop: Workshop, tree: SignedTree, appends: Appends, *, origin: str
    ) -> None:
        self._reader = reader
        self._workshop = workshop
        self._tree = tree
        self._appends = appends
        self._origin = origin
        self._concluding: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """At the end of the block, what became of exports that were broken off is still recorded."""
        try:
            yield
        finally:
            if self._concluding:
                await asyncio.wait(self._concluding, timeout=FINISH_WITHIN_S)

    async def export(self, wish: Wish, context: CallContext, write: Write) -> int:
        """Writes the lines, the last one when all is said; returns how many entries there were.

        `write` waits for its reader. Raises Forbidden below admin, InvalidFields for a part that there is not,
        LogUnavailable, and LogBroken at the first entry that is not what was written.
        """
        context.principal.must_be(Role.ADMIN)
        if wish.last is not None and wish.last < wish.first:
            raise InvalidFields("The part ends before it begins.", errors=(FieldError("to", "comes before `from`"),))
        await self._appends.append([_entry(wish, context, None, {})])
        progress = _Progress()
        try:
            await self._write_all(wish, write, progress)
        except BaseException as error:
            reason = error.reason if isinstance(error, PlatformError) else "broken-off"
            self._conclude(_entry(wish, context, Outcome.FAILURE, {"count": progress.count, "reason": reason}))
            raise
        outcome = _entry(wish, context, Outcome.SUCCESS, {"count": progress.count})
        try:
            await self._appends.append([outcome])
        except asyncio.CancelledError:  # all was written nevertheless
            self._conclude(outcome)
            raise
        return progress.count

    async def _write_all(self, wish: Wish, write: Write, progress: _Progress) -> None:
        checkpoint = await self._tree.covering()
        size = checkpoint.size if checkpoint else 0
        if wish.first > size:
            raise InvalidFields("The log is shorter.", errors=(FieldError("from", f"must be at most {size}"),))
        end = size if wish.last is None else min(wish.last + 1, size)
        head = await self._do(partial(_head_before, self._reader, wish.first))
        if first_line := await self._first_line(wish):
            await write(first_line)
        head = await self._write_entries(wish.format, head, end, write, progress)
        # An erasure meanwhile took values from what was read after it: whoever verifies has to find its entry too.
        while wish.last is None and await self._do(partial(_last_erasure, self._reader)) >= end:
            checkpoint = await self._tree.covering()
            end = checkpoint.size if checkpoint else end
            head = await self._write_entries(wish.format, head, end, write, progress)
        if wish.format is ExportFormat.JSONL:
            # As it is stored it has by now the cosignatures of those who have seen it.
            stored = await self._do(partial(_checkpoint_of, self._reader, end))
            if stored is None and checkpoint is not None and checkpoint.size == end:
                stored = checkpoint
            if stored is not None:
                await write(jsonl.last_line(stored.note))

    async def _write_entries(
        self, format: ExportFormat, head: Head, end: int, write: Write, progress: _Progress
    ) -> Head:
        """Writes those after `head` and before `end`; returns the last one."""
        while head.index + 1 < end:
            until = min(head.index + AT_ONCE, end - 1)
            part = await self._do(partial(read_part, self._reader, format, head, until))
            for piece, count in part.pieces:
                await write(piece)
                progress.count += count
            head = part.head
        return head

    async def _first_line(self, wish: Wish) -> bytes:
        if wish.format is ExportFormat.JSONL:
            frontier = await self._tree.frontier(wish.first)
            return jsonl.head_line(wish.first, frontier.hashes, self._origin)
        if wish.format is ExportFormat.CSV and not wish.first:
            return csv_lines.head_line()
        return b""

    async def _do(self, work: Callable[[], Any]) -> Any:
        try:
            return await self._workshop.do(work)
        except NotAsWritten as error:
            _log.error("export_met_damage", extra={"index": error.index})
            raise LogBroken(f"The audit log is not what was written, from entry {error.index} on.") from error
        except LogDamaged as error:
            _log.error("export_met_damage", exc_info=error)
            raise LogBroken("The audit log is damaged and cannot be read any further.") from error

    def _conclude(self, outcome: Draft) -> None:
        """Records it even if the task of the export is cancelled once more; the concluder does it otherwise."""
        task = asyncio.create_task(self._append_quietly(outcome))
        self._concluding.add(task)
        task.add_done_callback(self._concluding.discard)

    async def _append_quietly(self, outcome: Draft) -> None:
        try:
            await self._appends.append([outcome])
        except LogUnavailable:
            _log.warning("outcome_of_export_not_recorded", extra={"id": outcome.id})


def read_part(reader: LogReader, format: ExportFormat, after: Head, last: int) -> Part:
    """The lines of the entries after that one, up to `last` or PART_BYTES.

    Raises NotAsWritten at the first entry that is not the next one of the log that was written, and LogDamaged.
    """
    line_of = LINES[format]
    part, lines, size, total = Part(after), list[bytes](), 0, 0
    with reader.snapshot() as snapshot:
        for row in snapshot.rows(after.index + 1, last):
            line = line_of(record_of(row, part.head))
            if lines and size + len(line) > PIECE_BYTES:
                part.pieces.append((b"".join(lines), len(lines)))
                lines, size = [], 0
            lines.append(line)
            size += len(line)
            total += len(line)
            part.head = row.head
            if total >= PART_BYTES:
                break
    if lines:
        part.pieces.append((b"".join(lines), len(lines)))
    if part.head == after:
        raise NotAsWritten(after.index + 1)  # a hole, or the log's end has come nearer
    return part


def _head_before(reader: LogReader, index: int) -> Head:
    if not index:
        return EMPTY
    with reader.snapshot() as snapshot:
        fingerprint = snapshot.fingerprints([index - 1]).get(index - 1)
    if not isinstance(fingerprint, bytes):
        raise NotAsWritten(index - 1)
    return Head(index - 1, fingerprint)


def _checkpoint_of(reader: LogReader, size: int) -> StoredCheckpoint | None:
    with reader.snapshot() as snapshot:
        return snapshot.checkpoint_of(size)


def _last_erasure(reader: LogReader) -> int:
    """The index of the newest erasure, -1 when there is none."""
    with reader.snapshot() as snapshot:
        newest = snapshot.newest(Filters(action=Action.AUDIT_PERSONAL_ERASED), 1, 0)
        return newest[0].index if newest else -1


def _entry(wish: Wish, context: CallContext, outcome: Outcome | None, result: dict[str, Any]) -> Draft:
    details = {**result, "format": wish.format.value, "from": wish.first, "to": wish.last}
    return own_entry(
        context,
        Action.AUDIT_EXPORTED,
        outcome,
        resource_type="audit",
        resource_id="log",
        details=dict(sorted(details.items())),
    )
