"""Health: whether the log can be written and read, and is what was written."""

from typing import Protocol

from audit.application.appends import Appends
from audit.application.knowledge import Knowledge, Status
from audit.application.ports import LogUnavailable
from audit.application.room import Room


class Complaining(Protocol):
    """Something that says by itself what it lacks."""

    @property
    def complaint(self) -> str:
        """In words for people; empty when nothing is wrong."""


class Health:
    """What this replica lacks."""

    def __init__(self, appends: Appends, knowledge: Knowledge, room: Room, *others: Complaining) -> None:
        self._appends = appends
        self._knowledge = knowledge
        self._room = room
        self._others = others

    def warning(self) -> str:
        """What will be wrong before long, in words for people; empty when nothing will."""
        return self._room.warning()

    async def complaint(self) -> str:
        """What is wrong, in words for people; empty when nothing is. Really writes to the log."""
        if self._knowledge.status is Status.INVALID:
            return f"The audit log is not what was written, from entry {self._knowledge.first_bad} on."
        try:
            await self._appends.append([])
        except LogUnavailable as error:
            return error.detail
        return next((other.complaint for other in self._others if other.complaint), "")
