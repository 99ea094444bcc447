"""Appends: what arrives together is committed together, and acknowledged only then."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from audit.application.knowledge import Knowledge
from audit.application.ports import Commit, LogUnavailable, LogWriter
from audit.domain.chain import Head
from audit.domain.entry import Draft

MAX_GROUP = 2048
"""Entries per commit: some 100 ms, so that nobody waits for a crowd longer than for its own try."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Waiting:
    drafts: Sequence[Draft]
    places: asyncio.Future[list[Head]]


class Appends:
    """Groups the appends of this process. Made for one event loop."""

    def __init__(self, writer: LogWriter, knowledge: Knowledge) -> None:
        self._writer = writer
        self._knowledge = knowledge
        self._waiting: list[_Waiting] = []
        self._committer: asyncio.Task[None] | None = None
        self.failed_at = float("-inf")
        """The loop's time when the log could last not be written."""

    async def append(self, drafts: Sequence[Draft]) -> list[Head]:
        """The places of the entries, once they are durably in the log; a repeated one's is where it already stands.

        No drafts at all ask whether the log can be written. Raises LogUnavailable; then nothing is recorded.
        """
        waiting = _Waiting(drafts, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._committer is None or self._committer.done():
            # Starts behind the calls that have arrived in this turn of the loop: they share its commit.
            self._committer = asyncio.create_task(self._commit_all())
        return await waiting.places

    def learn(self, commit: Commit) -> list[Head]:
        """Takes note of what was committed; returns the places of the entries."""
        if commit.as_remembered:
            self._knowledge.committed(commit.after)
        else:  # go on recording, on what is left: the record of what happens now matters most after a forgery
            self._knowledge.found_bad(min(commit.before.index + 1, self._knowledge.seen.index))
        return commit.places

    @property
    def seen(self) -> Head:
        """The last entry that is known to be committed."""
        return self._knowledge.seen

    async def _commit_all(self) -> None:
        while self._waiting:
            group = self._next_group()
            try:
                await self._commit(group)
            except Exception as error:
                self.failed_at = asyncio.get_running_loop().time()
                if not isinstance(error, LogUnavailable):
                    _log.exception("append_failed")
                for waiting in group:
                    if not waiting.places.done():
                        waiting.places.set_exception(error)

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        entries = 0
        while self._waiting and (not group or entries + len(self._waiting[0].drafts) <= MAX_GROUP):
            waiting = self._waiting.pop(0)
            if not waiting.places.done():  # its caller has not given up
                group.append(waiting)
                entries += len(waiting.drafts)
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        drafts = [draft for waiting in group for draft in waiting.drafts]
        if not drafts:
            await self._writer.try_writing()
        places = iter(self.learn(await self._writer.commit(drafts, self._knowledge.seen)) if drafts else ())
        for waiting in group:
            own = [next(places) for _ in waiting.drafts]
            if not waiting.places.done():
                waiting.places.set_result(own)
