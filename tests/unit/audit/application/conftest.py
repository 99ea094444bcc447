"""Replicas over one log."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from audit.application.knowledge import Knowledge
from audit.application.tree import Tree
from audit.infrastructure.note_keys import NoteKeys
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.sqlite_writer import SqliteLogWriter
from tests.unit.audit.application.replicas import ORIGIN, NewWriter, Replica
from tests.unit.audit.logs import Threads


@pytest.fixture
def keys(tmp_path: Path) -> NoteKeys:
    keys = NoteKeys(tmp_path / "audit", ORIGIN)
    keys.prepare()
    return keys


@pytest.fixture
def new_writer(log_file: Path) -> Iterator[NewWriter]:
    """Writers of the log, closed after the test."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(SqliteLogWriter(log_file)))


@pytest.fixture
def replica(log_file: Path, keys: NoteKeys, workshop: Threads, new_writer: NewWriter) -> Replica:
    """A process that begins, with what it knows."""

    def begin() -> tuple[Tree, Knowledge]:
        knowledge = Knowledge()
        return Tree(SqliteLogReader(log_file), new_writer(), keys, workshop, knowledge, origin=ORIGIN), knowledge

    return begin
