"""The runner's own settings, read from the environment once and checked before anything is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local import catalogue
from deploy.local.problem import Problem

_LOCAL_HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are and how many of each run. `environment` is what the services are started with."""

    root: Path
    data_dir: Path
    host: str
    port: int
    public_url: str
    nats_port: int
    replicas: Mapping[str, int]
    environment: Mapping[str, str]

    @property
    def run_dir(self) -> Path:
        """State, lock and log of the runner."""
        return self.data_dir / "run"

    @property
    def nats_url(self) -> str:
        """Where the bus is."""
        return self.environment.get("NATS_URL", f"nats://127.0.0.1:{self.nats_port}")

    @property
    def nats_dir(self) -> Path:
        """The bus's keys and configuration."""
        return self.data_dir / "nats"


def read(root: Path, environment: Mapping[str, str]) -> Settings:
    """Raises `Problem` for a value that cannot be used."""
    data_dir = root / environment.get("DATA_DIR", "data")
    witness_dir = root / environment.get("WITNESS_DIR", data_dir.with_name(f"{data_dir.name}-witness"))
    port = _port("PORT", environment.get("PORT", "3001"))
    return Settings(
        root=root,
        data_dir=data_dir,
        host=environment.get("HOST", "127.0.0.1"),
        port=port,
        public_url=environment.get("PUBLIC_URL", f"http://localhost:{port}").rstrip("/"),
        nats_port=_nats_port(environment.get("NATS_URL", "nats://127.0.0.1:4222")),
        replicas=_replicas(environment.get("SCALE", "")),
        environment={**environment, "DATA_DIR": str(data_dir), "WITNESS_DIR": str(witness_dir)},
    )


def _port(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise Problem(f"{name} is {text!r}: it has to be a number from 1 to 65535")
    return int(text)


def _nats_port(url: str) -> int:
    try:
        parts = urlsplit(url)
        port = parts.port or 4222
    except ValueError:
        raise Problem("NATS_URL is no address: it has to look like nats://127.0.0.1:4222") from None
    if parts.scheme != "nats" or parts.hostname not in _LOCAL_HOSTS:
        raise Problem("NATS_URL names no bus on this machine: it has to look like nats://127.0.0.1:4222")
    return port


def _replicas(text: str) -> dict[str, int]:
    """`"edge=2 auth=2"`; what is not named runs once."""
    replicas = {service.name: 1 for service in catalogue.SERVICES}
    for wish in text.split():
        name, _, number = wish.partition("=")
        if name not in replicas:
            raise Problem(f"SCALE names {name!r}: it knows {', '.join(replicas)}")
        most = catalogue.find(name).most
        if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= most:
            raise Problem(f'SCALE says {wish!r}: it has to look like "edge=2 auth=2", up to {most} of {name}')
        replicas[name] = int(number)
    return replicas
