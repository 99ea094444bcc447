"""The bare proxy as a whole: nats-server and its three processes, started together and counted afterwards."""

import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import child, first_line, free_port, nats_server, python_module


@dataclass(frozen=True, slots=True)
class BareProxy:
    """A running proxy."""

    port: int
    api_key: str
    _pids: Mapping[str, tuple[int, ...]]
    _log: Path

    def pids(self) -> Mapping[str, tuple[int, ...]]:
        """Its processes by role."""
        return self._pids

    def recorded(self) -> int:
        """Entries committed so far."""
        with closing(sqlite3.connect(f"file:{self._log}?mode=ro", uri=True)) as database:
            count: int = database.execute("SELECT count(*) FROM entries").fetchone()[0]
        return count


@contextmanager
def bare_proxy(directory: Path, *, upstream_port: int) -> Iterator[BareProxy]:
    """The proxy, ready to answer, with its log in the given directory."""
    nats_port, port, api_key, log = free_port(), free_port(), secrets.token_urlsafe(32), directory / "audit.db"
    nats_url = f"nats://127.0.0.1:{nats_port}"
    with ExitStack() as processes:
        pids = {}

        def start(role: str, *arguments: str) -> None:
            process = processes.enter_context(child(python_module(f"tests.bench.bare.{role}", nats_url, *arguments)))
            first_line(process)
            pids[role] = (process.pid,)

        nats_command = [nats_server(), "-a", "127.0.0.1", "-p", str(nats_port), "-l", os.devnull]
        bus = processes.enter_context(child(nats_command))
        pids["nats"] = (bus.pid,)
        start("audit", str(log))
        start("worker", f"http://127.0.0.1:{upstream_port}/v1")
        start("edge", str(port), api_key)
        yield BareProxy(port, api_key, pids, log)
