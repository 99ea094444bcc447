"""Agents that are removed while they work, over two replicas: what is in flight ends as it would have."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.bus import Bus
from shared.contracts.audit import Outcome
from shared.contracts.orchestrator import CHECK_AGENT, REMOVE_AGENT, GetAgent
from shared.errors import ErrorCode, PlatformError
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator.calls import dispatch, register
from tests.integration.orchestrator.cluster import AuditLog, by, replica
from tests.integration.orchestrator.upstreams import OPENAI_ANSWER, Upstream, after, json_reply, reply
from tests.waiting import eventually


@pytest.fixture
async def edge(nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream) -> AsyncIterator[Bus]:
    allowed = f"127.0.0.1:{server.port}"
    async with (
        replica(nats, data_dir, 1, allowed=allowed),
        replica(nats, data_dir, 2, allowed=allowed),
        bus_as(nats, "edge") as bus,
    ):
        yield bus


async def remove_mid_flight(edge: Bus, server: Upstream, id: str, *, works: int) -> None:
    """Removes the agent once it works on so many requests."""

    async def all_are_there() -> bool:
        return len(server.chats) == works

    await eventually(all_are_there)
    await edge.call(REMOVE_AGENT, GetAgent(id=id), by())


async def test_what_is_in_flight_is_answered_and_recorded_and_nothing_new_is_given(
    edge: Bus, server: Upstream, audit: AuditLog
) -> None:
    gate = asyncio.Event()
    agent = await register(edge, server)
    server.chat = after(gate, json_reply(OPENAI_ANSWER))
    # By name: a replica that has yet to probe it would let the built-in ones stand in.
    in_flight = [asyncio.create_task(dispatch(edge, agent_id=agent.id)) for _ in range(10)]
    await remove_mid_flight(edge, server, agent.id, works=10)

    meanwhile = [await dispatch(edge) for _ in range(4)]
    with pytest.raises(PlatformError) as named:
        await dispatch(edge, agent_id=agent.id)
    with pytest.raises(PlatformError) as checked:
        await edge.call(CHECK_AGENT, GetAgent(id=agent.id), by())
    gate.set()
    answers = await asyncio.gather(*in_flight)

    assert {(answer.agent_id, answer.message) for answer in answers} == {(agent.id, "Good day.")}
    assert {answer.model for answer in meanwhile} == {"echo"}
    assert [(each.value.code, each.value.reason) for each in (named, checked)] == [
        (ErrorCode.NOT_FOUND, "agent-not-found")
    ] * 2
    entries = [entry for entry in audit.outcomes("agent.request") if entry.resource_id == agent.id]
    assert [entry.outcome for entry in entries if entry.outcome is not Outcome.FAILURE] == [Outcome.SUCCESS] * 10


async def test_when_it_fails_as_well_another_one_is_asked(edge: Bus, server: Upstream, audit: AuditLog) -> None:
    gate = asyncio.Event()
    agent = await register(edge, server, name="leaves", priority=6)
    other = await register(edge, server, name="stays", type="ollama")
    server.chat = after(gate, reply(b"", status="500 Oops"))
    in_flight = asyncio.create_task(dispatch(edge))
    await remove_mid_flight(edge, server, agent.id, works=1)

    server.chat = None
    gate.set()
    answer = await in_flight

    assert [(one.agent_id, one.outcome) for one in answer.attempts] == [(agent.id, "failed"), (other.id, "success")]
    (entry,) = audit.outcomes("agent.request")
    assert (entry.outcome, entry.details["agentsTried"]) == (Outcome.SUCCESS, [agent.id, other.id])


async def test_who_waits_for_one_that_is_removed_hears_that_nobody_is_free(edge: Bus, server: Upstream) -> None:
    gate = asyncio.Event()
    agent = await register(edge, server, max_concurrency=1)
    server.chat = after(gate, json_reply(OPENAI_ANSWER))
    calls = [asyncio.create_task(dispatch(edge, agent_id=agent.id)) for _ in range(4)]
    await remove_mid_flight_of_any(edge, server, agent.id)

    gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)

    failures = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(failure, PlatformError) for failure in failures)
    assert {failure.code for failure in failures if isinstance(failure, PlatformError)} <= {
        ErrorCode.NOT_FOUND,
        ErrorCode.UNAVAILABLE,
    }
    assert len(server.chats) == len(calls) - len(failures)


async def remove_mid_flight_of_any(edge: Bus, server: Upstream, id: str) -> None:
    """The same once the agent works at all: how many work depends on whom of the two replicas the bus has chosen."""

    async def works() -> bool:
        return len(server.chats) >= 1

    await eventually(works)
    await edge.call(REMOVE_AGENT, GetAgent(id=id), by())
