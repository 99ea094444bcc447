"""Replicas of the audit service as processes, over one log."""

import hashlib
import json
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.bus import CallContext, call_context
from shared.principal import Caller, Origin, Principal, PrincipalKind, Role
from tests.integration.bus import Nats


class Installation:
    """A data directory with a log, and any number of replicas that serve it."""

    def __init__(self, nats: Nats, data: Path) -> None:
        self.data = data
        self.log = data / "audit.db"
        self._environment = {
            **os.environ,
            "DATA_DIR": str(data),
            "NATS_URL": nats.url,
            "NATS_NKEY_FILE": str(nats.nkey("audit")),
        }
        self._replicas: dict[str, subprocess.Popen[bytes]] = {}
        subprocess.run([sys.executable, "-m", "audit.prepare"], env=self._environment, check=True)

    def start(self, instance: str = "audit-1") -> None:
        said = self.data / f"{instance}.log"
        before = said.read_bytes().count(b'"ready"') if said.exists() else 0
        with said.open("ab") as output:
            self._replicas[instance] = subprocess.Popen(
                [sys.executable, "-m", "audit"],
                env={**self._environment, "INSTANCE": instance},
                stdout=output,
                stderr=output,
            )
        until = time.monotonic() + 30
        while said.read_bytes().count(b'"ready"') == before:
            assert time.monotonic() < until, said.read_text()
            time.sleep(0.02)

    def send(self, number: signal.Signals, instance: str = "audit-1") -> None:
        self._replicas[instance].send_signal(number)

    def wait(self, instance: str = "audit-1") -> int:
        return self._replicas[instance].wait(20)

    def limit_files_to(self, size: int | None, instance: str = "audit-1") -> None:
        """What a full disk does to the service: its writes fail."""
        pid = self._replicas[instance].pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    def end(self) -> None:
        for replica in self._replicas.values():
            if replica.poll() is None:
                replica.send_signal(signal.SIGCONT)
                replica.terminate()
                replica.wait(20)

    def entries(self) -> list[Any]:
        """All entries, verified as docs/audit-format.md tells an outsider to."""
        connection = sqlite3.connect(self.log)
        rows = connection.execute(
            'SELECT "index", fingerprint, body, personal FROM entries ORDER BY "index"'
        ).fetchall()
        connection.close()
        previous = bytes(32)
        for number, (index, fingerprint, body, personal) in enumerate(rows):
            frame = struct.pack(">Q", index) + previous + struct.pack(">I", len(body)) + body
            assert (index, fingerprint) == (number, hashlib.sha256(b"peanut-audit/v1\0" + frame).digest())
            entry = json.loads(body)
            for field, given in json.loads(personal).items():
                name, value = field.encode(), given["value"].encode()
                framed = struct.pack(">Q", index) + struct.pack(">I", len(name)) + name + bytes.fromhex(given["salt"])
                framed += struct.pack(">I", len(value)) + value
                assert entry[field] == hashlib.sha256(b"peanut-audit/personal/v1\0" + framed).hexdigest()
            previous = fingerprint
        return rows


@contextmanager
def running(nats: Nats, data: Path) -> Iterator[Installation]:
    """An installation with one replica; however the block ends, no replica outlives it."""
    installation = Installation(nats, data)
    try:
        installation.start()
        yield installation
    finally:
        installation.end()


def by(role: Role, *, seconds: float = 5) -> CallContext:
    principal = Principal(
        kind=PrincipalKind.SESSION, user_id="ann", email="ann@example.org", role=role, credential_id="s1"
    )
    caller = Caller(principal=principal, origin=Origin(ip_address="192.0.2.7", user_agent="curl/8"))
    return call_context(seconds=seconds, caller=caller)
