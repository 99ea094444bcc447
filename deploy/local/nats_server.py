"""The bus's server: the binary that is installed with the locked packages, and the configuration it is started with."""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sysconfig
from pathlib import Path

from deploy.local import catalogue, environment, private_files, processes, state
from deploy.local.problem import Problem
from deploy.local.processes import Program
from deploy.local.settings import Settings

HOST = "127.0.0.1"
_OLDEST = (2, 12)


def program(settings: Settings) -> Program:
    """Raises `Problem` when the server is missing or too old, or when the file of a key is damaged."""
    return Program(
        service=catalogue.BUS,
        instance=catalogue.BUS,
        argv=(_binary(), "--config", str(_configured(settings))),
        environment=environment.of_service(catalogue.BUS, settings.environment),
        directory=settings.root,
    )


def reload(settings: Settings) -> None:
    """Has the server that runs read its configuration anew, as it is now.

    Connections stay, but those whose key is gone, and calls under way go on: services may answer each other by lasting
    permissions, where the server forgets those for single calls. Raises `Problem` when `make up` does not run it.
    """
    _configured(settings)
    running = next((each for each in state.read(settings.run_dir).processes if each.service == catalogue.BUS), None)
    if running is None or running.pid is None or processes.birth(running.pid) != running.birth:
        raise Problem("the bus is not one that make up has started: start everything with make up")
    os.kill(running.pid, signal.SIGHUP)


def _configured(settings: Settings) -> Path:
    """The configuration file, made again only when what it is made from has changed.

    The table of permissions names the contracts of all services; importing those takes a tenth of the whole start.
    """
    folder = private_files.private_directory(settings.nats_dir)
    config = folder / "nats.conf"
    if not config.exists() or not config.read_text().startswith(_origin(settings)):
        content = _configuration(settings)
        private_files.replace(config, _origin(settings) + content)
    return config


def _configuration(settings: Settings) -> str:
    from deploy.nats import agent_keys, keys, permissions  # noqa: PLC0415 - takes every contract, see _configured

    try:
        public_keys = keys.public_keys(settings.nats_dir, (user.name for user in permissions.USERS))
        agents = agent_keys.known(settings.nats_dir)
    except ValueError as error:
        raise Problem(f"{error}: remove that file, and a new one is made") from error
    store_dir = settings.nats_dir.resolve() / "jetstream"
    return permissions.configuration(
        public_keys, host=HOST, port=settings.nats_port, store_dir=store_dir, agents=agents
    )


def _origin(settings: Settings) -> str:
    """A first line that is another one when the port, the folder, a key or a source of the table is."""
    packages = [importlib.util.find_spec(name) for name in ("deploy.nats", "shared")]
    folders = [Path(folder) for spec in packages if spec for folder in spec.submodule_search_locations or ()]
    sources = [source for folder in folders for source in sorted(folder.rglob("*.py"))]
    digest = hashlib.sha256(f"{settings.nats_port} {settings.nats_dir.resolve()}".encode())
    for source in (*sources, *sorted(settings.nats_dir.glob("*.nk")), *sorted(settings.nats_dir.glob("agents/*.pub"))):
        digest.update(source.name.encode() + source.read_bytes())
    return f"# made from {digest.hexdigest()}\n"


def _binary() -> str:
    """The environment's own first: a distribution's is often years old."""
    ours = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(ours) if ours.exists() else shutil.which("nats-server")
    if found is None:
        raise Problem("nats-server is missing: remove .venv and start again, which installs it")
    version = _version(found)
    if version < _OLDEST:
        raise Problem(f"{found} is {'.'.join(map(str, version))}: nats-server 2.12 or newer is needed")
    return found


def _version(binary: str) -> tuple[int, ...]:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Problem(f"{binary} does not run on this machine: {error}") from error
    return tuple(int(number) for number in re.findall(r"\d+", said)[:3])
