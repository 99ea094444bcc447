"""API keys: made, listed, revoked, and dying with their owners."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from auth.domain.key import InvalidApiKey, KeyNotFound, TooManyKeys, fingerprint_of
from auth.domain.session import InvalidSession
from auth.domain.user import UserNotFound
from shared.audit import AuditUnavailable
from shared.bus import CallContext
from shared.errors import Forbidden, InvalidFields
from shared.ids import new_id
from shared.principal import Allowance, PrincipalKind, Role
from tests.unit.auth.world import NOW, Log, World, again, as_key, local_operator, open_world


@pytest.fixture
async def ada(world: World) -> CallContext:
    await world.add_user(role=Role.OPERATOR)
    return await world.signed_in()


async def test_a_key_stands_for_its_owner_with_its_own_role(world: World, ada: CallContext) -> None:
    made = await world.keys.create("ci", Role.VIEWER, None, ada)

    identity = await world.identities.of_key(made.text)

    assert identity.user.id == ada.principal.user_id
    assert (identity.kind, identity.role, identity.credential_id) == (PrincipalKind.KEY, Role.VIEWER, made.key.id)
    assert identity.expires_at is None
    assert identity.principal.email == "ada@example.org"


LIMITS = Allowance(rpm=60, tokens_per_day=10**12, models=("qwen2.5:7b", "ペ"))


async def test_a_key_has_the_limits_it_was_made_with_wherever_it_is_seen(world: World, ada: CallContext) -> None:
    made = await world.keys.create("ci", Role.VIEWER, None, ada, wish=LIMITS)

    identity = await world.identities.of_key(made.text)
    listed = await world.keys.list(limit=50, cursor=None, context=ada)

    assert made.key.allowance == identity.principal.allowance == LIMITS
    assert [key.allowance for key in listed.keys] == [LIMITS]
    details = world.log.entries[-1].details
    assert (details["rpm"], details["tokensPerDay"], details["models"]) == (60, 10**12, ["qwen2.5:7b", "ペ"])


@pytest.mark.parametrize("wish", [Allowance(rpm=1), Allowance(tokens_per_day=1), Allowance(models=("m",))])
async def test_each_limit_stands_for_itself(world: World, ada: CallContext, wish: Allowance) -> None:
    made = await world.keys.create("ci", Role.VIEWER, None, ada, wish=wish)

    assert (await world.identities.of_key(made.text)).principal.allowance == wish


async def test_a_key_without_limits_and_a_session_have_no_allowance(world: World, ada: CallContext) -> None:
    made = await world.keys.create("ci", Role.VIEWER, None, ada)
    opened = await world.log_in()

    assert (await world.identities.of_key(made.text)).principal.allowance is None
    assert (await world.identities.of_session(opened.token)).principal.allowance is None


async def test_a_key_above_the_default_is_made_by_nobody_but_an_admin(world: World, ada: CallContext) -> None:
    world.log.entries.clear()

    with pytest.raises(Forbidden, match="default of 60"):
        await world.keys.create("ci", Role.VIEWER, None, ada, wish=Allowance(rpm=61))

    assert world.log.entries == []
    assert (await world.keys.list(limit=50, cursor=None, context=ada)).keys == []


async def test_a_key_above_the_default_counts_alone_also_when_its_owner_is_no_admin_any_more(world: World) -> None:
    admin = await world.add_user(role=Role.ADMIN)
    made = await world.keys.create("ci", Role.VIEWER, None, await world.signed_in(), wish=Allowance(rpm=61))

    await world.set_user(admin, role="operator")

    allowance = (await world.identities.of_key(made.text)).principal.allowance
    assert allowance == Allowance(rpm=61, counts_alone=True)


async def test_a_key_is_never_above_what_its_owner_is_now(world: World, ada: CallContext) -> None:
    made = await world.keys.create("ci", Role.OPERATOR, None, ada)
    owner = (await world.identities.of_key(made.text)).user

    await world.set_user(owner, role="viewer")

    assert (await world.identities.of_key(made.text)).role is Role.VIEWER


async def test_a_new_key_is_recorded_without_itself_and_announced(world: World, ada: CallContext) -> None:
    world.log.entries.clear()

    made = await world.keys.create("ci", Role.VIEWER, NOW + timedelta(days=1), ada)

    assert world.log.told() == [("intent", "key.created", None), ("outcome", "key.created", "success")]
    entry = world.log.entries[-1]
    assert (entry.resource_type, entry.resource_id) == ("key", made.key.id)
    assert entry.details == {
        "name": "ci",
        "role": "viewer",
        "expiresAt": "2026-11-23T10:00:00.000Z",
        "rpm": None,
        "tokensPerDay": None,
        "models": None,
    }
    shown = repr(world.log.entries) + repr(made)
    assert made.text not in shown
    assert fingerprint_of(made.text) not in shown
    assert world.announced[-1] == (await world.versions.read(), ada.principal.user_id)


async def test_only_a_fingerprint_of_a_key_is_kept(world: World, ada: CallContext, file: Path) -> None:
    made = await world.keys.create("ci", Role.VIEWER, None, ada)

    kept = b"".join(part.read_bytes() for part in file.parent.glob("auth.db*"))

    assert made.text.encode() not in kept
    assert fingerprint_of(made.text).encode() in kept


async def test_without_a_receipt_no_key_is_made(world: World, ada: CallContext) -> None:
    world.log.is_down = True

    with pytest.raises(AuditUnavailable):
        await world.keys.create("ci", Role.VIEWER, None, ada)

    assert (await world.keys.list(limit=50, cursor=None, context=ada)).keys == []


@pytest.mark.parametrize("made_up", ["", "peanut_", "peanut_" + "0" * 49, "Bearer x", "é" * 56])
async def test_a_malformed_key_is_refused_without_a_look_into_the_database(world: World, made_up: str) -> None:
    async with world.database.writing() as connection:
        from sqlalchemy import text

        await connection.execute(text("DROP TABLE api_keys"))

    with pytest.raises(InvalidApiKey):
        await world.identities.of_key(made_up)


async def test_unknown_expired_revoked_and_orphaned_keys_are_refused_alike(world: World, ada: CallContext) -> None:
    from auth.domain.key import new_key_text

    expiring = await world.keys.create("a", Role.VIEWER, NOW + timedelta(hours=1), ada)
    revoked = await world.keys.create("b", Role.VIEWER, None, again(ada))
    owned = await world.keys.create("c", Role.VIEWER, None, again(ada))
    await world.keys.revoke(revoked.key.id, ada)
    await world.disable((await world.identities.of_key(owned.text)).user)
    world.now = NOW + timedelta(hours=1)
    answers = set()

    for text in (new_key_text(b"\xff" * 32), expiring.text, revoked.text, owned.text, "peanut_x"):
        with pytest.raises(InvalidApiKey) as refused:
            await world.identities.of_key(text)
        answers.add((refused.value.code, refused.value.reason, refused.value.detail))

    assert answers == {("unauthenticated", "invalid-api-key", "The API key is not valid.")}


async def test_a_key_opens_until_its_last_moment(world: World, ada: CallContext) -> None:
    made = await world.keys.create("a", Role.VIEWER, NOW + timedelta(hours=1, microseconds=1500), ada)
    world.now = NOW + timedelta(hours=1)

    identity = await world.identities.of_key(made.text)

    assert identity.expires_at == made.key.expires_at == NOW + timedelta(hours=1, milliseconds=2)


async def test_a_key_that_would_be_dead_at_once_is_not_made(world: World, ada: CallContext) -> None:
    with pytest.raises(InvalidFields):
        await world.keys.create("a", Role.VIEWER, NOW, ada)


async def test_a_key_above_its_makers_role_is_not_made(world: World, ada: CallContext) -> None:
    with pytest.raises(Forbidden, match="above"):
        await world.keys.create("a", Role.ADMIN, None, ada)


@pytest.mark.asvs("8.2.1")
async def test_a_viewer_makes_lists_and_revokes_no_keys(world: World) -> None:
    await world.add_user(role=Role.VIEWER)
    caller = await world.signed_in()

    for attempt in (
        world.keys.create("a", Role.VIEWER, None, caller),
        world.keys.list(limit=1, cursor=None, context=caller),
        world.keys.revoke(new_id(), caller),
    ):
        with pytest.raises(Forbidden):
            await attempt


async def test_a_key_makes_no_keys(world: World, ada: CallContext) -> None:
    with pytest.raises(Forbidden):
        await world.keys.create("a", Role.VIEWER, None, as_key(ada))


async def test_a_session_that_has_ended_makes_no_keys(world: World, ada: CallContext) -> None:
    await world.sessions.log_out(ada)

    with pytest.raises(InvalidSession):
        await world.keys.create("a", Role.VIEWER, None, again(ada))


async def test_keys_are_listed_page_by_page_newest_last(world: World, ada: CallContext) -> None:
    for name in "abcde":
        await world.keys.create(name, Role.VIEWER, None, again(ada))
    await world.add_user("grace@example.org")
    await world.keys.create("hers", Role.VIEWER, None, await world.signed_in("grace@example.org"))
    pages, cursor = [], None

    for _ in range(3):
        page = await world.keys.list(limit=2, cursor=cursor, context=ada)
        pages.append("".join(key.name for key in page.keys))
        cursor = page.next_cursor

    assert pages == ["ab", "cd", "e"]
    assert cursor is None


async def test_a_full_last_page_has_no_cursor(world: World, ada: CallContext) -> None:
    for name in "ab":
        await world.keys.create(name, Role.VIEWER, None, again(ada))

    page = await world.keys.list(limit=2, cursor=None, context=ada)

    assert page.next_cursor is None


async def test_a_made_up_cursor_is_refused(world: World, ada: CallContext) -> None:
    with pytest.raises(InvalidFields):
        await world.keys.list(limit=2, cursor="AAAA", context=ada)


@pytest.mark.asvs("2.3.2")
async def test_nobody_has_more_than_a_hundred_live_keys(file: Path, log: Log) -> None:
    async with open_world(file, log) as one, open_world(file, log) as other:
        await one.add_user()
        caller = await one.signed_in()
        await one.keys.create("short-lived", Role.VIEWER, NOW + timedelta(hours=1), again(caller))

        results = await asyncio.gather(
            *(
                replica.keys.create(f"{number}", Role.VIEWER, None, again(caller))
                for number in range(60)
                for replica in (one, other)
            ),
            return_exceptions=True,
        )

        assert sum(isinstance(result, TooManyKeys) for result in results) == 21
        one.now = NOW + timedelta(hours=1)
        await one.keys.create("instead", Role.VIEWER, None, again(caller))


async def test_a_revoked_key_opens_nothing_and_the_version_tells(world: World, ada: CallContext) -> None:
    made = await world.keys.create("ci", Role.VIEWER, None, ada)
    before = await world.versions.read()

    await world.keys.revoke(made.key.id, ada)

    with pytest.raises(InvalidApiKey):
        await world.identities.of_key(made.text)
    assert world.announced[-1] == (before + 1, ada.principal.user_id)


async def test_revoking_does_not_wait_for_the_audit_log(world: World, ada: CallContext) -> None:
    made = await world.keys.create("ci", Role.VIEWER, None, ada)
    world.log.is_down = True

    await world.keys.revoke(made.key.id, again(ada))

    kept = "".join(file.read_text() for file in world.outbox.glob("*.json"))
    assert '"action":"key.revoked"' in kept
    assert made.key.id in kept
    assert made.text not in kept


async def test_revoking_twice_is_not_found(world: World, ada: CallContext) -> None:
    made = await world.keys.create("ci", Role.VIEWER, None, ada)
    results = await asyncio.gather(
        *(world.keys.revoke(made.key.id, again(ada)) for _ in range(3)), return_exceptions=True
    )

    assert sorted(type(result).__name__ for result in results) == ["KeyNotFound", "KeyNotFound", "NoneType"]
    assert len(list(world.outbox.glob("*.json"))) == 1


@pytest.mark.parametrize("id", ["", "x", "' OR 1=1 --", pytest.param(new_id(), id="new")])
async def test_revoking_what_is_not_there_is_not_found(world: World, ada: CallContext, id: str) -> None:
    with pytest.raises(KeyNotFound) as refused:
        await world.keys.revoke(id, ada)

    assert (refused.value.code, refused.value.reason) == ("not_found", "key-not-found")


@pytest.mark.asvs("8.2.2")
async def test_a_key_of_somebody_else_is_not_found_except_by_an_admin(world: World, ada: CallContext) -> None:
    made = await world.keys.create("ci", Role.VIEWER, None, ada)
    await world.add_user("grace@example.org", Role.OPERATOR)
    await world.add_user("root@example.org", Role.ADMIN)

    with pytest.raises(KeyNotFound):
        await world.keys.revoke(made.key.id, await world.signed_in("grace@example.org"))
    await world.keys.revoke(made.key.id, await world.signed_in("root@example.org"))

    with pytest.raises(InvalidApiKey):
        await world.identities.of_key(made.text)
    assert world.announced[-1][1] == ada.principal.user_id


async def test_a_key_dies_with_its_owner(world: World, ada: CallContext) -> None:
    from auth.infrastructure.tables import users

    made = await world.keys.create("ci", Role.VIEWER, None, ada)
    async with world.database.writing() as connection:
        await connection.execute(users.delete())

    with pytest.raises(InvalidApiKey):
        await world.identities.of_key(made.text)


async def test_the_local_operator_makes_keys_for_others(world: World) -> None:
    ada = await world.add_user()

    made = await world.keys.issue(" Ada@example.org", "make key", Role.OPERATOR, local_operator())

    entry = world.log.entries[-1]
    assert (await world.identities.of_key(made.text)).user.id == ada.id
    assert (entry.user_id, entry.action, entry.outcome) == ("local-operator", "key.created", "success")
    assert entry.details["ownerId"] == ada.id
    assert entry.details["localUser"] == "ada"
    assert (await world.identities.of_key(made.text)).principal.allowance is None


async def test_nobody_else_makes_keys_for_others(world: World) -> None:
    await world.add_user()

    with pytest.raises(Forbidden):
        await world.keys.issue("ada@example.org", "x", Role.VIEWER, await world.signed_in())


async def test_a_key_for_nobody_is_not_made(world: World) -> None:
    await world.disable(await world.add_user())

    for email in ("nobody@example.org", "ada@example.org"):
        with pytest.raises(UserNotFound):
            await world.keys.issue(email, "x", Role.VIEWER, local_operator())


async def test_the_local_operator_makes_no_key_above_its_owner(world: World) -> None:
    await world.add_user(role=Role.VIEWER)

    with pytest.raises(Forbidden):
        await world.keys.issue("ada@example.org", "x", Role.ADMIN, local_operator())
