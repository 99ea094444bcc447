"""A dispatch whose caller leaves: the agent is left too, at once, and the record says so once."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.bus import Bus, CallContext
from shared.contracts.audit import Outcome
from shared.contracts.orchestrator import DISPATCH, REGISTER_AGENT, Dispatch, Dispatched, RegisterAgent
from shared.errors import RemoteFailure
from shared.principal import Role
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator.calls import dispatch, remove_built_in
from tests.integration.orchestrator.cluster import AuditLog, by, replica
from tests.integration.orchestrator.holding import Holding, holding
from tests.waiting import until


@pytest.fixture
async def agent() -> AsyncIterator[Holding]:
    async with holding() as running:
        yield running


@pytest.fixture
async def callers(nats: Nats, audit: AuditLog, data_dir: Path, agent: Holding) -> AsyncIterator[Bus]:
    """The edge's place on the bus, with two orchestrators and an agent that keeps everybody waiting."""
    allowed = f"127.0.0.1:{agent.port}"
    async with (
        replica(nats, data_dir, 1, allowed=allowed),
        replica(nats, data_dir, 2, allowed=allowed),
        bus_as(nats, "edge") as edge,
    ):
        await remove_built_in(edge)  # they would stand in while the other replica has yet to probe the agent
        wish = {"name": "slow", "type": "openai", "endpoint": agent.address + "/v1", "model": "m"}
        await edge.call(REGISTER_AGENT, RegisterAgent.model_validate(wish), by(Role.OPERATOR))
        yield edge


def ask(edge: Bus, context: CallContext) -> asyncio.Task[Dispatched]:
    return asyncio.create_task(edge.call(DISPATCH, Dispatch(message="Hello"), context))


@pytest.mark.parametrize("head_first", [False, True], ids=["before the head", "in the body"])
async def test_the_agents_connection_is_closed_and_one_entry_says_cancelled(
    callers: Bus, agent: Holding, audit: AuditLog, head_first: bool
) -> None:
    agent.head_first = head_first
    context = by(Role.OPERATOR)
    call = ask(callers, context)
    await until(lambda: len(agent.held) == 1)

    call.cancel()
    await until(lambda: len(agent.left) == 1)
    await until(lambda: len(audit.outcomes("agent.request")) == 1)

    (entry,) = audit.outcomes("agent.request")
    assert (entry.id, entry.outcome, entry.details["reason"]) == (context.event_id, Outcome.UNKNOWN, "cancelled")
    assert agent.begun == 1


async def test_of_fifty_who_leave_at_once_each_is_recorded_once_and_the_rest_is_answered(
    callers: Bus, agent: Holding, audit: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    leaving = [by(Role.OPERATOR) for _ in range(50)]
    going = [ask(callers, context) for context in leaving]
    staying = [ask(callers, by(Role.OPERATOR)) for _ in range(10)]
    await until(lambda: len(agent.held) == 60)
    caplog.clear()

    for call in going:
        call.cancel()
    await until(lambda: len(agent.left) == 50)
    agent.release()
    answers = await asyncio.gather(*staying)
    await until(lambda: len(audit.outcomes("agent.request")) == 60)

    entries = audit.outcomes("agent.request")
    cancelled = [entry.id for entry in entries if entry.details.get("reason") == "cancelled"]
    assert Counter(cancelled) == Counter(context.event_id for context in leaving)
    assert {answer.message for answer in answers} == {"Good day."}
    assert (agent.begun, len(agent.left)) == (60, 50)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_whoever_leaves_as_the_answer_comes_is_recorded_once_all_the_same(
    callers: Bus, agent: Holding, audit: AuditLog
) -> None:
    contexts = [by(Role.OPERATOR) for _ in range(40)]
    calls = [ask(callers, context) for context in contexts]
    await until(lambda: len(agent.held) == 40)

    agent.release()
    for call in calls:
        call.cancel()
        await asyncio.sleep(0.0005)
    await asyncio.wait(calls)
    await until(lambda: len(audit.outcomes("agent.request")) == 40)

    entries = audit.outcomes("agent.request")
    assert Counter(entry.id for entry in entries) == Counter(context.event_id for context in contexts)
    assert {entry.outcome for entry in entries} <= {Outcome.SUCCESS, Outcome.UNKNOWN}


async def test_who_has_left_does_not_count_against_the_agent(callers: Bus, agent: Holding) -> None:
    for number in range(6):
        call = ask(callers, by(Role.OPERATOR))
        await until(lambda begun=number + 1: agent.begun == begun)  # type: ignore[misc]  # bound now
        call.cancel()
        await until(lambda left=number + 1: len(agent.left) == left)  # type: ignore[misc]  # bound now

    answering = asyncio.create_task(dispatch(callers))
    await until(lambda: len(agent.held) == 1)
    agent.release()

    assert (await answering).message == "Good day."


async def test_who_leaves_the_queue_was_never_worked_for_and_leaves_its_place(
    nats: Nats, audit: AuditLog, data_dir: Path, agent: Holding
) -> None:
    async with replica(nats, data_dir, allowed=f"127.0.0.1:{agent.port}"), bus_as(nats, "edge") as edge:
        await remove_built_in(edge)
        wish = {"name": "slow", "type": "openai", "endpoint": agent.address + "/v1", "model": "m", "max_concurrency": 1}
        await edge.call(REGISTER_AGENT, RegisterAgent.model_validate(wish), by(Role.OPERATOR))
        first = ask(edge, by(Role.OPERATOR))
        await until(lambda: len(agent.held) == 1)
        contexts = [by(Role.OPERATOR) for _ in range(5)]
        calls = [ask(edge, context) for context in contexts]
        await until(lambda: sum(call.done() for call in calls) == 4)  # as many may wait as are worked on: one

        [(id, queued)] = [(each.event_id, call) for each, call in zip(contexts, calls, strict=True) if not call.done()]
        queued.cancel()
        await until(lambda: any(entry.id == id for entry in audit.outcomes("agent.request")))
        next_one = ask(edge, by(Role.OPERATOR))
        agent.release()
        await until(lambda: agent.begun == 2 and len(agent.held) == 1)
        agent.release()
        answers = await asyncio.gather(first, next_one)
        refused = await asyncio.gather(*calls, return_exceptions=True)

    (entry,) = [entry for entry in audit.outcomes("agent.request") if entry.id == id]
    assert [type(error) for error in refused].count(RemoteFailure) == 4
    assert (entry.details["reason"], {answer.message for answer in answers}) == ("cancelled", {"Good day."})
    assert agent.begun == 2
