import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.audit import AuditTrail, AuditUnavailable, Change, Resource, open_trail
from shared.bus import CallContext, call_context
from shared.contracts.audit import Action, Outcome
from shared.errors import Forbidden, PlatformError
from shared.principal import Caller, Origin, Principal, PrincipalKind, Role
from tests.unit.shared.audit.logs import FakeLog
from tests.waiting import until

AGENT = Resource("agent", "a1")
ANN = Principal(kind=PrincipalKind.SESSION, user_id="ann", email="ann@example.org", role=Role.ADMIN, credential_id="s1")


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
async def trail(log: FakeLog, tmp_path: Path) -> AsyncIterator[AuditTrail]:
    async with open_trail(log.bus, tmp_path) as opened:
        yield opened


def call(**origin: str) -> CallContext:
    return call_context(seconds=5, caller=Caller(principal=ANN, origin=Origin(**origin)))


def recorded(log: FakeLog, *fields: str) -> list[Any]:
    return [tuple(entry[field] for field in fields) for entry in log.entries]


async def test_a_change_is_an_intent_before_and_an_outcome_after(trail: AuditTrail, log: FakeLog) -> None:
    context = call(ip_address="192.0.2.7", user_agent="curl")
    async with trail.change(Action.AGENT_CREATED, AGENT, context, {"name": "x"}) as change:
        before = recorded(log, "phase", "outcome", "details")
        change.details["weight"] = 3

    assert before == [("intent", None, {"name": "x"})]
    assert recorded(log, "phase", "outcome", "details")[1:] == [("outcome", "success", {"name": "x", "weight": 3})]
    assert {entry["id"] for entry in log.entries} == {context.event_id}
    assert log.entries[0]["concludeBy"] == context.deadline
    assert recorded(log, "userId", "userEmail", "ipAddress", "userAgent", "resourceType", "resourceId")[1] == (
        "ann",
        "ann@example.org",
        "192.0.2.7",
        "curl",
        "agent",
        "a1",
    )


@pytest.mark.asvs("2.3.3", "16.5.3")
async def test_without_a_receipt_for_the_intent_nothing_is_done(
    trail: AuditTrail, log: FakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.audit.appender.RECEIPT_WITHIN_S", 0.1)
    log.away = True
    done = False

    with pytest.raises(AuditUnavailable):
        async with trail.change(Action.AGENT_CREATED, AGENT, call()):
            done = True

    assert not done


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (Forbidden("no"), "denied", "forbidden"),
        (PlatformError("no"), "failure", "internal"),
        (RuntimeError("secret"), "failure", "internal"),
        (asyncio.CancelledError(), "failure", "cancelled"),
    ],
)
async def test_a_failure_is_recorded_with_its_reason_and_raised(
    trail: AuditTrail, log: FakeLog, error: BaseException, outcome: str, reason: str
) -> None:
    with pytest.raises(type(error)):
        async with trail.change(Action.AGENT_CREATED, AGENT, call()):
            raise error

    assert recorded(log, "outcome", "details")[1:] == [(outcome, {"reason": reason})]


async def test_an_outcome_that_cannot_be_recorded_comes_later_by_the_outbox(
    trail: AuditTrail, log: FakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.audit.appender.RECEIPT_WITHIN_S", 0.1)
    async with trail.change(Action.AGENT_CREATED, AGENT, call()):
        log.away = True
    assert recorded(log, "phase") == [("intent",)]

    log.away = False
    await until(lambda: len(log.entries) == 2)

    assert recorded(log, "phase") == [("intent",), ("outcome",)]


async def test_an_outcome_that_the_log_refuses_is_set_aside_and_the_effect_stands(
    trail: AuditTrail, log: FakeLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change = Change(Action.AGENT_REQUEST, AGENT, who=ANN.model_copy(update={"user_id": "bad"}))

    await trail.conclude(change, call(), Outcome.SUCCESS)
    await until(lambda: any((tmp_path / "outbox" / "auth-1" / "refused").glob("*.json")))

    assert "audit_outcome_refused" in caplog.messages


async def test_an_outcome_without_an_intent_names_who_was_meant(trail: AuditTrail, log: FakeLog) -> None:
    change = Change(Action.AUTH_LOGIN, Resource("session", "s"), who=ANN)

    await trail.conclude(change, call_context(seconds=1), Outcome.SUCCESS)

    assert recorded(log, "phase", "outcome", "userId", "requestId")[0][:3] == ("outcome", "success", "ann")


async def test_a_caller_that_goes_away_leaves_its_outcome_recorded(trail: AuditTrail, log: FakeLog) -> None:
    async def work() -> None:
        async with trail.change(Action.AGENT_CREATED, AGENT, call()):
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])

    assert recorded(log, "phase", "outcome") == [("intent", None), ("outcome", "failure")]


async def test_a_caller_that_goes_away_again_and_again_leaves_its_outcome_recorded_once(
    trail: AuditTrail, log: FakeLog
) -> None:
    log.paused = True
    recording = asyncio.create_task(trail.conclude(Change(Action.AGENT_REQUEST, AGENT), call(), Outcome.SUCCESS))
    for _ in range(3):
        await asyncio.sleep(0.02)
        recording.cancel()
    await asyncio.wait([recording])
    log.paused = False
    await until(lambda: bool(log.entries))

    assert recording.cancelled()
    assert recorded(log, "phase", "outcome") == [("outcome", "success")]


async def test_a_defence_does_not_wait_for_the_log(trail: AuditTrail, log: FakeLog) -> None:
    log.paused = True
    async with asyncio.timeout(1):
        await trail.defend(Action.AUTH_LOGOUT, Resource("session", "s1"), call(), {"n": 1})
    log.paused = False

    await until(lambda: bool(log.entries))
    assert recorded(log, "action", "phase", "outcome", "details") == [("auth.logout", "outcome", "success", {"n": 1})]


async def test_what_strangers_choose_is_cut_to_what_the_log_takes(trail: AuditTrail, log: FakeLog) -> None:
    context = call(ip_address="i" * 300, user_agent="ü" * 2000)

    await trail.conclude(Change(Action.AUTH_LOGIN_FAILED, Resource("t" * 300, "r" * 300)), context, Outcome.DENIED)

    (found,) = recorded(log, "ipAddress", "userAgent", "resourceType", "resourceId")
    assert [len(text) for text in found] == [256, 1024, 256, 256]


async def test_reachability_is_the_log_s(trail: AuditTrail, log: FakeLog) -> None:
    await trail.be_reachable()

    assert log.calls == [0]
