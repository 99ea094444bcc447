"""The settings of the witness: the only reader of its environment."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from shared.settings import ServiceSettings, require_key_name
from shared.tlog.notes import KeyRefused, Verifier


def _require_key(text: str) -> str:
    try:
        Verifier.parse(text)
    except KeyRefused:
        raise ValueError("must be the public key of a log, as in DATA_DIR/audit/note.pub") from None
    return text


Name = Annotated[str, Field(max_length=256), AfterValidator(require_key_name)]


class WitnessSettings(ServiceSettings):
    """What the witness needs to know."""

    witness_dir: Path | None = None
    witness_name: Name = "peanut.local/witness"
    witness_log_key: Annotated[str, AfterValidator(_require_key)] | None = None
    audit_origin: Name = "peanut.local/audit"

    @property
    def directory(self) -> Path:
        """Where the key and the memory are: beside the data of all others, unless something else is said."""
        data = self.data_dir.resolve()
        return self.witness_dir.resolve() if self.witness_dir else data.with_name(f"{data.name}-witness")

    @property
    def log(self) -> Verifier | None:
        """The log's key to trust as long as nothing is remembered."""
        return Verifier.parse(self.witness_log_key) if self.witness_log_key else None

    @model_validator(mode="after")
    def _apart_from_the_data(self) -> Self:
        if self.directory.is_relative_to(self.data_dir.resolve()):
            raise ValueError("WITNESS_DIR must not be inside DATA_DIR: both would be rolled back together")
        if self.log and self.log.name != self.audit_origin:
            raise ValueError("WITNESS_LOG_KEY must be the key of AUDIT_ORIGIN")
        return self
