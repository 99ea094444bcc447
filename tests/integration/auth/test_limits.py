"""Limits on guessing over the bus, in two replicas that share their counters."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from shared.bus import Bus, CallContext
from shared.bus.notes import forget_notes, noted_headers
from shared.contracts import auth
from shared.errors import PlatformError
from tests.integration.auth.installation import (
    ADMIN,
    PASSWORD,
    AuditLog,
    Installation,
    context,
    signed_in,
    two_replicas,
    whole,
)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two replicas with the limits as they are when nobody sets them."""
    yield from two_replicas(tmp_path_factory.mktemp("limited"), LOGIN_PER_MINUTE="")


async def _answer(call: object) -> tuple[str, int | None, str | None]:
    """The reason, how long to wait, and what the headers say of limits."""
    forget_notes()
    reason, wait = "ok", None
    try:
        await call  # type: ignore[misc]  # an awaitable
    except PlatformError as failure:
        reason, wait = failure.reason, failure.retry_after
    return reason, wait, (noted_headers() or {}).get("RateLimit")


def _log_in(edge: Bus, caller: CallContext, email: str = ADMIN, password: str = "wrong") -> object:
    return edge.call(auth.LOG_IN, auth.LogIn(email=email, password=SecretStr(password)), caller)


@pytest.mark.asvs("6.3.1")
async def test_fifty_log_ins_at_once_from_one_network_are_ten(edge: Bus, audit: AuditLog) -> None:
    callers = [(f"somebody-{number}@example.org", f"2001:db8:0:1::{number:x}") for number in range(50)]

    answers = await asyncio.gather(
        *(_answer(_log_in(edge, context(ip_address=address), email)) for email, address in callers)
    )

    reasons = Counter(reason for reason, _, _ in answers)
    assert reasons["invalid-credentials"] <= 10
    assert reasons["invalid-credentials"] + reasons["overloaded"] + reasons["rate-limited"] == 50
    assert reasons["rate-limited"] >= 1
    assert {wait for reason, wait, _ in answers if reason == "rate-limited"} <= {59, 60}
    refused = [headers for reason, _, headers in answers if reason == "rate-limited"]
    assert all(headers is not None and headers.startswith('"login";r=0;t=') for headers in refused)
    assert len([entry for entry in audit.entries if entry.phase == "intent"]) == reasons["invalid-credentials"]


@pytest.mark.asvs("6.3.1")
async def test_fifty_guesses_at_once_with_a_session_are_ten(edge: Bus, audit: AuditLog) -> None:
    _, principal = await signed_in(edge)
    caller = [context(principal, ip_address="203.0.113.9") for _ in range(50)]
    wish = auth.ChangePassword(current_password=SecretStr("wrong"), new_password=SecretStr("some other password"))

    answers = await asyncio.gather(*(_answer(edge.call(auth.CHANGE_PASSWORD, wish, each)) for each in caller))
    elsewhere = await _answer(_log_in(edge, context(ip_address="203.0.113.10"), password=PASSWORD))

    reasons = Counter(reason for reason, _, _ in answers)
    assert reasons["wrong-password"] + reasons["overloaded"] == 10
    assert reasons["rate-limited"] == 40
    assert elsewhere[0] == "ok"


@pytest.mark.asvs("6.3.1")
async def test_unknown_and_known_accounts_are_limited_alike(edge: Bus, audit: AuditLog) -> None:
    known = [await _answer(_log_in(edge, context(ip_address="192.0.2.50"))) for _ in range(12)]
    unknown = [await _answer(_log_in(edge, context(ip_address="192.0.2.51"), "nobody@example.org")) for _ in range(12)]

    assert [reason for reason, _, _ in known] == ["invalid-credentials"] * 10 + ["rate-limited"] * 2
    assert [_without_time(answer) for answer in known] == [_without_time(answer) for answer in unknown]


async def test_right_log_ins_make_no_room_for_guesses_at_others(edge: Bus, audit: AuditLog) -> None:
    caller = context(ip_address="192.0.2.60")

    reasons = [(await _answer(_log_in(edge, caller, password=PASSWORD)))[0] for _ in range(11)]

    assert reasons == ["ok"] * 10 + ["rate-limited"]


async def test_a_block_outlives_the_replicas(edge: Bus, audit: AuditLog, installation: Installation) -> None:
    caller = context(ip_address="192.0.2.70")
    for _ in range(11):
        await _answer(_log_in(edge, caller))
    third = installation.start("auth-3")
    await whole(edge, 3)

    answers = [await _answer(_log_in(edge, caller, password=PASSWORD)) for _ in range(12)]
    third.terminate()
    await asyncio.to_thread(third.wait, 20)

    assert {reason for reason, _, _ in answers} == {"rate-limited"}
    assert all(wait is not None and 1 <= wait <= 60 for _, wait, _ in answers)


def _without_time(answer: tuple[str, int | None, str | None]) -> tuple[str, list[str]]:
    reason, _, limits = answer
    return reason, [item.rpartition(";t=")[0] for item in (limits or "").split(", ")]
