"""A migrated database and the service's parts over it."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.migrations import migrate
from tests.unit.auth.world import Log, World, open_world


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("auth") / "auth.db"
    migrate(f"sqlite+aiosqlite:///{file}", "auth")
    return file


@pytest.fixture
def file(migrated: Path, tmp_path: Path) -> Path:
    """A migrated, empty database of its own."""
    return Path(shutil.copy(migrated, tmp_path / "auth.db"))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def world(file: Path, log: Log) -> AsyncIterator[World]:
    async with open_world(file, log) as made:
        yield made
