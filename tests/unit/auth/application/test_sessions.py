"""Logging in and out."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from auth.application.passwords import TooManyPasswords
from auth.application.sessions import Opened
from auth.domain.password import PasswordHash, ScryptCost
from auth.domain.session import InvalidSession, SessionId, open_session
from auth.domain.user import InvalidCredentials
from auth.infrastructure.scrypt_passwords import MAX_WAITING, WORKERS, Derive, scrypt
from shared.audit import AuditUnavailable
from shared.bus.notes import noted_headers
from shared.errors import Forbidden, InvalidFields
from shared.ids import new_id
from shared.limits import RateLimited
from shared.principal import PrincipalKind, Role
from tests.unit.auth.world import CHEAP, COUNTER, NOW, PASSWORD, Log, World, as_key, of, open_world


def noting(costs: list[ScryptCost]) -> Derive:
    """scrypt that notes the cost of each derivation."""

    def derive(password: bytes, salt: bytes, cost: ScryptCost) -> bytes:
        costs.append(cost)
        return scrypt(password, salt, cost)

    return derive


async def test_a_right_password_opens_a_session_for_eight_hours(world: World) -> None:
    ada = await world.add_user()

    opened = await world.log_in()

    identity = await world.identities.of_session(opened.token)
    assert opened.session.expires_at == NOW + timedelta(hours=8)
    assert (identity.user.id, identity.role, identity.kind) == (ada.id, Role.ADMIN, PrincipalKind.SESSION)
    assert identity.expires_at == opened.session.expires_at
    assert identity.user.last_login_at == opened.user.last_login_at == NOW


async def test_an_address_is_recognised_in_any_spelling(world: World) -> None:
    await world.add_user()

    opened = await world.log_in("  ADA@Example.org ")

    assert opened.user.email == "ada@example.org"


async def test_a_log_in_is_recorded_before_and_after(world: World) -> None:
    ada = await world.add_user()

    opened = await world.log_in()

    intent, outcome = world.log.entries
    assert world.log.told() == [("intent", "auth.login", None), ("outcome", "auth.login", "success")]
    assert (intent.user_id, intent.user_email) == ("", "ada@example.org")
    assert (outcome.user_id, outcome.user_email) == (ada.id, "ada@example.org")
    assert (outcome.ip_address, outcome.user_agent) == ("192.0.2.7", "Mozilla/5.0")
    assert (outcome.resource_type, outcome.resource_id) == ("user", ada.id)
    assert outcome.details == {"sessionId": opened.session.id}


async def test_every_refusal_has_the_same_answer(world: World) -> None:
    await world.add_user()
    await world.disable(await world.add_user("disabled@example.org"))
    answers = []

    for email, password in (
        ("nobody@example.org", PASSWORD),
        ("ada@example.org", "wrong"),
        ("disabled@example.org", PASSWORD),
        ("disabled@example.org", "wrong"),
    ):
        with pytest.raises(InvalidCredentials) as refused:
            await world.log_in(email, password)
        answers.append((refused.value.code, refused.value.reason, refused.value.detail, refused.value.errors))

    assert set(answers) == {("unauthenticated", "invalid-credentials", "E-mail address or password is wrong.", ())}
    assert world.announced == []


async def test_every_refusal_costs_one_hash_of_the_same_cost(file: Path, log: Log) -> None:
    costs: list[ScryptCost] = []
    async with open_world(file, log, derive=noting(costs)) as world:
        await world.add_user()
        await world.disable(await world.add_user("disabled@example.org"))
        costs.clear()

        for email in ("nobody@example.org", "ada@example.org", "disabled@example.org"):
            with pytest.raises(InvalidCredentials):
                await world.log_in(email, "wrong")

    assert costs == [CHEAP] * 3


@pytest.mark.asvs("16.3.1")
async def test_a_refusal_is_recorded_with_its_cause_and_the_address_that_was_tried(world: World) -> None:
    with pytest.raises(InvalidCredentials):
        await world.log_in("Nobody@Example.org")

    outcome = world.log.entries[-1]
    assert world.log.told() == [("intent", "auth.login", None), ("outcome", "auth.login_failed", "denied")]
    assert (outcome.user_id, outcome.user_email, outcome.resource_id) == ("", "nobody@example.org", "")
    assert outcome.details == {"cause": "unknown-user", "reason": "invalid-credentials"}


async def test_a_very_long_address_is_recorded_as_far_as_it_goes(world: World) -> None:
    with pytest.raises(InvalidCredentials):
        await world.log_in("\ufdfa" * 300)  # NFKC makes 18 characters of each

    assert len(world.log.entries[-1].user_email) == 1024


@pytest.mark.parametrize("password", ["", "x" * 1025, "é" * 513])
async def test_a_password_of_impossible_size_is_not_even_tried(world: World, password: str) -> None:
    with pytest.raises(InvalidFields):
        await world.log_in(password=password)

    assert world.log.entries == []


async def test_no_password_or_token_is_in_any_entry_or_repr(world: World) -> None:
    await world.add_user()
    opened = await world.log_in()
    with pytest.raises(InvalidCredentials):
        await world.log_in(password="not the password")

    shown = repr(world.log.entries) + repr(opened)

    assert PASSWORD not in shown
    assert "not the password" not in shown
    assert opened.token not in shown
    assert "scrypt" not in shown


@pytest.mark.asvs("16.5.3")
async def test_without_a_receipt_nobody_is_logged_in(world: World) -> None:
    await world.add_user()
    before = await world.versions.read()
    world.log.is_down = True

    with pytest.raises(AuditUnavailable):
        await world.log_in()

    assert await world.versions.read() == before
    assert world.announced == []


async def test_a_log_in_raises_the_version_and_names_the_user(world: World) -> None:
    ada = await world.add_user()
    before = await world.versions.read()

    await world.log_in()

    assert world.announced == [(before + 1, ada.id)]
    assert await world.versions.read() == before + 1


async def test_a_hash_of_another_cost_is_replaced_at_the_next_log_in(file: Path, log: Log) -> None:
    async with open_world(file, log) as older:
        await older.add_user()
    async with open_world(file, log, cost=ScryptCost(n=16, r=1, p=5)) as newer:
        await newer.log_in()
        user = await newer.users.with_email("ada@example.org")
        assert user is not None
        opened_again = await newer.log_in()

    assert PasswordHash.parse(user.password_hash).cost.p == 5
    assert user.password_version == 0
    assert opened_again.user.password_hash == user.password_hash


async def test_two_log_ins_that_rehash_at_once_both_succeed(file: Path, log: Log) -> None:
    cost = ScryptCost(n=16, r=1, p=5)
    async with open_world(file, log) as older:
        await older.add_user()
    async with open_world(file, log, cost=cost) as one, open_world(file, log, cost=cost) as other:
        await asyncio.gather(*(replica.log_in() for replica in (one, other) for _ in range(4)))
        await one.log_in()


async def test_who_is_disabled_or_gets_a_new_password_while_it_is_hashed_is_refused(file: Path, log: Log) -> None:
    async with open_world(file, log) as world:
        ada = await world.add_user()
        for change in ({"disabled": True}, {"disabled": False, "password_version": 1}):
            await world.set_user(ada, **change)
            session = open_session(SessionId(new_id()), ada.id, now=NOW, ip_address="", user_agent="")

            with pytest.raises(InvalidCredentials):
                await world.sessions_store.open(session, ada, None, COUNTER)


async def test_when_too_many_wait_the_next_is_refused_before_anything_is_recorded(file: Path, log: Log) -> None:
    async with open_world(file, log, is_limited=False) as world:
        await world.add_user()

        results = await asyncio.gather(*(world.log_in() for _ in range(30)), return_exceptions=True)

    refused = [result for result in results if isinstance(result, TooManyPasswords)]
    places = WORKERS + MAX_WAITING
    assert len(refused) == 30 - places
    assert sum(isinstance(result, Opened) for result in results) == places
    assert len(log.entries) == 2 * places


@pytest.mark.asvs("7.4.1")
async def test_logging_out_ends_the_session_at_once(world: World) -> None:
    ada = await world.add_user()
    opened = await world.log_in()

    await world.sessions.log_out(of(opened))

    with pytest.raises(InvalidSession):
        await world.identities.of_session(opened.token)
    assert world.announced[-1] == (await world.versions.read(), ada.id)


async def test_logging_out_does_not_wait_for_the_audit_log(world: World) -> None:
    await world.add_user()
    opened = await world.log_in()
    world.log.is_down = True

    await world.sessions.log_out(of(opened))

    with pytest.raises(InvalidSession):
        await world.identities.of_session(opened.token)
    kept = [file.read_text() for file in world.outbox.glob("*.json")]
    assert len(kept) == 1
    assert '"action":"auth.logout"' in kept[0]
    assert opened.session.id in kept[0]


async def test_logging_out_twice_is_recorded_once(world: World) -> None:
    await world.add_user()
    opened = await world.log_in()

    await world.sessions.log_out(of(opened))
    number = await world.versions.read()
    await world.sessions.log_out(of(opened))

    assert await world.versions.read() == number
    assert len(list(world.outbox.glob("*.json"))) == 1


async def test_logging_out_leaves_the_other_sessions_alone(world: World) -> None:
    await world.add_user()
    one, other = await world.log_in(), await world.log_in()

    await world.sessions.log_out(of(one))

    assert (await world.identities.of_session(other.token)).credential_id == other.session.id


async def test_a_key_cannot_log_out(world: World) -> None:
    await world.add_user()

    with pytest.raises(Forbidden):
        await world.sessions.log_out(as_key(await world.signed_in()))


async def test_who_was_refused_takes_no_place_before_they_are_counted(file: Path, log: Log) -> None:
    hashes: list[ScryptCost] = []
    async with open_world(file, log, derive=noting(hashes)) as world:
        await world.add_user()
        hashed = []
        for _ in range(14):
            hashes.clear()
            with pytest.raises((InvalidCredentials, RateLimited)):
                await world.log_in(password="wrong")
            hashed.append(len(hashes))

    # Ten free ones, one that is counted beside its hash and refused, and from then on none.
    assert hashed == [1] * 11 + [0] * 3
    assert len(log.entries) == 2 * 10


async def test_while_somebody_hashes_the_others_are_counted_first(file: Path, log: Log) -> None:
    hashes: list[ScryptCost] = []
    async with open_world(file, log, derive=noting(hashes)) as world:
        await world.add_user()
        for _ in range(10):
            with pytest.raises(InvalidCredentials):
                await world.log_in(password="wrong")
        hashes.clear()

        with world.hashing.place(), pytest.raises(RateLimited):
            await world.log_in()

    assert hashes == []


async def test_what_is_forgiven_is_forgiven_with_the_session(world: World) -> None:
    await world.add_user()
    for _ in range(9):
        with pytest.raises(InvalidCredentials):
            await world.log_in(password="wrong")

    await world.log_in()

    said = noted_headers()
    assert said is not None
    assert '"password";r=10;t=600' in said["RateLimit"]
    for _ in range(10):
        with pytest.raises(InvalidCredentials):
            await world.log_in(password="wrong")
