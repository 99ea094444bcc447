"""The settings of this service: the only reader of its environment."""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from shared.settings import ServiceSettings

_SQLITE = ("sqlite", "sqlite+aiosqlite")


class AuditSettings(ServiceSettings):
    """What a replica needs to know."""

    @model_validator(mode="after")
    def _is_sqlite(self) -> Self:
        scheme, _, path = self.database_of("audit").partition(":///")
        if scheme not in _SQLITE or not path or "?" in path:
            raise ValueError("DATABASE_URL: the audit log is kept in an SQLite file: sqlite:///<path>")
        return self

    @property
    def log_file(self) -> Path:
        """The file of the log. Read from the address by hand: SQLAlchemy would cost this process 20 MB."""
        return Path(self.database_of("audit").partition(":///")[2])
