"""The bare audit: entries that arrive in one turn of the event loop are committed together, durably, then answered."""

import asyncio
import sqlite3
import sys

from nats.aio.msg import Msg

from tests.bench.bare.process import announce_ready, connect, run, until_stopped

APPEND = "bench.audit.append"


class Log:
    """The entries, one row each, in SQLite: WAL and synchronous=FULL, so that a commit survives a power failure."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        self._arrived: list[Msg] = []

    async def accept(self, request: Msg) -> None:
        """Take one message of newline-separated entries; its answer follows the commit."""
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._commit_arrived)
        self._arrived.append(request)

    def _commit_arrived(self) -> None:
        requests, self._arrived = self._arrived, []
        rows = [(entry,) for request in requests for entry in request.data.split(b"\n")]
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT INTO entries (body) VALUES (?)", rows)
        self._database.execute("COMMIT")
        self._answers = asyncio.gather(*[request.respond(b"committed") for request in requests])


async def main() -> None:
    nats_url, path = sys.argv[1:]
    bus = await connect(nats_url)
    await bus.subscribe(APPEND, cb=Log(path).accept)
    await bus.flush()
    announce_ready()
    await until_stopped()
    await bus.close()


if __name__ == "__main__":
    run(main)
