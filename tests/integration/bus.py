"""A real nats-server for tests, with the permissions of deploy/."""

import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.nats.agent_keys import new_pair
from deploy.nats.keys import public_keys
from deploy.nats.permissions import USERS, configuration
from shared.bus import Bus, connect
from tests.integration.ports import free_port
from tests.integration.programs import nats_server

BUS_AGENTS = ("0193a3c0-0000-7000-8000-000000000001", "0193a3c0-0000-7000-8000-000000000002")
"""Ids of agents that the server knows."""


class Nats:
    """A nats-server process that can be killed, paused and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.config = directory / "nats.conf"
        keys = public_keys(directory, [user.name for user in USERS])
        self.seeds = {agent: new_pair() for agent in BUS_AGENTS}
        known = {agent: key for agent, (_, key) in self.seeds.items()}
        text = configuration(keys, host="127.0.0.1", port=self.port, store_dir=directory / "jetstream", agents=known)
        self.config.write_text(text, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def nkey(self, user: str) -> Path:
        return self.directory / f"{user}.nk"

    def seed(self, user: str) -> str:
        """Of a user, or of a bus agent by its id."""
        return self.seeds[user][0] if user in self.seeds else self.nkey(user).read_text()

    def start(self) -> None:
        with open(self.directory / "nats.log", "ab") as log:
            self._process = subprocess.Popen([nats_server(), "-c", str(self.config)], stdout=log, stderr=log)
        _wait_for_port(self.port)

    def read_anew(self) -> None:
        """Has it read its configuration, and returns when it has."""
        assert self._process is not None
        log = self.directory / "nats.log"
        before = log.read_text().count("Reloaded server configuration")
        self._process.send_signal(signal.SIGHUP)
        for _ in range(500):
            if log.read_text().count("Reloaded server configuration") > before:
                return
            time.sleep(0.01)
        raise AssertionError("the configuration was not read anew")

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def _wait_for_port(port: int) -> None:
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError(f"nothing listens on port {port}")


@asynccontextmanager
async def bus_as(nats: Nats, user: str, *, instance: str | None = None) -> AsyncIterator[Bus]:
    """The bus as that user sees it."""

    def lost() -> None:
        raise AssertionError("the bus connection was given up")

    async with connect(
        nats.url,
        service=user,
        instance=instance or f"{user}-1",
        nkey_file=nats.nkey(user),
        on_lost=lost,
        finds_replicas=user == "edge",
    ) as bus:
        yield bus
