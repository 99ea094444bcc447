"""Settings of the orchestrator: the only reader of its environment."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator

from shared.settings import ServiceSettings, require_key

OLLAMA_PORT = 11434
_PORT = re.compile(r":([0-9]{1,5})(?=[/,]|$)")
_WELL_KNOWN = {"http": 80, "https": 443}


class OrchestratorSettings(ServiceSettings):
    """What the orchestrator needs to know."""

    agent_encryption_key: Annotated[SecretStr, AfterValidator(require_key)]
    agent_allowed_hosts: str = f"localhost:{OLLAMA_PORT},127.0.0.1:{OLLAMA_PORT}"
    ollama_url: str | None = None
    ollama_host: str | None = None
    dispatch_per_minute: Annotated[int, Field(ge=1, le=1_000_000_000)] = 60

    @field_validator("agent_allowed_hosts")
    @classmethod
    def _are_entries(cls, text: str) -> str:
        _entries(text)
        return text

    @field_validator("ollama_url", "ollama_host")
    @classmethod
    def _is_a_server(cls, text: str | None) -> str | None:
        if text is not None:
            _server(text)
        return text

    def key(self) -> bytes:
        """The key that seals agents' credentials."""
        return bytes.fromhex(self.agent_encryption_key.get_secret_value())

    def allowed_hosts(self) -> frozenset[str]:
        """The `host:port` entries of private places where agents may be."""
        ollama = self.ollama_url or self.ollama_host
        return frozenset(_entries(self.agent_allowed_hosts)) | ({_server(ollama)} if ollama else set())

    def own_ports(self) -> frozenset[int]:
        """The ports of the platform's own NATS servers, where no agent is."""
        return frozenset(int(port) for port in _PORT.findall(self.nats_url))


def _entries(text: str) -> list[str]:
    return [_entry(item) for item in text.split(",") if item.strip()]


def _entry(text: str) -> str:
    """`host:port` in its canonical spelling; raises ValueError."""
    parts = urlsplit("//" + text.strip())
    if not parts.hostname or parts.port is None or parts.path or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{text.strip()!r} is not host:port, as localhost:{OLLAMA_PORT} or [::1]:{OLLAMA_PORT} are")
    return f"{_canonical(parts.hostname)}:{parts.port}"


def _server(text: str) -> str:
    """The `host:port` of an Ollama server as its own settings spell it: a URL, `host:port`, `host` or `:port`."""
    scheme, separator, rest = text.partition("://")
    parts = urlsplit("//" + (rest if separator else text).strip())
    port = parts.port or (_WELL_KNOWN.get(scheme, OLLAMA_PORT) if separator else OLLAMA_PORT)
    return f"{_canonical(parts.hostname or '127.0.0.1')}:{port}"


def _canonical(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower()
    return f"[{address}]" if address.version == 6 else str(address)
