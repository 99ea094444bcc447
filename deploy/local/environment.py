"""The `.env` file: written once with fresh secrets, and what each service is given of it."""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from dotenv import dotenv_values

from deploy.local.private_files import write_new

_GENERATED: Mapping[str, Callable[[], str]] = {
    "JWT_SECRET": lambda: secrets.token_urlsafe(48),
    "AGENT_ENCRYPTION_KEY": lambda: secrets.token_hex(32),
}

_OWNERS = {
    "JWT_SECRET": "auth",
    "JWT_SECRET_PREVIOUS": "auth",
    "DEFAULT_ADMIN_PASSWORD": "auth",
    "AGENT_ENCRYPTION_KEY": "orchestrator",
}
"""A secret is given to the service that needs it and to no other."""


def write_first(root: Path) -> bool:
    """Makes `.env` out of `.env.example`, with fresh secrets, mode 600. One that is there is never touched: False."""
    target = root / ".env"
    if target.exists():
        return False
    text = (root / ".env.example").read_text(encoding="utf-8")
    for name, generate in _GENERATED.items():
        text = re.sub(rf"(?m)^{name}=$", f"{name}={generate()}", text)
    return write_new(target, text)


def read(root: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What `.env` says, under what the real environment says. A variable without a value counts as not set."""
    file = dotenv_values(root / ".env", interpolate=False)
    return {name: value for name, value in {**file, **environment}.items() if value}


def of_service(service: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the secrets of other services.

    Also without a wish for no bytecode: compiling everything at each start makes 2 s of it 6.6 s.
    """
    ours = {name: value for name, value in environment.items() if _OWNERS.get(name, service) == service}
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return ours
