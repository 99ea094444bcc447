"""Idempotency keys in a real SQLite database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.application.idempotency import Record
from orchestrator.application.leases import LEASE
from orchestrator.domain.idempotency import KEEP, Answer, Failure, KeyedRequest, TooManyKeys
from orchestrator.infrastructure import sql_idempotency
from orchestrator.infrastructure.sql_idempotency import SqlIdempotency
from shared.clean_up import clean_up
from shared.database import Database
from shared.errors import ErrorCode, FieldError

KEY = bytes(range(32))
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SECOND = timedelta(seconds=1)
REQUEST = KeyedRequest("u-1", "c-1", "hash of key", "hash of body")
FAILURE = Failure(ErrorCode.BAD_GATEWAY, "agent-failed", "No ü.", (FieldError("a.0", "b"),), 7, "a-1")


@pytest.fixture
def store(database: Database) -> SqlIdempotency:
    return SqlIdempotency(database, KEY)


async def test_a_key_is_claimed_once(store: SqlIdempotency) -> None:
    first = await store.claim(REQUEST, "h-1", now=NOW)

    second = await store.claim(REQUEST, "h-2", now=NOW)
    with_another_body = await store.claim(replace(REQUEST, fingerprint="other"), "h-3", now=NOW)

    assert first is None
    assert second == with_another_body == Record("hash of body", NOW + LEASE, None)


@pytest.mark.parametrize(
    "other", [replace(REQUEST, user_id="u-2"), replace(REQUEST, credential_id="c-2"), replace(REQUEST, key_hash="x")]
)
async def test_other_peoples_keys_are_other_keys(store: SqlIdempotency, other: KeyedRequest) -> None:
    await store.claim(REQUEST, "h-1", now=NOW)

    assert await store.find(other, now=NOW) is None
    assert await store.claim(other, "h-2", now=NOW) is None


@pytest.mark.parametrize("outcome", [Answer(b'{"a": "\xc3\xbc"}', "a-1"), Answer(b""), FAILURE])
async def test_what_came_of_it_is_there_for_a_day(store: SqlIdempotency, outcome: Answer | Failure) -> None:
    await store.claim(REQUEST, "h-1", now=NOW)
    await store.conclude(REQUEST, "h-1", outcome, now=NOW + SECOND)

    found = await store.claim(REQUEST, "h-2", now=NOW + KEEP)
    gone = await store.claim(REQUEST, "h-3", now=NOW + SECOND + KEEP)

    assert found is not None
    assert found.outcome == outcome
    assert gone is None


async def test_who_asks_for_something_else_is_told_nothing_of_what_came(store: SqlIdempotency) -> None:
    await store.claim(REQUEST, "h-1", now=NOW)
    await store.conclude(REQUEST, "h-1", Answer(b"{}"), now=NOW)

    found = await store.find(replace(REQUEST, fingerprint="other"), now=NOW)

    assert found is not None
    assert (found.fingerprint, found.outcome) == ("hash of body", None)


async def test_what_came_first_stays_and_only_the_holder_says_it(store: SqlIdempotency) -> None:
    await store.claim(REQUEST, "h-1", now=NOW)

    await store.conclude(REQUEST, "h-2", FAILURE, now=NOW)
    await store.release(REQUEST, "h-2")
    await store.conclude(REQUEST, "h-1", Answer(b"1"), now=NOW)
    await store.conclude(REQUEST, "h-1", FAILURE, now=NOW)
    await store.release(REQUEST, "h-1")

    found = await store.find(REQUEST, now=NOW)
    assert found is not None
    assert found.outcome == Answer(b"1")


async def test_a_released_key_is_free(store: SqlIdempotency) -> None:
    await store.claim(REQUEST, "h-1", now=NOW)

    await store.release(REQUEST, "h-1")

    assert await store.find(REQUEST, now=NOW) is None
    assert await store.claim(REQUEST, "h-2", now=NOW) is None


async def test_claims_of_a_replica_are_renewed_together(store: SqlIdempotency) -> None:
    requests = [replace(REQUEST, key_hash=str(number)) for number in range(3)]
    for number, request in enumerate(requests):
        await store.claim(request, f"h-{number}", now=NOW)

    await store.renew(["h-0", "h-1"], now=NOW + SECOND)

    found = [await store.find(request, now=NOW) for request in requests]
    assert [record and record.leased_until - LEASE - NOW for record in found] == [SECOND, SECOND, timedelta()]


async def test_a_user_has_a_bounded_number_of_keys_with_all_credentials_together(
    store: SqlIdempotency, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_idempotency, "MAX_KEYS_OF_USER", 2)
    for number in range(2):
        request = replace(REQUEST, credential_id=str(number), key_hash=str(number))
        await store.claim(request, "h", now=NOW + number * SECOND)

    with pytest.raises(TooManyKeys) as refused:
        await store.claim(REQUEST, "h-2", now=NOW + KEEP - SECOND)

    assert (refused.value.code, refused.value.retry_after) == (ErrorCode.RATE_LIMITED, 1)
    assert await store.claim(replace(REQUEST, user_id="u-2"), "h-3", now=NOW) is None
    assert await store.claim(REQUEST, "h-2", now=NOW + KEEP) is None


async def test_keys_that_have_expired_are_removed(store: SqlIdempotency, database: Database) -> None:
    for number in range(3):
        await store.claim(replace(REQUEST, key_hash=str(number)), "h", now=NOW + number * SECOND)

    await clean_up(store, now=NOW + SECOND + KEEP)

    async with database.reading() as connection:
        left = (await connection.execute(sql_idempotency.IDEMPOTENCY_KEYS.select())).all()
    assert [row.key_hash for row in left] == ["2"]


async def test_outcomes_are_sealed_and_with_another_key_they_are_lost(
    store: SqlIdempotency, database: Database, tmp_path: Path
) -> None:
    await store.claim(REQUEST, "h-1", now=NOW)
    await store.conclude(REQUEST, "h-1", Answer(b'"a secret"'), now=NOW)

    found = await SqlIdempotency(database, bytes(32)).find(REQUEST, now=NOW)

    assert found is not None
    assert found.outcome is None
    assert found.leased_until < NOW
    assert not any(b"a secret" in file.read_bytes() for file in tmp_path.iterdir())
