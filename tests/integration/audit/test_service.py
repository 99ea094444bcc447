import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.audit import AuditTrail, AuditUnavailable, Change, Resource, open_trail
from shared.audit.appender import Appender
from shared.bus import NOTHING, Bus, call_context, read
from shared.clock import utc_now
from shared.contracts.audit import QUERY, Action, NewEntry, Outcome, Phase, Query, Receipt
from shared.contracts.events import INTEGRITY_CHANGED, IntegrityChanged
from shared.contracts.health import health_contract
from shared.errors import PlatformError
from shared.ids import new_id
from shared.principal import Role
from tests.integration.audit.installation import Installation, by
from tests.integration.bus import Nats, bus_as

AGENT = Resource("agent", "a1")


def entry() -> NewEntry:
    return NewEntry(
        id=new_id(),
        request_id="r",
        phase=Phase.OUTCOME,
        action=Action.AGENT_REQUEST,
        outcome=Outcome.SUCCESS,
        timestamp=utc_now(),
        details={"status": 200},
    )


@asynccontextmanager
async def trail_of(nats: Nats, service: str, data: Path) -> AsyncIterator[tuple[Bus, AuditTrail]]:
    async with bus_as(nats, service) as bus, open_trail(bus, data) as trail:
        yield bus, trail


async def change(trail: AuditTrail) -> None:
    async with trail.change(Action.AGENT_CREATED, AGENT, by(Role.ADMIN), {"weight": 1}):
        pass


async def test_a_change_is_found_by_an_operator_with_the_source_that_the_subject_says(
    nats: Nats, audit: Installation
) -> None:
    async with trail_of(nats, "orchestrator", audit.data) as (_, trail), bus_as(nats, "edge") as edge:
        await change(trail)

        page = await edge.call(QUERY, Query(user_id="ann", limit=1), by(Role.OPERATOR))
        health = await edge.call(health_contract("audit"), NOTHING, call_context(seconds=5))
        with pytest.raises(PlatformError) as refusal:
            await edge.call(QUERY, Query(), by(Role.VIEWER))

    (found,) = page.entries
    assert (found.source, found.phase, found.outcome, found.user_email) == (
        "orchestrator",
        "outcome",
        "success",
        "ann@example.org",
    )
    assert (page.total, page.pages, page.integrity_valid) == (2, 2, True)
    assert health.healthy
    assert refusal.value.reason == "forbidden"
    assert len(audit.entries()) == 2


async def test_two_replicas_keep_one_chain_that_an_outsider_can_verify(nats: Nats, audit: Installation) -> None:
    audit.start("audit-2")

    async def load(service: str) -> list[Receipt]:
        async with bus_as(nats, service) as bus:
            appenders = [Appender(bus) for _ in range(3)]  # several calls in flight, so that both replicas have some

            async def one(appender: Appender) -> list[Receipt]:
                return [await appender.append(entry()) for _ in range(40)]

            done = await asyncio.gather(*(one(appender) for appender in appenders for _ in range(3)))
        return [receipt for receipts in done for receipt in receipts]

    receipts = [receipt for found in await asyncio.gather(load("edge"), load("auth")) for receipt in found]

    rows = audit.entries()
    assert len(rows) == len(receipts) == 720
    assert sorted((receipt.index, receipt.fingerprint) for receipt in receipts) == [
        (row[0], row[1].hex()) for row in rows
    ]


async def test_a_receipt_survives_the_sudden_death_of_the_service(nats: Nats, audit: Installation) -> None:
    receipts: list[Receipt] = []
    stop = asyncio.Event()

    async def load(appender: Appender) -> None:
        while not stop.is_set():
            try:
                receipts.append(await appender.append(entry()))
            except AuditUnavailable:
                await asyncio.sleep(0.01)

    async with bus_as(nats, "orchestrator") as bus:
        appender = Appender(bus)
        loads = [asyncio.create_task(load(appender)) for _ in range(16)]
        for _ in range(3):
            await asyncio.sleep(0.4)
            audit.send(signal.SIGKILL)
            await asyncio.to_thread(audit.wait)
            await asyncio.to_thread(audit.start)
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*loads)

    stored = {(row[0], row[1].hex()) for row in audit.entries()}
    assert len(receipts) > 100
    assert {(receipt.index, receipt.fingerprint) for receipt in receipts} <= stored


async def test_while_the_service_is_paused_nothing_is_done_and_then_it_is(nats: Nats, audit: Installation) -> None:
    async with trail_of(nats, "orchestrator", audit.data) as (_, trail):
        await change(trail)
        audit.send(signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(AuditUnavailable):
            await change(trail)
        waited = time.monotonic() - started
        audit.send(signal.SIGCONT)

        await change(trail)

    assert waited < 2.5
    assert [b'"phase":"outcome"' in row[2] for row in audit.entries()].count(True) == 2


async def test_one_paused_replica_of_two_is_survived(nats: Nats, audit: Installation) -> None:
    audit.start("audit-2")
    async with trail_of(nats, "orchestrator", audit.data) as (_, trail):
        audit.send(signal.SIGSTOP, "audit-2")
        answers = [await asyncio.gather(change(trail), return_exceptions=True) for _ in range(8)]

    assert [found for (found,) in answers].count(None) >= 5, (
        "the log is asked four times, each time with even chances to meet the paused one"
    )


async def test_a_full_disk_refuses_and_heals_without_a_restart(nats: Nats, audit: Installation) -> None:
    async with trail_of(nats, "orchestrator", audit.data) as (_, trail), bus_as(nats, "edge") as edge:
        await change(trail)
        audit.limit_files_to(1)
        with pytest.raises(AuditUnavailable):
            await change(trail)
        health = await edge.call(health_contract("audit"), NOTHING, call_context(seconds=5))
        audit.limit_files_to(None)

        await change(trail)

    assert not health.healthy
    assert len(audit.entries()) == 4


async def test_an_outcome_of_a_time_without_the_log_is_delivered_when_it_is_back(
    nats: Nats, audit: Installation
) -> None:
    change = Change(Action.AGENT_REQUEST, AGENT)
    async with trail_of(nats, "orchestrator", audit.data) as (_, trail):
        audit.send(signal.SIGTERM)
        assert audit.wait() == 0
        await trail.conclude(change, by(Role.OPERATOR), Outcome.SUCCESS)
        assert audit.entries() == []

        await asyncio.to_thread(audit.start)
        async with asyncio.timeout(5):
            while not audit.entries():  # noqa: ASYNC110  # another process writes there
                await asyncio.sleep(0.05)


@pytest.mark.asvs("16.4.2")
async def test_a_tampered_log_is_called_so_on_the_next_query_and_makes_the_service_unhealthy(
    nats: Nats, audit: Installation
) -> None:
    async with trail_of(nats, "auth", audit.data) as (_, trail), bus_as(nats, "edge") as edge:
        told: asyncio.Queue[bytes] = asyncio.Queue()
        await edge.subscribe(INTEGRITY_CHANGED.subject, told.put)
        await change(trail)
        raw = audit.log.with_name("audit.db-wal").read_bytes()
        assert b'"weight":1' in raw
        audit.log.with_name("audit.db-wal").write_bytes(raw.replace(b'"weight":1', b'"weight":9'))

        page = await edge.call(QUERY, Query(), by(Role.ADMIN))
        health = await edge.call(health_contract("audit"), NOTHING, call_context(seconds=5))

        async with asyncio.timeout(10):
            alarm = read(IntegrityChanged, await told.get())

    assert (alarm.valid, alarm.first_bad_index) == (False, 0)
    assert told.empty()
    assert (page.integrity_valid, page.integrity.first_bad_index) == (False, 0)
    assert (health.healthy, "entry 0" in health.message) == (False, True)
