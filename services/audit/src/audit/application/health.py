"""Health: whether the log can be written and read, and is what was written."""

from audit.application.appends import Appends
from audit.application.knowledge import Knowledge, Status
from audit.application.ports import LogUnavailable
from audit.application.tree import Tree
from audit.application.witnessing import Witnessing


class Health:
    """What this replica lacks."""

    def __init__(self, appends: Appends, knowledge: Knowledge, tree: Tree, witnessing: Witnessing) -> None:
        self._appends = appends
        self._knowledge = knowledge
        self._tree = tree
        self._witnessing = witnessing

    async def complaint(self) -> str:
        """What is wrong, in words for people; empty when nothing is. Really writes to the log."""
        if self._knowledge.status is Status.INVALID:
            return f"The audit log is not what was written, from entry {self._knowledge.first_bad} on."
        try:
            await self._appends.append([])
        except LogUnavailable as error:
            return error.detail
        return self._tree.complaint or self._witnessing.complaint
