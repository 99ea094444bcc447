"""NATS micro discovery (ADR-32), read with nats.micro's own classes."""

import asyncio
import json
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from shared import VERSION
from shared.bus import Bus, CallContext
from shared.bus.discovery import MAX_REPLICAS, Replica
from shared.bus.responder import settle
from shared.errors import PlatformError, Unavailable
from tests.integration.bus import Nats, bus_as
from tests.integration.shared.calls import CHANGE, READ, Text, echo, within
from tests.integration.shared.clients import client_as
from tests.waiting import until

ASKED = ["{verb}", "{verb}.auth", "{verb}.auth.auth-1"]


async def _ask(nats: Nats, subject: str) -> dict[str, Any]:
    async with client_as(nats, "edge") as (client, _), bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_by(echo), CHANGE.answered_by(echo))
        subscription = await client.subscribe("_INBOX_edge.discovery")
        await client.publish(f"$SRV.{subject}", reply="_INBOX_edge.discovery")
        reply = await subscription.next_msg(timeout=2)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


@pytest.mark.parametrize("subject", ASKED)
async def test_ping_says_who_is_there(nats: Nats, subject: str) -> None:
    answer = await _ask(nats, subject.format(verb="PING"))

    assert ServicePing.from_dict(answer) == ServicePing(id="auth-1", name="auth", version=VERSION)
    assert answer["type"] == "io.nats.micro.v1.ping_response"


@pytest.mark.parametrize("subject", ASKED)
async def test_info_says_what_is_served(nats: Nats, subject: str) -> None:
    info = ServiceInfo.from_dict(await _ask(nats, subject.format(verb="INFO")))

    assert (info.id, info.name, info.type) == ("auth-1", "auth", "io.nats.micro.v1.info_response")
    assert {(endpoint.subject, endpoint.queue_group) for endpoint in info.endpoints} == {
        (READ.subject, "auth"),
        (CHANGE.subject, "auth"),
    }
    assert all("." not in endpoint.name for endpoint in info.endpoints)


@pytest.mark.parametrize("subject", ASKED)
async def test_stats_says_how_it_fares(nats: Nats, subject: str) -> None:
    answer = await _ask(nats, subject.format(verb="STATS"))
    stats = ServiceStats.from_dict(answer)

    assert (stats.id, stats.name, stats.version) == ("auth-1", "auth", VERSION)
    assert answer["type"] == "io.nats.micro.v1.stats_response"
    assert {(e.subject, e.queue_group, e.num_requests) for e in stats.endpoints} == {
        (READ.subject, "auth", 0),
        (CHANGE.subject, "auth", 0),
    }
    assert set(stats.metadata) == {"uptimeSeconds", "cpuSeconds", "memoryBytes"}
    assert int(stats.metadata["memoryBytes"]) > 1_000_000


async def _found(edge: Bus, count: int) -> list[Replica]:
    """The replicas of auth, once that many answer in a moment."""
    async with asyncio.timeout(10):
        while True:
            found = await edge.replicas("auth", within=0.1)
            if len(found) >= count:
                return found


async def test_a_question_without_an_inbox_harms_nobody(nats: Nats) -> None:
    async with client_as(nats, "edge") as (client, _), bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_by(echo))
        await client.publish("$SRV.PING")
        await client.flush()
        await asyncio.sleep(0.05)

        assert [replica.id for replica in await _found(edge, 1)] == ["auth-1"]


async def test_every_replica_of_a_service_is_found_and_no_other(nats: Nats) -> None:
    async with (
        bus_as(nats, "edge") as edge,
        bus_as(nats, "auth", instance="auth-1") as first,
        bus_as(nats, "auth", instance="auth-2") as second,
        bus_as(nats, "audit") as other,
    ):
        for bus in (first, second, other):
            await bus.serve()
        found = await _found(edge, 2)
        nobody = await edge.replicas("orchestrator", within=0.1)

    assert ({replica.id for replica in found}, nobody) == ({"auth-1", "auth-2"}, [])


async def test_stats_count_calls_failures_and_their_time(nats: Nats) -> None:
    async def refuse(_request: Text, _context: CallContext) -> Text:
        raise Unavailable("There is nothing.")

    async def slowly(request: Text, _context: CallContext) -> Text:
        await asyncio.sleep(0.05)
        return request

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_by(slowly), CHANGE.answered_by(refuse))
        for _ in range(3):
            await edge.call(READ, Text(text="x"), within(2))
        with pytest.raises(PlatformError):
            await edge.call(CHANGE, Text(text="x"), within(2))
        [replica] = await _found(edge, 1)

    counted = {each.subject: (each.num_requests, each.num_errors) for each in replica.endpoints}
    spent = {each.subject: each.processing_time / 1e9 for each in replica.endpoints}
    assert counted == {READ.subject: (3, 0), CHANGE.subject: (1, 1)}
    assert spent[READ.subject] >= 0.15
    assert spent[CHANGE.subject] > 0


async def test_only_sound_answers_of_the_service_count_each_replica_once_and_so_many_at_most(nats: Nats) -> None:
    def stats(instance: str, *, name: str = "auth", memory: str = "5") -> bytes:
        metadata = {"uptimeSeconds": "1.5", "cpuSeconds": "0.1", "memoryBytes": memory}
        return json.dumps({"id": instance, "name": name, "metadata": metadata}).encode()

    async def mislead(message: Msg) -> None:
        unsound = (b"{", b"[]", b"{}", stats("x", memory="-1"), stats("x", memory="many"), stats("x" * 65))
        replicas = [stats(f"auth-{n}") for n in range(2 * MAX_REPLICAS)]
        for answer in (*unsound, stats("audit-1", name="audit"), replicas[0], *replicas):
            await message.respond(answer)

    async with bus_as(nats, "edge") as edge, client_as(nats, "auth") as (client, _):
        await client.subscribe("$SRV.STATS.auth", cb=mislead)
        await settle(client)
        found = await _found(edge, MAX_REPLICAS)

    assert [replica.id for replica in found] == [f"auth-{n}" for n in range(MAX_REPLICAS)]
    assert found[0].metadata.uptime_seconds == 1.5


async def test_without_a_connection_nobody_is_found(own_nats: Nats) -> None:
    async with bus_as(own_nats, "edge") as edge:
        own_nats.kill()
        await until(lambda: not edge.is_connected)

        assert await edge.replicas("auth", within=60) == []


async def test_a_question_during_which_the_connection_breaks_has_the_answers_until_then(own_nats: Nats) -> None:
    async with bus_as(own_nats, "edge") as edge, bus_as(own_nats, "auth") as auth:
        await auth.serve()
        asking = asyncio.create_task(edge.replicas("auth", within=2))
        await until(lambda: auth._client.stats["out_msgs"] > 0)
        await settle(auth._client)
        own_nats.kill()

        assert [replica.id for replica in await asking] == ["auth-1"]


async def test_a_question_that_is_given_up_leaves_nothing_behind(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge:
        before = set(edge._client._subs)
        asking = asyncio.create_task(edge.replicas("auth", within=60))
        await until(lambda: set(edge._client._subs) > before)
        asking.cancel()
        await asyncio.wait((asking,))

        assert set(edge._client._subs) == set(edge._client._hearers) == before


async def test_a_question_that_names_a_call_as_its_inbox_is_not_answered(nats: Nats) -> None:
    async with client_as(nats, "edge") as (client, _), bus_as(nats, "auth") as auth:
        await auth.serve()
        before = auth._client.stats["out_msgs"]
        await client.publish("$SRV.PING.auth", reply="peanut.audit.entry.append.auth")
        await client.flush()
        await asyncio.sleep(0.05)

        assert auth._client.stats["out_msgs"] == before
