"""What a caller of dispatch meets when limits, budgets and allowed models come to their end."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.bus import Bus, call_context
from shared.bus.notes import forget_notes, noted_headers
from shared.contracts.orchestrator import DISPATCH, Dispatch
from shared.errors import PlatformError
from shared.ids import new_id
from shared.principal import Allowance, Caller, Principal, PrincipalKind, Role
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator.calls import register, remove_built_in
from tests.integration.orchestrator.cluster import AuditLog, replica
from tests.integration.orchestrator.upstreams import (
    OPENAI_ANSWER,
    Upstream,
    closes_mid_body,
    json_reply,
    reply,
)

PER_MINUTE = 20
BOUND = 118
"""What "Hi" may use at most: 2 bytes, 16 for a message, and an answer of 100."""


@pytest.fixture
async def two(nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream) -> AsyncIterator[Bus]:
    """The edge's place, with two replicas that let 20 requests of a user through in a minute."""
    allowed = f"127.0.0.1:{server.port}"
    async with (
        replica(nats, data_dir, 1, allowed=allowed, per_minute=PER_MINUTE),
        replica(nats, data_dir, 2, allowed=allowed, per_minute=PER_MINUTE),
        bus_as(nats, "edge") as bus,
    ):
        yield bus


def person(user: str) -> Principal:
    return Principal(
        kind=PrincipalKind.SESSION, user_id=user, email="ada@example.org", role=Role.OPERATOR, credential_id=new_id()
    )


def key(user: str | None = None, **allowance: object) -> Principal:
    return Principal(
        kind=PrincipalKind.KEY,
        user_id=user or new_id(),
        email="ada@example.org",
        role=Role.VIEWER,
        credential_id=new_id(),
        allowance=Allowance.model_validate(allowance),
    )


async def ask(edge: Bus, who: Principal, **fields: object) -> tuple[str, int | None]:
    """How it ended, and after how many seconds to come back."""
    forget_notes()
    wish = Dispatch.model_validate({"message": "Hi", **fields})
    try:
        await edge.call(DISPATCH, wish, call_context(seconds=10, caller=Caller(principal=who)))
    except PlatformError as failure:
        return failure.reason, failure.retry_after
    return "ok", None


async def at_once(edge: Bus, who: Principal, times: int) -> Counter[str]:
    return Counter(reason for reason, _ in await asyncio.gather(*(ask(edge, who) for _ in range(times))))


def told() -> str:
    headers = noted_headers()
    assert headers is not None
    return headers["RateLimit"]


async def test_of_64_at_once_over_two_replicas_as_many_reach_the_agent_as_may(
    two: Bus, server: Upstream, audit: AuditLog
) -> None:
    await remove_built_in(two)  # they would stand in while the other replica has yet to probe the agent
    await register(two, server)
    who = person(new_id())

    reasons = await at_once(two, who, 64)
    again = await ask(two, who)

    assert reasons == {"ok": PER_MINUTE, "rate-limited": 64 - PER_MINUTE}
    assert len(server.chats) == PER_MINUTE
    assert len(audit.outcomes("agent.request")) == PER_MINUTE
    assert again[0] == "rate-limited"
    assert again[1] is not None
    assert 50 <= again[1] <= 60
    assert told() == f'"dispatch";r=0;t={again[1]}'


async def test_each_answer_says_what_is_left(two: Bus) -> None:
    who = key(rpm=5)
    left = []

    for _ in range(3):
        assert await ask(two, who) == ("ok", None)
        left.append(re.sub(r";t=\d+", "", told()))

    assert left == [f'"key";r={own}, "dispatch";r={owners}' for own, owners in ((4, 19), (3, 18), (2, 17))]


async def test_a_key_counts_against_its_own_limit_and_its_owners(two: Bus) -> None:
    owner = new_id()
    slow, other = key(owner, rpm=5), key(owner, rpm=1000)

    of_one = await at_once(two, slow, 10)
    of_other = await at_once(two, other, 30)
    of_owner = await ask(two, person(owner))

    assert of_one["ok"] == 5
    assert of_other["ok"] == PER_MINUTE - 5
    assert of_owner[0] == "rate-limited"


async def test_a_key_that_counts_alone_leaves_its_owners_limit_as_it_is(two: Bus) -> None:
    owner = new_id()

    of_key = await at_once(two, key(owner, rpm=30, counts_alone=True), 40)
    of_owner = await at_once(two, person(owner), 30)

    assert (of_key["ok"], of_owner["ok"]) == (30, PER_MINUTE)


async def test_a_key_without_a_limit_of_its_own_counts_for_its_owner_only(two: Bus) -> None:
    owner = new_id()

    both = await at_once(two, key(owner), 15) + await at_once(two, key(owner, models=("echo",), counts_alone=True), 15)

    assert both["ok"] == PER_MINUTE


async def test_at_concurrency_64_no_request_passes_a_budget(two: Bus, server: Upstream) -> None:
    usage = {"prompt_tokens": BOUND - 100, "completion_tokens": 100}
    server.chat = json_reply({**OPENAI_ANSWER, "usage": usage})
    await remove_built_in(two)
    await register(two, server, max_tokens=100)
    who = key(rpm=1000, counts_alone=True, tokens_per_day=10 * BOUND + 5)

    reasons = await at_once(two, who, 64)
    last = await ask(two, who)

    assert reasons == {"ok": 10, "token-budget-exhausted": 54}
    assert len(server.chats) == 10
    assert last[0] == "token-budget-exhausted"
    assert last[1] is not None
    assert 1 <= last[1] <= 24 * 60 * 60
    assert '"tokens";r=5;t=' in told()


async def test_what_the_agent_counted_is_used_and_the_rest_is_free_again(edge: Bus, server: Upstream) -> None:
    await register(edge, server, max_tokens=100)
    who = key(tokens_per_day=BOUND + 12)  # an answer of this agent has 12

    reasons = [(await ask(edge, who))[0] for _ in range(3)]

    assert reasons == ["ok", "ok", "token-budget-exhausted"]
    assert '"tokens";r=106;t=' in told()


async def test_an_agent_that_does_not_count_is_counted_by_bytes(edge: Bus, server: Upstream) -> None:
    server.chat = json_reply({**OPENAI_ANSWER, "usage": None})
    await register(edge, server, max_tokens=100)

    await ask(edge, key(tokens_per_day=1000), message="Hello there")

    assert '"tokens";r=995;t=' in told()  # 11 bytes and 9 of "Good day.", 4 to a token


@pytest.mark.parametrize(
    ("chat", "left"),
    [
        (reply(b"", status="500 Internal Server Error"), 1000),
        (reply(b"", status="400 Bad Request"), 1000),
        (closes_mid_body, 1000 - BOUND),
        (reply(b"no answer of a model"), 1000 - BOUND),
    ],
)
async def test_a_failure_costs_nothing_unless_the_agent_may_have_worked(
    edge: Bus, server: Upstream, chat: object, left: int
) -> None:
    await register(edge, server, max_tokens=100)
    server.chat = chat  # type: ignore[assignment]  # a Reply

    reason, _ = await ask(edge, key(tokens_per_day=1000))

    assert reason == "agent-failed"
    assert f'"tokens";r={left};t=' in told()


async def test_a_key_reaches_the_agents_of_its_models_only(edge: Bus, server: Upstream) -> None:
    real = await register(edge, server)

    free = await ask(edge, key(models=("echo",)))
    by_model = await ask(edge, key(models=("echo",)), model="m")
    by_agent = await ask(edge, key(models=("echo",)), agentId=real.id)
    allowed = await ask(edge, key(models=("echo", "m")), agentId=real.id)
    nobody = await ask(edge, key(models=("another",)))

    assert [free[0], by_model[0], by_agent[0], allowed[0], nobody[0]] == [
        "ok",
        "model-not-allowed",
        "model-not-allowed",
        "ok",
        "no-healthy-agents",
    ]
    assert len(server.chats) == 1
