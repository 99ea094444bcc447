"""The settings of this service: the only reader of its environment."""

from pathlib import Path

from shared.settings import ServiceSettings


class AuditSettings(ServiceSettings):
    """What a replica needs to know."""

    @property
    def log_file(self) -> Path:
        """The file of the log."""
        return self.data_dir.resolve() / "audit.db"
