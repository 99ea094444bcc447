"""Fail-over, circuits over two replicas, maintenance and full agents, with real upstreams."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.domain import circuit as circuits
from shared.bus import Bus
from shared.bus.notes import forget_notes, noted_headers
from shared.contracts.audit import Outcome
from shared.contracts.orchestrator import (
    GET_AGENT,
    LIST_AGENTS,
    MAINTAIN_AGENT,
    Agent,
    GetAgent,
    ListAgents,
    MaintainAgent,
    Maintenance,
)
from shared.errors import ErrorCode, PlatformError
from shared.principal import Role
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.calls import dispatch, look, register, remove_built_in
from tests.integration.orchestrator.cluster import AuditLog, by, replica
from tests.integration.orchestrator.upstreams import Reply, Upstream, json_reply, reply, upstream
from tests.waiting import eventually

OOPS = reply(b"", status="500 Oops")


@pytest.fixture
async def other() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


def allowed(*servers: Upstream) -> str:
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)


@pytest.fixture
async def edge(nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream, other: Upstream) -> AsyncIterator[Bus]:
    """The edge's place, with one replica that may reach both upstreams."""
    async with replica(nats, data_dir, allowed=allowed(server, other)), bus_as(nats, "edge") as bus:
        yield bus


@asynccontextmanager
async def two_replicas(nats: Nats, data_dir: Path, *servers: Upstream) -> AsyncIterator[Bus]:
    async with (
        replica(nats, data_dir, 1, allowed=allowed(*servers)),
        replica(nats, data_dir, 2, allowed=allowed(*servers)),
        bus_as(nats, "edge") as bus,
    ):
        yield bus


async def maintain(edge: Bus, id: str, enabled: bool, role: Role = Role.OPERATOR) -> Agent:
    return await edge.call(MAINTAIN_AGENT, MaintainAgent(id=id, maintenance=Maintenance(enabled=enabled)), by(role))


async def problem_of(call: object) -> PlatformError:
    with pytest.raises(PlatformError) as failure:
        await call  # type: ignore[misc]  # a coroutine
    return failure.value


async def statuses(edge: Bus, id: str, times: int = 16) -> set[str]:
    """What the replicas say; the queue group picks one at random for each."""
    answers = await asyncio.gather(*(edge.call(GET_AGENT, GetAgent(id=id), by(Role.VIEWER)) for _ in range(times)))
    return {answer.health.status for answer in answers}


@pytest.mark.parametrize("behaviour", [OOPS, upstreams.closes_at_once, upstreams.closes_mid_body, reply(b"<html>")])
async def test_a_failed_attempt_moves_on_to_another_agent(
    edge: Bus, server: Upstream, other: Upstream, audit: AuditLog, behaviour: Reply
) -> None:
    bad = await register(edge, server, name="bad", priority=6)
    good = await register(edge, other, name="good")
    server.chat = behaviour
    forget_notes()

    answer = await dispatch(edge)

    assert [(one.agent_id, one.outcome) for one in answer.attempts] == [(bad.id, "failed"), (good.id, "success")]
    assert answer.attempts[0].why
    assert answer.attempts[1].why is None
    assert (answer.agent_id, (noted_headers() or {})["Peanut-Agent"]) == (good.id, good.id)
    (entry,) = audit.outcomes("agent.request")
    assert (entry.outcome, entry.resource_id) == (Outcome.SUCCESS, good.id)
    assert (entry.details["attempts"], entry.details["agentsTried"]) == (2, [bad.id, good.id])


async def test_at_most_three_agents_are_tried_and_all_are_named_in_words(
    edge: Bus, server: Upstream, audit: AuditLog
) -> None:
    server.chat = OOPS
    for name in ("one", "two", "three", "four"):
        await register(edge, server, name=name)

    failure = await problem_of(dispatch(edge))

    assert (failure.code, failure.reason) == (ErrorCode.BAD_GATEWAY, "agent-failed")
    assert failure.detail == "Agent one failed: HTTP 500. Agent two failed: HTTP 500. Agent three failed: HTTP 500."
    assert len(server.chats) == 3
    (entry,) = audit.outcomes("agent.request")
    assert (entry.outcome, entry.details["attempts"], entry.details["reason"]) == (Outcome.FAILURE, 3, "agent-failed")


async def test_a_named_agent_a_refusal_and_an_echo_are_no_reason_to_move_on(
    edge: Bus, server: Upstream, other: Upstream
) -> None:
    bad = await register(edge, server, name="bad", priority=6)
    server.chat = OOPS
    alone = await problem_of(dispatch(edge))  # the built-in echo agents are no stand-in
    await register(edge, other, name="good")
    named = await problem_of(dispatch(edge, agent_id=bad.id))
    server.chat = reply(b"{}", status="422 Unprocessable")
    refused = await problem_of(dispatch(edge))

    assert [one.reason for one in (alone, named, refused)] == ["agent-failed"] * 3
    assert "refused the request" in refused.detail
    assert other.chats == []


async def test_when_the_time_is_up_nobody_else_is_asked(edge: Bus, server: Upstream, other: Upstream) -> None:
    await register(edge, server, name="slow", priority=6)
    await register(edge, other, name="good")
    server.chat = upstreams.hangs

    failure = await problem_of(dispatch(edge, seconds=1))

    assert (failure.code, failure.reason) == (ErrorCode.TIMEOUT, "deadline-passed")
    late = "No answer from orchestrator in time."  # where the machine was too busy to tell within 0.3 s
    assert "Agent slow did not answer in time" in failure.detail or failure.detail == late
    assert other.chats == []


async def test_a_circuit_is_open_and_closed_in_all_replicas_within_a_second(
    nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuits, "FIRST_PAUSE_S", 2.0)
    async with two_replicas(nats, data_dir, server) as edge:
        await remove_built_in(edge)
        agent = await register(edge, server)
        assert await statuses(edge, agent.id) == {"online"}
        server.chat = OOPS

        while "offline" not in await statuses(edge, agent.id):
            await problem_of(dispatch(edge))
        opened = time.monotonic()

        async def all_offline() -> bool:
            return await statuses(edge, agent.id) == {"offline"}

        await eventually(all_offline)
        failures = await asyncio.gather(*(problem_of(dispatch(edge)) for _ in range(16)))
        asked = len(server.chats)
        assert {failure.reason for failure in failures} == {"no-healthy-agents"}
        assert {failure.retry_after for failure in failures} <= {1, 2}

        server.chat = None

        async def works() -> bool:
            try:
                await dispatch(edge)
            except PlatformError:
                return False
            return True

        await eventually(works, within=10)
        assert time.monotonic() - opened > 1
        assert len(server.chats) == asked + 1

        async def all_online() -> bool:
            return await statuses(edge, agent.id) == {"online"}

        await eventually(all_online)


async def test_of_many_at_once_one_is_the_trial(
    nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuits, "FIRST_PAUSE_S", 0.5)
    async with replica(nats, data_dir, allowed=allowed(server)), bus_as(nats, "edge") as edge:
        await remove_built_in(edge)
        agent = await register(edge, server)
        server.chat = OOPS
        for _ in range(3):
            await problem_of(dispatch(edge))

        async def half_open() -> bool:
            return (await look(edge, agent.id)).health.status == "degraded"

        await eventually(half_open)
        asked = len(server.chats)

        async def slowly(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.2)
            await json_reply(upstreams.OPENAI_ANSWER)(writer)

        server.chat = slowly
        answers = await asyncio.gather(*(dispatch(edge) for _ in range(16)), return_exceptions=True)

    failures = [answer for answer in answers if isinstance(answer, PlatformError)]
    assert len(server.chats) == asked + 1
    assert {(failure.reason, failure.retry_after) for failure in failures} == {("no-healthy-agents", 1)}
    assert len(failures) == 15


async def test_a_replica_that_has_just_started_learns_what_is_open(
    nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream
) -> None:
    async with bus_as(nats, "edge") as edge, replica(nats, data_dir, 1, allowed=allowed(server)):
        agent = await register(edge, server)
        server.chat = OOPS
        for _ in range(3):
            await problem_of(dispatch(edge, agent_id=agent.id))
        async with replica(nats, data_dir, 2, allowed=allowed(server)):

            async def all_offline() -> bool:
                return await statuses(edge, agent.id) == {"offline"}

            await eventually(all_offline)


async def test_maintenance_gives_nothing_new_and_lets_calls_in_flight_finish(
    edge: Bus, server: Upstream, other: Upstream, audit: AuditLog
) -> None:
    agent = await register(edge, server, name="drained", priority=6)
    spare = await register(edge, other, name="spare")

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        await json_reply(upstreams.OPENAI_ANSWER)(writer)

    server.chat = slowly
    in_flight = asyncio.create_task(dispatch(edge))

    async def has_begun() -> bool:
        return len(server.chats) == 1

    await eventually(has_begun)
    drained = await maintain(edge, agent.id, True)
    again = await maintain(edge, agent.id, True)
    meanwhile = await dispatch(edge)
    named = await problem_of(dispatch(edge, agent_id=agent.id))
    listed = await edge.call(LIST_AGENTS, ListAgents(status="maintenance"), by(Role.VIEWER))
    finished = await in_flight
    back = await maintain(edge, agent.id, False)

    assert (drained.health.status, drained.version, again.version) == ("maintenance", 2, 2)
    assert (meanwhile.agent_id, finished.agent_id) == (spare.id, agent.id)
    assert (named.code, named.reason) == (ErrorCode.UNAVAILABLE, "agent-in-maintenance")
    assert [one.id for one in listed.items] == [agent.id]
    assert (back.health.status, back.version) == ("online", 3)
    assert len(audit.outcomes("agent.maintenance_begun")) == 2
    assert len(audit.outcomes("agent.maintenance_ended")) == 1
    assert (await dispatch(edge)).agent_id == agent.id


async def test_maintenance_needs_an_operator_and_an_agent_and_survives_a_restart(
    nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream
) -> None:
    async with replica(nats, data_dir, allowed=allowed(server)), bus_as(nats, "edge") as edge:
        agent = await register(edge, server)
        forbidden = await problem_of(maintain(edge, agent.id, True, Role.VIEWER))
        unknown = await problem_of(maintain(edge, "nobody", True))
        await maintain(edge, agent.id, True)
    async with replica(nats, data_dir, allowed=allowed(server)), bus_as(nats, "edge") as edge:
        after = await look(edge, agent.id)

    assert (forbidden.code, unknown.reason) == (ErrorCode.FORBIDDEN, "agent-not-found")
    assert after.health.status == "maintenance"


async def test_a_full_agent_is_passed_over_waited_for_and_refused_in_the_end(
    edge: Bus, server: Upstream, other: Upstream
) -> None:
    first = await register(edge, server, name="first", priority=6, max_concurrency=1)
    second = await register(edge, other, name="second", max_concurrency=1)
    gate = asyncio.Event()

    async def gated(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await json_reply(upstreams.OPENAI_ANSWER)(writer)

    server.chat = other.chat = gated
    working = [asyncio.create_task(dispatch(edge)) for _ in range(2)]

    async def both_work() -> bool:
        return (len(server.chats), len(other.chats)) == (1, 1)

    await eventually(both_work)
    waiting = [asyncio.create_task(dispatch(edge)) for _ in range(2)]
    done, _ = await asyncio.wait(waiting, timeout=0.2)
    beyond = await problem_of(dispatch(edge))
    gate.set()
    answers = await asyncio.gather(*working, *waiting)

    assert done == set()
    assert (beyond.code, beyond.reason, beyond.retry_after) == (ErrorCode.UNAVAILABLE, "agents-busy", 1)
    assert {answer.agent_id for answer in answers} == {first.id, second.id}
    assert len(server.chats) + len(other.chats) == 4


async def test_who_waits_for_a_full_agent_waits_no_longer_than_may_be(
    edge: Bus, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.application.pool.QUEUE_WITHIN_S", 0.2)
    agent = await register(edge, server, max_concurrency=1)
    server.chat = upstreams.hangs
    working = asyncio.create_task(dispatch(edge, seconds=60))

    async def works() -> bool:
        return len(server.chats) == 1

    await eventually(works)
    failure = await problem_of(dispatch(edge, agent_id=agent.id, seconds=30))

    assert failure.reason == "agents-busy"
    working.cancel()
