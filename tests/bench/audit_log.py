"""How fast the audit log is when it is long: start, verified pages, appends, checkpoints, exports and their verifier.

The log is made by the service's own code, without the service: sealed entries, tiles and a signed checkpoint.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple, TypeVar

import httpx

import peanut_verify
from audit.application.knowledge import Knowledge
from audit.application.tree import Tree
from audit.domain.chain import Head
from audit.domain.entry import Draft, Row, seal
from audit.infrastructure.note_keys import NoteKeys
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.sqlite_rows import COLUMNS
from audit.infrastructure.sqlite_writer import SALTS_BYTES, SqliteLogWriter
from shared.audit import AuditUnavailable
from shared.audit.appender import Appender
from shared.bus import Bus, call_context, connect, write
from shared.clock import utc_now
from shared.contracts.audit import Action, Append, NewEntry, Outcome, Phase, append_contract
from shared.ids import new_id
from tests.bench.core_meter import CoreWork, cores_noted
from tests.bench.linux import CpuUse, Surroundings
from tests.bench.progress import progress
from tests.bench.system import System

PAGE = 100
PAGES = 200
EXPORTED = 1_000_000
ORIGIN = "peanut.local/audit"

_AT_ONCE = 20_000
_BATCH = 64
_BATCHES_AT_ONCE = 8
_APPENDERS = 64
_CHECKPOINTS = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _WhileItRuns:
    """What is found of a running system; times in ms."""

    service_start_s: float
    """Of the audit service alone: from its death to the next receipt."""
    page_ms: dict[str, float]
    filtered_page_ms: dict[str, float]
    scattered_page_ms: dict[str, float]
    """Of one user, whose is every five hundredth entry."""
    appends_per_second: float
    """At the service, 64 in each call."""
    receipts_per_second: float
    """End to end: each entry by itself, 64 who wait."""
    receipt_ms: dict[str, float]
    checkpoint_ms: dict[str, float]
    """From a receipt to a checkpoint that covers it."""
    exported_per_second: float
    """Entries, the newest million, over HTTP into a file."""
    piece_us: dict[str, float]
    """How fast the cores were meanwhile (core_meter), by figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLog(_WhileItRuns):
    """All that was found."""

    entries: int
    start_s: float
    checked_per_second: float
    """Entries in the exported file, by peanut-verify with as many processes as there are cores, its start included."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


class _Direct:
    """A workshop that does the work at once."""

    async def do(self, work: Callable[[], T]) -> T:
        return work()


def audit_log(data_dir: Path, *, upstream_port: int, entries: int, measured_s: float, rounds: int) -> AuditLog:
    """Measure a log of so many entries; its export is verified again until the cores are quick, so often at most."""
    system = System(data_dir, upstream_port=upstream_port)
    system.start()
    key = system.api_key
    system.stop()
    fill(data_dir, entries)
    export = data_dir / "export.jsonl"
    try:
        system.start()
        figures = asyncio.run(_measured(system, data_dir, key, measured_s, export))
    finally:
        system.stop()
    checked = _checked_when_quiet(export, data_dir / "audit" / "note.pub", rounds)
    figures.piece_us["checked_per_second"] = checked.surroundings.piece_us
    per_second = checked.per_second
    return AuditLog(entries=entries, start_s=system.started_in_s, checked_per_second=per_second, **asdict(figures))


def fill(data_dir: Path, entries: int) -> None:
    """Adds so many entries to the log, and has its tree follow."""
    file = data_dir / "audit.db"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA synchronous = OFF")
    head = Head(*connection.execute('SELECT "index", fingerprint FROM entries ORDER BY "index" DESC').fetchone())
    insert = f"INSERT INTO entries ({COLUMNS}) VALUES ({', '.join('?' * 13)})"  # constants
    for first in range(0, entries, _AT_ONCE):
        with connection:
            connection.executemany(insert, _rows(head, min(_AT_ONCE, entries - first)))
        head = Head(*connection.execute('SELECT "index", fingerprint FROM entries ORDER BY "index" DESC').fetchone())
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    asyncio.run(_sign(file, NoteKeys(data_dir / "audit", ORIGIN)))


def _rows(head: Head, count: int) -> Iterator[Row]:
    for number in range(count):
        row = seal(_draft(head.index + number), head, os.urandom(SALTS_BYTES))
        head = row.head
        yield row


def _draft(number: int) -> Draft:
    """A dispatch as the orchestrator records it."""
    id = new_id()
    return Draft(
        source="orchestrator",
        id=id,
        request_id=id,
        phase="outcome",
        action="agent.request",
        outcome="success" if number % 50 else "failure",
        user_id=f"user-{number % 500}",
        personal={"userEmail": "bench@peanut.local", "ipAddress": "192.0.2.7", "userAgent": "bench/1"},
        resource_type="agent",
        resource_id=f"agent-{number % 20}",
        details={"completionTokens": 345, "latencyMs": 678, "promptTokens": 12, "status": 200},  # in canonical order
        timestamp=f"2026-11-{1 + number % 28:02}T10:37:25.123Z",
    )


async def _sign(file: Path, keys: NoteKeys) -> None:
    writer = SqliteLogWriter(file)
    tree = Tree(SqliteLogReader(file), writer, keys, _Direct(), Knowledge(), origin=ORIGIN)
    while await tree.grow():
        pass
    writer.close()


async def _measured(system: System, data_dir: Path, key: str, measured_s: float, export: Path) -> _WhileItRuns:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{system.port}", headers=headers, timeout=60) as client,
        connect(
            system.nats_url,
            service="orchestrator",
            instance="orchestrator-bench",
            nkey_file=data_dir / "nats" / "orchestrator.nk",
            on_lost=lambda: None,
        ) as bus,
    ):
        await _verified(client)
        cores: dict[str, float] = {}
        with cores_noted(cores, "page_ms"):
            page_ms = await _pages(client, {})
        with cores_noted(cores, "filtered_page_ms"):
            filtered_ms = await _pages(client, {"outcome": "failure"})
        with cores_noted(cores, "scattered_page_ms"):
            scattered_ms = await _pages(client, {"userId": "user-7"})
        with cores_noted(cores, "appends_per_second"):
            appends = await _appends(bus, measured_s)
        with cores_noted(cores, "receipts_per_second"):
            receipts, receipt_ms = await _receipts(bus, measured_s)
        with cores_noted(cores, "checkpoint_ms"):
            checkpoint_ms = await _checkpoints(client, bus)
        with cores_noted(cores, "exported_per_second"):
            exported = await _exported(client, export)
        with cores_noted(cores, "service_start_s"):
            service_start_s = await _start_of_service(system, bus)
    return _WhileItRuns(
        service_start_s=service_start_s,
        page_ms=page_ms,
        filtered_page_ms=filtered_ms,
        scattered_page_ms=scattered_ms,
        appends_per_second=appends,
        receipts_per_second=receipts,
        receipt_ms=receipt_ms,
        checkpoint_ms=checkpoint_ms,
        exported_per_second=exported,
        piece_us=cores,
    )


async def _verified(client: httpx.AsyncClient) -> None:
    """Returns once the service has gone through the whole log for the first time."""
    while True:
        answer = await client.get("/api/v1/audit", params={"limit": 1})
        if answer.json()["integrity"]["status"] != "verifying":
            return
        await asyncio.sleep(1.0)


async def _pages(client: httpx.AsyncClient, wanted: dict[str, str]) -> dict[str, float]:
    times: list[float] = []
    for _ in range(PAGES):
        began = time.perf_counter()
        answer = await client.get("/api/v1/audit", params={**wanted, "limit": PAGE})
        times.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200 or answer.json()["integrity"]["status"] == "invalid":
            raise RuntimeError(f"the log could not be read: {answer.text[:300]}")
    return _spread(times)


async def _appends(bus: Bus, seconds: float) -> float:
    contract = append_contract("orchestrator")
    until = time.monotonic() + seconds
    done = 0

    async def append() -> None:
        nonlocal done
        while time.monotonic() < until:
            body = write(Append(entries=[_entry() for _ in range(_BATCH)]))
            await bus.forward(contract, body, call_context(seconds=10))
            done += _BATCH

    began = time.monotonic()
    await asyncio.gather(*(append() for _ in range(_BATCHES_AT_ONCE)))
    return done / (time.monotonic() - began)


async def _receipts(bus: Bus, seconds: float) -> tuple[float, dict[str, float]]:
    appender = Appender(bus)
    until = time.monotonic() + seconds
    times: list[float] = []

    async def append() -> None:
        while (began := time.monotonic()) < until:
            await appender.append(_entry())
            times.append((time.monotonic() - began) * 1000)

    began = time.monotonic()
    await asyncio.gather(*(append() for _ in range(_APPENDERS)))
    return len(times) / (time.monotonic() - began), _spread(times)


async def _checkpoints(client: httpx.AsyncClient, bus: Bus) -> dict[str, float]:
    appender = Appender(bus)
    times: list[float] = []
    for _ in range(_CHECKPOINTS):
        receipt = await appender.append(_entry())
        began = time.perf_counter()
        while await _covered(client) <= receipt.index:  # noqa: ASYNC110  # another process signs
            await asyncio.sleep(0.02)
        times.append((time.perf_counter() - began) * 1000)
    return _spread(times)


async def _covered(client: httpx.AsyncClient) -> int:
    """How many entries the newest checkpoint covers."""
    return int((await client.get("/api/v1/audit/checkpoint")).text.split("\n")[1])


async def _exported(client: httpx.AsyncClient, file: Path) -> float:
    wanted = {"format": "jsonl", "from": str(max(0, await _covered(client) - EXPORTED))}
    began = time.monotonic()
    async with client.stream("GET", "/api/v1/audit/export", params=wanted) as answer:
        answer.raise_for_status()
        with file.open("wb") as written:
            async for part in answer.aiter_raw():
                written.write(part)
    seconds = time.monotonic() - began
    with file.open("rb") as lines:
        return sum(line.startswith(b'{"body"') for line in lines) / seconds


async def _start_of_service(system: System, bus: Bus) -> float:
    appender = Appender(bus)
    for pid in system.pids()["audit"]:
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    while True:
        try:
            await appender.append(_entry())
            return time.monotonic() - began
        except AuditUnavailable:
            continue


class _Verification(NamedTuple):
    surroundings: Surroundings
    per_second: float


def _checked_when_quiet(file: Path, key: Path, rounds: int) -> _Verification:
    """The quietest of so many verifications, or of those up to the first quiet one."""
    done = [_checked(file, key)]
    while len(done) < rounds and not done[-1].surroundings.is_quiet(CoreWork.read().fastest_us):
        done.append(_checked(file, key))
    return min(done, key=lambda verification: verification.surroundings.slowness_us)


def _checked(file: Path, key: Path) -> _Verification:
    command = [sys.executable, peanut_verify.__file__, str(file), "--key", str(key), "--json"]
    before, began = CpuUse.read({}), time.monotonic()
    found = json.loads(subprocess.run(command, check=False, capture_output=True).stdout)
    seconds = time.monotonic() - began
    if found["status"] != "valid":
        raise RuntimeError(f"the export is not valid: {found}")
    surroundings, per_second = CpuUse.read({}).since(before).surroundings, found["entries"] / seconds
    progress(f"peanut-verify: {per_second:,.0f}/s, a piece of the cores' work {surroundings.piece_us:.0f} us")
    return _Verification(surroundings, per_second)


def _entry() -> NewEntry:
    id = new_id()
    return NewEntry(
        id=id,
        request_id=id,
        phase=Phase.OUTCOME,
        action=Action.AGENT_REQUEST,
        outcome=Outcome.SUCCESS,
        user_id="user-1",
        user_email="bench@peanut.local",
        ip_address="192.0.2.7",
        user_agent="bench/1",
        resource_type="agent",
        resource_id="agent-1",
        details={"status": 200, "promptTokens": 12, "completionTokens": 345},
        timestamp=utc_now(),
    )


def _spread(times: list[float]) -> dict[str, float]:
    cuts = quantiles(times, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}
