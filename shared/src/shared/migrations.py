"""Schema migrations: run before a service starts, by one process at a time."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

from sqlalchemy.engine import make_url


def migrate(url: str, package: str) -> None:
    """Brings the database at `url` to the newest revision in `<package>.migrations`.

    Revisions are named after their files (`0001_log.py` is 0001), so that a start with a current schema, which is
    nearly every one, needs none of Alembic's second of imports.
    """
    with _alone(url):
        if _revision_of(url) != _newest_revision(package):
            from shared.alembic_run import upgrade  # noqa: PLC0415  # see above

            upgrade(url, package)


def _newest_revision(package: str) -> str:
    versions = files(package) / "migrations" / "versions"
    return max(file.name.partition("_")[0] for file in versions.iterdir() if file.name[0].isdigit())


def _revision_of(url: str) -> str | None:
    path = make_url(url).database
    if not url.startswith("sqlite") or path is None:
        return None
    with closing(sqlite3.connect(path)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:  # no such table: nothing was ever migrated
            return None
    return str(row[0]) if row else None


@contextmanager
def _alone(url: str) -> Iterator[None]:
    path = make_url(url).database
    if not url.startswith("sqlite") or path is None:
        yield  # a server's own transactional DDL keeps two migrations apart
        return
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(f"{file}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file.touch(mode=0o600)  # before anything is in it; SQLite gives its WAL the same mode
        file.chmod(0o600)
        yield
