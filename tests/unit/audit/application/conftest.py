"""Replicas over one log."""

from pathlib import Path

import pytest

from audit.application.knowledge import Knowledge
from audit.application.tree import Tree
from audit.infrastructure.note_keys import NoteKeys
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.sqlite_writer import SqliteLogWriter
from tests.unit.audit.application.replicas import ORIGIN, Replica
from tests.unit.audit.logs import Threads


@pytest.fixture
def keys(tmp_path: Path) -> NoteKeys:
    keys = NoteKeys(tmp_path / "audit", ORIGIN)
    keys.prepare()
    return keys


@pytest.fixture
def replica(log_file: Path, keys: NoteKeys, workshop: Threads) -> Replica:
    """A process that begins, with what it knows."""

    def begin() -> tuple[Tree, Knowledge]:
        knowledge = Knowledge()
        reader, writer = SqliteLogReader(log_file), SqliteLogWriter(log_file)
        return Tree(reader, writer, keys, workshop, knowledge, origin=ORIGIN), knowledge

    return begin
