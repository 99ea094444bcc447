"""The edge's settings."""

from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from edge.http.addresses import Network
from shared.settings import ServiceSettings


class EdgeSettings(ServiceSettings):
    """What the edge listens on, what it calls itself and whom it believes."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 3001
    public_url: str = ""
    cors_origin: Annotated[tuple[str, ...], NoDecode] = ("http://localhost:3000",)
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()

    @field_validator("cors_origin", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return tuple(_normal_origin(part) for part in _parts(value)) if isinstance(value, str) else value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        return tuple(ip_network(part) for part in _parts(value)) if isinstance(value, str) else value

    @field_validator("public_url")
    @classmethod
    def _be_an_origin(cls, value: str) -> str:
        return _normal_origin(value) if value else value

    @property
    def own_origin(self) -> str:
        """The origin under which people and programs know this edge."""
        return self.public_url or f"http://localhost:{self.port}"

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may change things with a session cookie."""
        return frozenset((*self.cors_origin, self.own_origin))

    @property
    def hosts(self) -> frozenset[str]:
        """The values of Host that name this edge."""
        local = (f"{name}:{self.port}" for name in ("localhost", "127.0.0.1", "[::1]", self.host))
        return frozenset((urlsplit(self.own_origin).netloc, *local))


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _normal_origin(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.path.strip("/") or url.query or url.username:
        raise ValueError("must be an origin like https://peanut.example")
    return f"{url.scheme}://{url.netloc.lower()}"
