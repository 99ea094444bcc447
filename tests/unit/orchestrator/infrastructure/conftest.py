"""A migrated database of its own for each test; migrating takes longer than most of them."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.database import Database, open_database
from shared.migrations import migrate


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("orchestrator") / "orchestrator.db"
    migrate(f"sqlite+aiosqlite:///{file}", "orchestrator")
    return file


@pytest.fixture
async def database(migrated: Path, tmp_path: Path) -> AsyncIterator[Database]:
    file = shutil.copy(migrated, tmp_path / "orchestrator.db")
    async with open_database(f"sqlite+aiosqlite:///{file}") as database:
        yield database
