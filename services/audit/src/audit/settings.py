"""The settings of this service: the only reader of its environment."""

from pathlib import Path
from typing import Self

from pydantic import model_validator
from shared.settings import ServiceSettings
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


class AuditSettings(ServiceSettings):
    """What a replica needs to know."""

    @model_validator(mode="after")
    def _is_sqlite(self) -> Self:
        try:
            url = make_url(self.database_of("audit"))
        except ArgumentError:
            raise ValueError("DATABASE_URL is not the address of a database") from None
        if url.get_backend_name() != "sqlite" or not url.database:
            raise ValueError("DATABASE_URL: the audit log is kept in an SQLite file")
        return self

    @property
    def log_file(self) -> Path:
        """The file of the log."""
        return Path(make_url(self.database_of("audit")).database or "")
