"""Settings: read once, from the environment or from files, and refused with one clear line when they are bad."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.tlog.notes import is_key_name

BAD_SETTING_EXIT = 2
MIN_SECRET_BYTES = 32


class ServiceSettings(BaseSettings):
    """What every service needs to know. Each name is the environment variable's, in lower case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path("data")
    nats_url: str = "nats://127.0.0.1:4222"
    nats_nkey_file: Path | None = None
    instance: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def instance_of(self, service: str) -> str:
        """The name of this replica."""
        return self.instance or f"{service}-1"

    def nkey_of(self, service: str) -> Path:
        """The file with the seed of this service's bus user."""
        return self.nats_nkey_file or self.data_dir / "nats" / f"{service}.nk"

    def database_of(self, service: str) -> str:
        """The SQLAlchemy address of this service's own database file."""
        return f"sqlite+aiosqlite:///{self.data_dir.resolve() / f'{service}.db'}"


S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S]) -> S:
    """The settings from the environment; a variable NAME_FILE names a file that holds NAME's value.

    Ends the process with one line that names each bad variable, never its value.
    """
    try:
        return settings(**_from_files(settings))
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            name = "_".join(str(part) for part in problem["loc"]).upper() or "settings"
            print(f"bad setting: {name}: {problem['msg']}", file=sys.stderr)
        raise SystemExit(BAD_SETTING_EXIT) from None
    except SettingsError as error:  # a list or a mapping that is not JSON; the message names the field alone
        print(f"bad setting: {error}", file=sys.stderr)
        raise SystemExit(BAD_SETTING_EXIT) from None


def require_secret(value: SecretStr) -> SecretStr:
    """Raises ValueError unless the secret is long enough to be one and not a single repeated character."""
    text = value.get_secret_value()
    if len(text.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"must have at least {MIN_SECRET_BYTES} bytes; `make up` writes a strong one into .env")
    if len(set(text)) < 8:
        raise ValueError("is too regular to be a secret; `make up` writes a strong one into .env")
    return value


def require_key(value: SecretStr) -> SecretStr:
    """Raises ValueError unless the secret is an AES-256 key: 64 hexadecimal digits."""
    try:
        if len(bytes.fromhex(value.get_secret_value())) == 32:
            return require_secret(value)
    except ValueError:
        pass
    raise ValueError("must be 64 random hexadecimal digits (32 bytes); `make up` writes them into .env")


def require_key_name(name: str) -> str:
    """Raises ValueError unless a key of signed notes may be named so."""
    if not is_key_name(name):
        raise ValueError("must be a name without spaces and plus signs")
    return name


def _from_files(settings: type[BaseSettings]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in settings.model_fields:
        path = os.environ.get(f"{name.upper()}_FILE")
        if path and not os.environ.get(name.upper()):  # empty is the same as absent, as everywhere
            try:
                values[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
                print(f"bad setting: {name.upper()}_FILE: {why}", file=sys.stderr)
                raise SystemExit(BAD_SETTING_EXIT) from None
    return values
