"""The settings of this service: the only reader of its environment."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from shared.settings import ServiceSettings, require_key_name


class AuditSettings(ServiceSettings):
    """What a replica needs to know."""

    audit_origin: Annotated[str, Field(max_length=256), AfterValidator(require_key_name)] = "peanut.local/audit"
    """The log's name, for ever: it stands in each checkpoint."""

    @property
    def log_file(self) -> Path:
        """The file of the log."""
        return self.data_dir.resolve() / "audit.db"

    @property
    def key_folder(self) -> Path:
        """Where the keys are that sign checkpoints."""
        return self.data_dir.resolve() / "audit"
