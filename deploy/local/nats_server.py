"""The bus's server: the binary that is installed with the locked packages, and the configuration it is started with."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from deploy.local import catalogue
from deploy.local.private_files import replace
from deploy.local.problem import Problem
from deploy.local.processes import Program
from deploy.local.settings import Settings
from deploy.nats.keys import public_keys
from deploy.nats.permissions import configuration

HOST = "127.0.0.1"
_OLDEST = (2, 12)


def program(settings: Settings) -> Program:
    """Makes keys and configuration; raises `Problem` when the server is missing or too old, or a key is damaged."""
    binary = _binary()
    config = settings.nats_dir / "nats.conf"
    try:
        keys = public_keys(settings.nats_dir)
    except ValueError as error:
        raise Problem(f"{error}: remove it and a new one is made") from error
    replace(config, configuration(keys, host=HOST, port=settings.nats_port))
    return Program(
        service=catalogue.BUS,
        instance=catalogue.BUS,
        argv=(binary, "--config", str(config)),
        environment=settings.environment,
        directory=settings.root,
    )


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
