"""Exports and the growing log over the bus: all of it, at the reader's pace, and never a silent end."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from audit.domain.chain import EMPTY
from audit.infrastructure.sqlite_writer import SqliteLogWriter
from shared.bus import Bus, Inlet
from shared.contracts.audit import ERASE, QUERY, Erase, Query
from shared.contracts.audit_export import ENTRIES_COMMITTED, EXPORT, FOLLOW, Follow
from shared.errors import PlatformError
from shared.principal import Role
from shared.tlog.merkle import Frontier, leaf_hash
from tests.integration.audit.installation import Installation, by
from tests.integration.bus import Nats, bus_as
from tests.unit.audit.logs import draft, forge

MANY = 20_000
SOME = 4000
"""More than is on its way to any reader."""


async def fill(audit: Installation, count: int) -> None:
    writer, seen = SqliteLogWriter(audit.log), EMPTY
    for _ in range(0, count, 2000):
        seen = (
            await writer.commit([draft(details={"padding": "x" * 200}) for _ in range(min(count, 2000))], seen)
        ).after
    writer.close()


@asynccontextmanager
async def exporting(edge: Bus, role: Role = Role.ADMIN, **wish: Any) -> AsyncIterator[Inlet]:
    async with edge.stream(EXPORT, orjson.dumps(wish), by(role, seconds=120)) as inlet:
        yield inlet


def part(first: int, last: int | None = None) -> dict[str, Any]:
    return {"from": first, "to": last}


async def bytes_of(inlet: Inlet) -> bytes:
    pieces = []
    while (piece := await inlet.piece()) is not None:
        pieces.append(piece)
    return b"".join(pieces)


async def lines_of(inlet: Inlet) -> list[bytes]:
    return (await bytes_of(inlet)).splitlines()


async def outcome_of_export(edge: Bus, found: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
    """The newest outcome of an export, once there is one like that."""
    async with asyncio.timeout(20):
        while True:
            page = await edge.call(QUERY, Query.model_validate({"action": "audit.exported"}), by(Role.OPERATOR))
            for entry in page.entries:
                if entry.phase == "outcome" and found(entry.details):
                    return {"outcome": entry.outcome, "who": entry.user_email, "source": entry.source, **entry.details}
            await asyncio.sleep(0.05)


async def test_an_export_is_the_whole_log_up_to_a_checkpoint_that_covers_it(nats: Nats, audit: Installation) -> None:
    await fill(audit, MANY)

    async with bus_as(nats, "edge") as edge:
        async with exporting(edge, format="jsonl") as inlet:
            first, *entries, last = map(json.loads, await lines_of(inlet))
            answer = json.loads(inlet.answer)
        outcome = await outcome_of_export(edge)

    assert first == {"format": "peanut-audit/v1", "from": 0, "frontier": [], "origin": "peanut.local/audit"}
    assert [entry["index"] for entry in entries] == list(range(MANY + 1))
    assert (entries[-1]["body"]["action"], entries[-1]["body"]["phase"]) == ("audit.exported", "intent")
    stored = audit.entries()
    assert [entry["fingerprint"] for entry in entries] == [row[1].hex() for row in stored[: MANY + 1]]
    origin, size, root, *_ = last["checkpoint"].split("\n")
    tree = Frontier(0, ()).appended([leaf_hash(bytes.fromhex(entry["fingerprint"])) for entry in entries])
    assert (origin, int(size)) == ("peanut.local/audit", MANY + 1)
    assert root == base64.b64encode(tree.root).decode()
    assert answer == {"count": MANY + 1}
    assert outcome == {
        "outcome": "success",
        "who": "ann@example.org",
        "source": "audit",
        "count": MANY + 1,
        "format": "jsonl",
        "from": 0,
        "to": None,
    }


async def test_an_export_goes_on_where_another_one_broke_off(nats: Nats, audit: Installation) -> None:
    await fill(audit, 2000)

    async with bus_as(nats, "edge") as edge:
        async with exporting(edge, format="jsonl", **part(700, 1299)) as inlet:
            begun = [json.loads(line) for line in await lines_of(inlet)]
        async with exporting(edge, format="jsonl", **part(1300)) as inlet:
            rest = [json.loads(line) for line in await lines_of(inlet)]

    first, *entries = begun
    before = Frontier(0, ()).appended([leaf_hash(row[1]) for row in audit.entries()[:700]])
    assert (first["from"], first["frontier"]) == (700, [hash.hex() for hash in before.hashes])
    assert [entry["index"] for entry in entries] == list(range(700, 1300))  # and no checkpoint: none is of that size
    assert [entry["index"] for entry in rest[1:-1]] == list(range(1300, 2003))
    assert rest[1]["previousFingerprint"] == entries[-1]["fingerprint"]
    assert set(rest[-1]) == {"checkpoint"}


async def test_an_erasure_meanwhile_is_in_the_export_that_it_took_values_from(
    nats: Nats, audit: Installation, tmp_path: Path
) -> None:
    await fill(audit, SOME)
    writer = SqliteLogWriter(audit.log)
    await writer.commit([draft(user_id="gone")], EMPTY)
    writer.close()

    async with bus_as(nats, "edge") as edge, exporting(edge, format="jsonl") as inlet:
        begun = await inlet.piece()
        assert begun is not None
        erased = await edge.call(ERASE, Erase(user_id="gone"), by(Role.ADMIN, seconds=20))
        rest = await bytes_of(inlet)

    export = tmp_path / "export.jsonl"
    export.write_bytes(begun + rest)
    command = [
        sys.executable,
        "-m",
        "peanut_verify",
        "--json",
        str(export),
        "--key",
        str(audit.data / "audit/note.pub"),
    ]
    verified = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (verified.returncode, erased.entries) == (0, 1), verified.stdout + verified.stderr
    assert json.loads(verified.stdout)["erasedFields"] == 3


@pytest.mark.parametrize("format", ["csv", "ocsf"])
async def test_the_other_formats_have_every_entry_as_well(format: str, nats: Nats, audit: Installation) -> None:
    await fill(audit, 2000)

    async with bus_as(nats, "edge") as edge, exporting(edge, format=format) as inlet:
        lines = await lines_of(inlet)

    if format == "csv":
        head, *lines = lines
        assert head.startswith(b"index,timestamp,")
        indexes = [int(line.partition(b",")[0]) for line in lines]
    else:
        indexes = [json.loads(line)["metadata"]["sequence"] for line in lines]
    assert indexes == list(range(2001))


async def test_only_admins_export_and_nothing_is_recorded_of_who_may_not(nats: Nats, audit: Installation) -> None:
    async with bus_as(nats, "edge") as edge:
        with pytest.raises(PlatformError) as refusal:
            async with exporting(edge, Role.OPERATOR) as inlet:
                await inlet.piece()

    assert refusal.value.reason == "forbidden"
    assert audit.entries() == []


@pytest.mark.parametrize("wish", [{"from": 9}, {"from": 2, "to": 1}, {"from": -1}, {"format": "xml"}])
async def test_a_part_that_there_is_not_is_refused(wish: dict[str, Any], nats: Nats, audit: Installation) -> None:
    async with bus_as(nats, "edge") as edge:
        with pytest.raises(PlatformError) as refusal:
            async with exporting(edge, **wish) as inlet:
                await inlet.piece()

    assert refusal.value.reason == "invalid-fields"


async def test_a_slow_reader_slows_the_export_and_holds_up_nobody(nats: Nats, audit: Installation) -> None:
    await fill(audit, SOME)

    async with bus_as(nats, "edge") as edge, exporting(edge, format="jsonl") as inlet:
        pieces = [await inlet.piece()]
        for _ in range(20):
            assert (await edge.call(QUERY, Query(limit=1), by(Role.OPERATOR))).entries
        with pytest.raises(TimeoutError):  # as long as nobody reads there is no outcome
            await asyncio.wait_for(outcome_of_export(edge), 1)
        while (piece := await inlet.piece()) is not None:
            pieces.append(piece)

    assert b"".join(piece or b"" for piece in pieces).count(b"\n") == SOME + 3


async def test_a_reader_that_leaves_stops_the_export_which_is_recorded(nats: Nats, audit: Installation) -> None:
    await fill(audit, SOME)

    async with bus_as(nats, "edge") as edge:
        async with exporting(edge, format="csv", **part(1)) as inlet:
            await inlet.piece()
        outcome = await outcome_of_export(edge)

    assert (outcome["outcome"], outcome["reason"], outcome["format"], outcome["from"]) == (
        "failure",
        "broken-off",
        "csv",
        1,
    )
    assert 0 < outcome["count"] < SOME


async def test_an_export_fails_at_the_entry_that_is_not_what_was_written(nats: Nats, audit: Installation) -> None:
    await fill(audit, SOME)

    read = bytearray()

    async def read_on(inlet: Inlet) -> None:
        while (piece := await inlet.piece()) is not None:
            read.extend(piece)

    async with bus_as(nats, "edge") as edge:
        async with exporting(edge, format="csv") as inlet:
            read.extend(await inlet.piece() or b"")
            forge(audit.log, 'UPDATE entries SET fingerprint = zeroblob(32) WHERE "index" = 3000')
            with pytest.raises(PlatformError) as failure:
                await read_on(inlet)
        outcome = await outcome_of_export(edge)

    assert failure.value.reason == "audit-log-broken"
    assert read.splitlines()[-1].startswith(b"2999,")
    assert (outcome["outcome"], outcome["reason"], outcome["count"]) == ("failure", "audit-log-broken", 3000)


async def test_whoever_follows_the_log_is_told_and_reads_on_where_it_was(nats: Nats, audit: Installation) -> None:
    told = asyncio.Event()

    async def hear(_body: bytes) -> None:
        told.set()

    async with bus_as(nats, "edge") as edge:
        await edge.subscribe(ENTRIES_COMMITTED.subject, hear)
        empty = await edge.call(FOLLOW, Follow(after=None), by(Role.OPERATOR))
        async with exporting(edge) as inlet:
            await lines_of(inlet)
        await asyncio.wait_for(told.wait(), 10)
        await fill(audit, 400)
        found, at = [], -1
        while entries := (await edge.call(FOLLOW, Follow(after=at), by(Role.OPERATOR))).entries:
            found += entries
            at = entries[-1].index
        with pytest.raises(PlatformError) as refusal:
            await edge.call(FOLLOW, Follow(after=None), by(Role.VIEWER))

    assert (empty.entries, empty.last_index) == ([], -1)
    assert [entry.index for entry in found] == list(range(402))
    assert [entry.previous_fingerprint for entry in found[1:]] == [entry.fingerprint for entry in found[:-1]]
    assert refusal.value.reason == "forbidden"
