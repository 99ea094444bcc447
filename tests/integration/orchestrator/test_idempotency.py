"""Requests with an idempotency key on two replicas with one database."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from orchestrator.application import leases
from orchestrator.application.idempotency import Claim, Idempotency, require_no_key
from orchestrator.domain.idempotency import IdempotencyKeyReused, KeyedRequest, OutcomeLost
from orchestrator.infrastructure.sql_idempotency import SqlIdempotency
from shared.bus import Bus, CallContext
from shared.bus.notes import LimitState, forget_notes, note_agent, note_limit, noted_headers
from shared.bus.requester import NoResponder
from shared.clock import utc_now
from shared.contracts.orchestrator import DISPATCH
from shared.database import Database, open_database
from shared.errors import DeadlinePassed, ErrorCode, FieldError, InvalidFields, PlatformError
from shared.ids import new_id
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator.claiming import ANSWER, BODY, SUBJECT
from tests.integration.orchestrator.cluster import KEY, by
from tests.waiting import eventually

AGENT = "01a20304-490e-7141-9251-cff2e71a6900"
REPLAYED = {"Peanut-Agent": AGENT, "Idempotency-Replayed": "true"}


class AgentFailed(PlatformError):
    code = ErrorCode.BAD_GATEWAY
    reason = "agent-failed"


@dataclass
class Agent:
    """Work that counts how often an agent was asked, waits for `go`, and fails with `failure` when there is one."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    ended: int = 0
    early: Exception | None = None
    failure: Exception | None = None

    async def work(self, claim: Claim) -> bytes:
        note_limit(LimitState("dispatch", 60, 60, 59, 60))
        if self.early is not None:
            raise self.early
        claim.effect_begins()
        self.asked += 1
        self.begun.set()
        note_agent(AGENT)
        try:
            await self.go.wait()
        finally:
            self.ended += 1
        if self.failure is not None:
            raise self.failure
        return ANSWER


@pytest.fixture
def url(data_dir: Path) -> str:
    return f"sqlite+aiosqlite:///{data_dir}/orchestrator.db"


@asynccontextmanager
async def opened(url: str, *, now: Callable[[], datetime] = utc_now) -> AsyncIterator[tuple[Database, Idempotency]]:
    async with open_database(url) as database:
        replica = Idempotency(SqlIdempotency(database, bytes.fromhex(KEY)), now=now, new_id=new_id)
        async with replica.keeping_claims():
            yield database, replica


@pytest.fixture
async def one(url: str) -> AsyncIterator[Idempotency]:
    async with opened(url) as (_, replica):
        yield replica


@pytest.fixture
async def other(url: str) -> AsyncIterator[Idempotency]:
    async with opened(url) as (_, replica):
        yield replica


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def quick() -> Agent:
    """One that answers at once."""
    made = Agent()
    made.go.set()
    return made


async def ask(
    replica: Idempotency, agent: Agent, key: str = "k", *, body: bytes = BODY, context: CallContext | None = None
) -> tuple[bytes, Mapping[str, str] | None]:
    """The answer and what was noted beside it."""
    forget_notes()
    answer = await replica.once(key, SUBJECT, body, context or by(), agent.work)
    return answer, noted_headers()


async def test_twenty_tries_at_once_on_two_replicas_ask_an_agent_once(
    one: Idempotency, other: Idempotency, agent: Agent
) -> None:
    tries = [asyncio.create_task(ask(replica, agent)) for replica in (one, other) * 10]
    await agent.begun.wait()
    agent.go.set()

    answers = await asyncio.gather(*tries)

    assert agent.asked == 1
    assert {answer for answer, _ in answers} == {ANSWER}
    assert sorted(noted == REPLAYED for _, noted in answers) == [False] + 19 * [True]
    assert {"RateLimit", "Peanut-Agent"} <= next(set(noted or {}) for _, noted in answers if noted != REPLAYED)


async def test_an_answer_is_told_again_by_any_replica(one: Idempotency, other: Idempotency, quick: Agent) -> None:
    await ask(one, quick)

    again = [await ask(one, quick), await ask(other, quick)]

    assert again == 2 * [(ANSWER, REPLAYED)]
    assert quick.asked == 1


async def test_another_body_under_the_same_key_is_refused_during_the_work_and_after_it(
    one: Idempotency, other: Idempotency, agent: Agent
) -> None:
    working = asyncio.create_task(ask(one, agent))
    await agent.begun.wait()

    for replica in (one, other):
        with pytest.raises(IdempotencyKeyReused):
            await ask(replica, agent, body=b"{}")
    agent.go.set()
    await working
    with pytest.raises(IdempotencyKeyReused):
        await ask(other, agent, body=b"{}")

    assert agent.asked == 1


async def test_a_failure_before_an_agent_was_asked_leaves_the_key_free(
    one: Idempotency, other: Idempotency, quick: Agent
) -> None:
    quick.early = PlatformError("no agent")
    with pytest.raises(PlatformError, match="no agent"):
        await ask(one, quick)
    quick.early = None

    answer, noted = await ask(other, quick, body=b"{}")

    assert answer == ANSWER
    assert "Idempotency-Replayed" not in (noted or {})


async def test_who_waited_for_a_failure_before_an_agent_was_asked_tries_it(one: Idempotency, agent: Agent) -> None:
    halted = Agent()

    async def refused(_claim: Claim) -> bytes:
        halted.begun.set()
        await halted.go.wait()
        raise PlatformError("no agent")

    first = asyncio.create_task(one.once("k", SUBJECT, BODY, by(), refused))
    await halted.begun.wait()
    second = asyncio.create_task(ask(one, agent))
    agent.go.set()
    halted.go.set()

    with pytest.raises(PlatformError, match="no agent"):
        await first
    assert (await second)[0] == ANSWER


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (AgentFailed("It broke.", errors=(FieldError("message", "too long"),)), "bad_gateway agent-failed"),
        (DeadlinePassed("Too late."), "timeout deadline-passed"),
        (RuntimeError("a secret"), "internal internal"),
    ],
)
async def test_a_failure_after_an_agent_was_asked_is_told_again(
    one: Idempotency, other: Idempotency, quick: Agent, failure: Exception, told: str
) -> None:
    quick.failure = failure
    with pytest.raises(type(failure)):
        await ask(one, quick)
    quick.failure = None

    with pytest.raises(PlatformError) as again:
        await ask(other, quick)

    assert f"{again.value.code} {again.value.reason}" == told
    assert again.value.errors == getattr(failure, "errors", ())
    assert "secret" not in again.value.detail
    assert noted_headers() == REPLAYED
    assert quick.asked == 1


async def test_keys_of_different_credentials_never_meet(one: Idempotency, quick: Agent) -> None:
    mine = by()
    another = mine.principal.model_copy(update={"credential_id": "c-2"})
    theirs = replace(mine, caller=mine.caller.model_copy(update={"principal": another}))

    await ask(one, quick, context=mine)
    await ask(one, quick, context=theirs)

    assert quick.asked == 2


async def test_who_waits_waits_until_its_own_deadline(one: Idempotency, other: Idempotency, agent: Agent) -> None:
    working = asyncio.create_task(ask(one, agent))
    await agent.begun.wait()

    for replica in (one, other):
        with pytest.raises(DeadlinePassed):
            await ask(replica, agent, context=by(seconds=0.2))
    agent.go.set()

    assert (await working)[0] == ANSWER
    assert agent.asked == 1


async def test_the_work_goes_on_when_its_client_leaves(one: Idempotency, other: Idempotency, agent: Agent) -> None:
    working = asyncio.create_task(ask(one, agent))
    await agent.begun.wait()
    working.cancel()
    waiting = asyncio.create_task(ask(other, agent))
    await asyncio.sleep(0)
    agent.go.set()

    again = await waiting

    assert again == (ANSWER, REPLAYED)
    assert (await working)[0] == ANSWER


async def test_cut_off_a_second_time_it_ends_and_nobody_knows_what_was_done(
    one: Idempotency, url: str, agent: Agent
) -> None:
    working = asyncio.create_task(ask(one, agent))
    await agent.begun.wait()
    working.cancel()
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    async with opened(url, now=lambda: utc_now() + timedelta(seconds=5)) as (_, later):
        with pytest.raises(OutcomeLost) as lost:
            await ask(later, agent)

    assert (lost.value.code, lost.value.reason) == (ErrorCode.CONFLICT, "outcome-unknown")
    assert (agent.asked, agent.ended) == (1, 1)


async def test_what_is_cut_off_at_its_deadline_has_failed_by_it(
    one: Idempotency, other: Idempotency, agent: Agent
) -> None:
    working = asyncio.create_task(ask(one, agent, context=by(seconds=0.05)))
    await agent.begun.wait()
    await asyncio.sleep(0.1)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    with pytest.raises(PlatformError) as again:
        await ask(other, agent)

    assert (again.value.code, again.value.reason) == (ErrorCode.TIMEOUT, "deadline-passed")
    assert agent.asked == 1


async def test_wherever_a_client_leaves_its_agent_is_asked_once_and_the_answer_is_there(
    one: Idempotency, other: Idempotency, quick: Agent
) -> None:
    for number in range(25):
        leaving = asyncio.create_task(ask(one, quick, str(number)))
        await asyncio.sleep(number / 1000)
        leaving.cancel()

        answer, _ = await ask(other, quick, str(number))

        assert answer == ANSWER
        assert quick.asked == number + 1
        await asyncio.wait((leaving,))


async def test_a_replica_that_stops_cuts_off_what_is_not_done(url: str, agent: Agent) -> None:
    async with opened(url) as (_, stopping):
        working = asyncio.create_task(ask(stopping, agent))
        await agent.begun.wait()

    with pytest.raises(asyncio.CancelledError):
        await working
    async with opened(url, now=lambda: utc_now() + timedelta(seconds=5)) as (_, later):
        with pytest.raises(OutcomeLost):
            await ask(later, agent)
    assert agent.asked == 1


async def test_a_claim_is_kept_alive_while_it_is_worked_on(
    url: str, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY_S", 0.02)
    async with opened(url) as (database, replica):
        working = asyncio.create_task(ask(replica, agent))
        await agent.begun.wait()
        store = SqlIdempotency(database, bytes.fromhex(KEY))
        request = KeyedRequest.of(by().principal, "k", SUBJECT, BODY)
        first = await store.find(request, now=utc_now())
        assert first is not None

        async def is_renewed() -> bool:
            later = await store.find(request, now=utc_now())
            return later is not None and later.leased_until > first.leased_until

        await eventually(is_renewed)
        agent.go.set()
        await working


async def test_who_waits_is_answered_though_the_answer_cannot_be_stored(
    url: str, quick: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(url) as (database, replica):

        async def work(claim: Claim) -> bytes:
            async with database.writing() as connection:
                await connection.execute(text("DROP TABLE idempotency_keys"))
            return await quick.work(claim)

        answer = await replica.once("k", SUBJECT, BODY, by(), work)

    assert answer == ANSWER
    assert "outcome_not_stored" in caplog.messages


def test_a_stream_takes_no_key() -> None:
    require_no_key(by())

    with pytest.raises(InvalidFields):
        require_no_key(replace(by(), idempotency_key="k"))


@asynccontextmanager
async def claimed(url: str, key: str, seconds: float) -> AsyncIterator[Process]:
    """A replica in a process of its own that works on the request."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "tests.integration.orchestrator.claiming", url, KEY, key, str(seconds)), stdout=PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"working\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_who_works_on_it_in_another_process_is_waited_for(url: str, one: Idempotency, quick: Agent) -> None:
    async with claimed(url, "k", 1) as process:
        answer, noted = await ask(one, quick)
        await process.wait()

    assert (answer, noted) == (ANSWER, {"Idempotency-Replayed": "true"})
    assert quick.asked == 0


async def test_of_a_killed_replica_nobody_knows_what_it_has_done_and_it_is_not_done_again(
    url: str, one: Idempotency, quick: Agent
) -> None:
    async with claimed(url, "k", 60) as process:
        waiting = asyncio.create_task(ask(one, quick))
        process.kill()
        await process.wait()

        async with asyncio.timeout(6):
            with pytest.raises(OutcomeLost):
                await waiting
    with pytest.raises(OutcomeLost):
        await ask(one, quick)

    assert quick.asked == 0


async def test_on_the_bus_a_client_that_left_finds_its_answer(nats: Nats, one: Idempotency, agent: Agent) -> None:
    async def dispatch(body: bytes, context: CallContext) -> bytes:
        return await one.once(context.idempotency_key, SUBJECT, body, context, agent.work)

    async with bus_as(nats, "orchestrator") as service, bus_as(nats, "edge") as edge:
        await service.serve(DISPATCH.answered_in_bytes_by(dispatch))
        leaving = asyncio.create_task(forward(edge))
        await agent.begun.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        back = asyncio.create_task(forward(edge))
        await asyncio.sleep(0.1)
        still_working = agent.ended == 0
        agent.go.set()

        answer, noted = await back

    assert still_working
    assert (answer, noted) == (ANSWER, REPLAYED)
    assert agent.asked == 1


async def forward(edge: Bus) -> tuple[bytes, Mapping[str, str] | None]:
    return await edge.forward(DISPATCH, BODY, replace(by(), idempotency_key="k")), noted_headers()


async def test_work_that_its_client_left_is_waited_for_when_the_service_stops(
    nats: Nats, one: Idempotency, other: Idempotency, agent: Agent
) -> None:
    async def dispatch(body: bytes, context: CallContext) -> bytes:
        return await one.once(context.idempotency_key, SUBJECT, body, context, agent.work)

    async with bus_as(nats, "edge") as edge:
        async with bus_as(nats, "orchestrator") as service:
            await service.serve(DISPATCH.answered_in_bytes_by(dispatch))
            leaving = asyncio.create_task(forward(edge))
            await agent.begun.wait()
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            asyncio.get_running_loop().call_later(0.3, agent.go.set)
        after_the_end = agent.ended
        with pytest.raises(NoResponder):
            await forward(edge)

    assert after_the_end == 1
    assert await ask(other, agent) == (ANSWER, REPLAYED)
