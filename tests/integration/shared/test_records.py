"""Records that replicas share: compare-and-set, and a bucket that is made again when the server has lost it."""

import asyncio

import pytest

from shared.bus.records import NoRecords, RecordChanged, RecordsUnavailable
from shared.contracts.orchestrator import LIMITS
from shared.ids import new_id
from tests.integration.bus import Nats, bus_as
from tests.waiting import until


async def test_of_two_who_change_a_record_at_once_one_is_told(nats: Nats) -> None:
    async with bus_as(nats, "orchestrator") as one_bus, bus_as(nats, "orchestrator", instance="two") as other_bus:
        one, other = await one_bus.records(LIMITS), await other_bus.records(LIMITS)
        key = new_id()
        nothing = await one.get(key)
        revision = await one.put(key, b"1", after=nothing.revision)

        with pytest.raises(RecordChanged):
            await other.put(key, b"2", after=nothing.revision)
        found = await other.get(key)
        await other.put(key, b"2", after=found.revision)
        with pytest.raises(RecordChanged):
            await one.put(key, b"3", after=revision)

        assert (nothing.value, found.value, (await one.get(key)).value) == (None, b"1", b"2")


async def test_fifty_increments_at_once_are_fifty(nats: Nats) -> None:
    async with bus_as(nats, "orchestrator") as bus:
        records, key = await bus.records(LIMITS), new_id()

        async def increment() -> None:
            while True:
                found = await records.get(key)
                try:
                    await records.put(key, b"%d" % (int(found.value or 0) + 1), after=found.revision)
                    return
                except RecordChanged:
                    continue

        await asyncio.gather(*(increment() for _ in range(50)))

        assert (await records.get(key)).value == b"50"


async def test_a_server_that_has_started_again_has_an_empty_bucket_and_no_old_revision_counts(own_nats: Nats) -> None:
    async with bus_as(own_nats, "orchestrator") as bus:
        records = await bus.records(LIMITS)
        old = await records.put("a", b"old", after=(await records.get("a")).revision)
        own_nats.kill()
        await until(lambda: not bus.is_connected)
        with pytest.raises(RecordsUnavailable):
            await records.get("a")
        own_nats.start()
        await until(lambda: bus.is_connected)

        nothing = await records.get("a")
        await records.put("a", b"new", after=nothing.revision)
        with pytest.raises(RecordChanged):
            await records.put("a", b"old", after=old)

        assert (nothing.value, (await records.get("a")).value) == (None, b"new")


async def test_who_may_keep_no_records_is_told_so(nats: Nats) -> None:
    async with bus_as(nats, "auth") as bus:
        with pytest.raises(NoRecords, match="permission"):
            await bus.records(LIMITS)


@pytest.mark.parametrize("key", ["", "a b", "a.>", "*", "a..b", ".a", "a\r\nPUB x 1"])
async def test_a_key_is_one_plain_subject(nats: Nats, key: str) -> None:
    async with bus_as(nats, "orchestrator") as bus:
        records = await bus.records(LIMITS)

        with pytest.raises(ValueError, match="not a record's key"):
            await records.get(key)
