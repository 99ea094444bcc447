"""Processes over one log, as far as the tree is concerned."""

from collections.abc import Callable
from pathlib import Path

from audit.application.knowledge import Knowledge
from audit.application.tree import Tree
from audit.infrastructure.sqlite_writer import SqliteLogWriter
from tests.unit.audit.logs import fill

ORIGIN = "peanut.local/audit"

Replica = Callable[[], tuple[Tree, Knowledge]]
"""A process that begins, with what it knows."""

NewWriter = Callable[[], SqliteLogWriter]
"""Another writer of the log."""


async def signed_log(log_file: Path, tree: Tree, entries: int) -> None:
    """Appends so many entries and has the tree follow."""
    if entries:
        await fill(log_file, entries)
    while await tree.grow():
        pass
