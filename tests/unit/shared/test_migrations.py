import asyncio
import os
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.database import open_database

ENVIRONMENT = "from shared.alembic_run import run_in_alembic\n\nrun_in_alembic()\n"
REVISION = """
import time

from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE things (id INTEGER PRIMARY KEY)")
    time.sleep(0.3)
    op.execute("INSERT INTO things VALUES (1)")
"""
BROKEN = REVISION.replace("0001", "0002").replace("= None", '= "0001"').replace("CREATE TABLE things", "CREATE TABLE")
PREPARE = "import sys; from shared.migrations import migrate; migrate(sys.argv[1], 'migrated_in_test')"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "code" / "migrated_in_test"
    (package / "migrations" / "versions").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "migrations" / "__init__.py").touch()
    (package / "migrations" / "env.py").write_text(ENVIRONMENT)
    (package / "migrations" / "versions" / "0001_things.py").write_text(REVISION)
    return package


async def migrated(package: Path, url: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PREPARE, url, env={**os.environ, "PYTHONPATH": str(package.parent)}, stderr=-3
    )
    return await process.wait()


async def test_two_processes_that_start_at_once_migrate_once(package: Path, tmp_path: Path) -> None:
    file = tmp_path / "data" / "x.db"
    url = f"sqlite+aiosqlite:///{file}"

    statuses = await asyncio.gather(migrated(package, url), migrated(package, url))

    assert set(statuses) == {0}
    assert await _things(url) == 1
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_a_migration_that_fails_leaves_nothing_and_can_be_tried_again(package: Path, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/x.db"
    broken = package / "migrations" / "versions" / "0002_broken.py"
    broken.write_text(BROKEN)
    failed = await migrated(package, url)
    broken.unlink()

    again = await migrated(package, url)

    assert (failed, again, await _things(url)) == (1, 0, 1)
    assert (tmp_path / "x.db").stat().st_mode & 0o777 == 0o600


async def _things(url: str) -> int:
    async with open_database(url) as database, database.reading() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM things"))).scalar_one())
