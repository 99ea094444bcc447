"""Users as admins manage them: the last admin, sessions that end, and what is recorded."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from auth.application.users import UserWish
from auth.domain.key import InvalidApiKey
from auth.domain.password import PUBLISHED_DEFAULT
from auth.domain.second_factor import TotpNotEnabled
from auth.domain.session import InvalidSession
from auth.domain.user import InvalidCredentials, User, UserNotFound
from auth.domain.user_change import EmailTaken, LastAdmin, UserChange, UserChangedMeanwhile
from auth.infrastructure.tables import api_keys, second_factors, sessions, users
from shared.audit import AuditUnavailable
from shared.bus import CallContext
from shared.errors import Forbidden, InvalidFields
from shared.ids import new_id
from shared.principal import PrincipalKind, Role
from tests.unit.auth.world import NOW, PASSWORD, Log, World, again, context, open_world

NEW_PASSWORD = "another perfectly good password"


@pytest.fixture
async def ada(world: World) -> CallContext:
    """The first admin, signed in."""
    await world.add_user()
    return await world.signed_in()


@pytest.fixture
async def grace(world: World, ada: CallContext) -> User:
    """Somebody else, who may run things."""
    return await world.add_user("grace@example.org", Role.OPERATOR)


async def _create(world: World, caller: CallContext, **wanted: Any) -> Any:
    fields: dict[str, Any] = {"email": "new@example.org", "name": "New", "role": Role.VIEWER}
    fields |= {"disabled": False, "password": None, "context": again(caller)} | wanted
    email, name, role = fields.pop("email"), fields.pop("name"), fields.pop("role")
    return await world.user_management.create(email, name, role, **fields)


async def _change(
    world: World,
    caller: CallContext,
    user_id: str,
    *,
    password: str | None = None,
    if_version: int | None = None,
    **wanted: Any,
) -> User:
    wish = UserWish(UserChange(**wanted), password)
    return await world.user_management.change(user_id, wish, if_version=if_version, context=again(caller))


async def _count(world: World, table: Any) -> int:
    async with world.database.reading() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def _admins(world: World) -> int:
    found = await world.managed_users.page(after="", limit=1000)
    return sum(user.role is Role.ADMIN and not user.is_disabled for user in found)


def _kept(world: World) -> str:
    return "".join(file.read_text() for file in world.outbox.glob("*.json"))


# Adding


@pytest.mark.asvs("6.4.1")
async def test_a_new_user_signs_in_with_the_password_that_was_made_and_has_to_change_it(
    world: World, ada: CallContext
) -> None:
    made = await _create(world, ada, email=" \uff2eew@Example.ORG ", role=Role.OPERATOR)

    opened = await world.log_in("new@example.org", made.password)
    assert (made.user.email, made.user.role, made.user.name) == ("new@example.org", Role.OPERATOR, "New")
    assert len(made.password) == 29
    assert made.password not in repr(made)
    assert opened.user.must_change_password


async def test_a_given_password_is_never_told_back_and_has_to_be_changed(world: World, ada: CallContext) -> None:
    made = await _create(world, ada, password=NEW_PASSWORD)

    assert made.password is None
    assert (await world.log_in("new@example.org", NEW_PASSWORD)).user.must_change_password


async def test_an_added_user_is_recorded_without_a_password_and_announced(world: World, ada: CallContext) -> None:
    world.log.entries.clear()

    made = await _create(world, ada, role=Role.ADMIN)

    entry = world.log.entries[-1]
    assert world.log.told() == [("intent", "user.created", None), ("outcome", "user.created", "success")]
    assert (entry.resource_type, entry.resource_id) == ("user", made.user.id)
    assert entry.details == {"role": "admin", "disabled": False}
    assert made.password not in repr(world.log.entries)
    assert world.announced[-1] == (await world.versions.read(), made.user.id)


async def test_without_a_receipt_nobody_is_added(world: World, ada: CallContext) -> None:
    world.log.is_down = True

    with pytest.raises(AuditUnavailable):
        await _create(world, ada)

    assert await _count(world, users) == 1


@pytest.mark.parametrize(
    "email", ["ADA@example.org", " ada@example.org", "\uff41\uff44\uff41@example.org", "Ada@EXAMPLE.org"]
)
async def test_an_email_address_names_one_person_however_it_is_written(
    world: World, ada: CallContext, email: str
) -> None:
    with pytest.raises(EmailTaken) as refused:
        await _create(world, ada, email=email)

    assert (refused.value.code, refused.value.reason) == ("conflict", "email-taken")
    assert world.log.told()[-1] == ("outcome", "user.created", "failure")


async def test_of_fifty_users_with_one_address_one_is_added(file: Path, log: Log) -> None:
    async with open_world(file, log) as one, open_world(file, log) as other:
        await one.add_user()
        ada = await one.signed_in()

        results = await asyncio.gather(
            *(_create(replica, ada, password=NEW_PASSWORD) for _ in range(8) for replica in (one, other)),
            return_exceptions=True,
        )

        assert sum(not isinstance(result, BaseException) for result in results) == 1
        assert sum(isinstance(result, EmailTaken) for result in results) == len(results) - 1


@pytest.mark.parametrize(
    "email",
    [
        "", "x", "@", "a@", "@b", "a@b@c", "a b@c", "a@b c", "a@.b", "a@b.", "a@b..c", "a\nb@c", "a\x00@b", "a\u200b@b",
        "<a@b>", '"a"@b', "a@[b]", "a" * 65 + "@b", "a@" + "b" * 64, "a@" + "b." * 140 + "c", "a,b@c", "a\u202e@b",
    ],
)  # fmt: skip
async def test_what_no_mail_could_reach_is_no_address(world: World, ada: CallContext, email: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        await _create(world, ada, email=email)

    assert [error.path for error in refused.value.errors] == ["email"]


@pytest.mark.parametrize("email", ["a@b", "admin@peanut.local", "müller+x@bücher.example", "o'neil@a-b.example"])
async def test_what_mail_could_reach_is_an_address(world: World, ada: CallContext, email: str) -> None:
    assert (await _create(world, ada, email=email)).user.email == email


@pytest.mark.parametrize(
    "password",
    ["", "short", "x" * 1025, PUBLISHED_DEFAULT, "password1234", "new-person@example.org", "New-Person@Example.org"],
)
async def test_a_bad_password_is_nobodys(world: World, ada: CallContext, password: str) -> None:
    user = await world.add_user("new-person@example.org", Role.VIEWER)

    with pytest.raises(InvalidFields) as added:
        await _create(world, ada, email="New-Person@example.org", password=password)
    with pytest.raises(InvalidFields) as changed:
        await _change(world, ada, user.id, password=password)

    assert [error.path for error in (*added.value.errors, *changed.value.errors)] == ["password", "password"]


# Who may


def _calls(world: World, caller: CallContext, user: User) -> list[Callable[[], Awaitable[object]]]:
    management = world.user_management
    return [
        lambda: management.list(limit=10, cursor=None, context=again(caller)),
        lambda: management.get(user.id, again(caller)),
        lambda: _create(world, caller),
        lambda: _change(world, caller, user.id, name="Other"),
        lambda: management.end_sessions(user.id, again(caller)),
        lambda: management.reset_totp(user.id, again(caller)),
        lambda: management.remove(user.id, again(caller)),
    ]


@pytest.mark.asvs("8.2.1")
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
@pytest.mark.parametrize("kind", [PrincipalKind.SESSION, PrincipalKind.KEY])
async def test_whoever_is_not_an_admin_manages_nobody(
    world: World, ada: CallContext, role: Role, kind: PrincipalKind
) -> None:
    victim = await world.add_user("victim@example.org", Role.VIEWER)
    await world.add_user("other@example.org", role)
    caller = await world.signed_in("other@example.org")
    caller = context(caller.principal.model_copy(update={"kind": kind}))
    world.log.entries.clear()

    for call in _calls(world, caller, victim):
        with pytest.raises(Forbidden):
            await call()

    assert world.log.entries == []
    assert _kept(world) == ""


async def test_an_admins_key_manages_users_while_it_lives(world: World, ada: CallContext, grace: User) -> None:
    made = await world.keys.create("admin", Role.ADMIN, NOW + timedelta(hours=1), again(ada))
    key = context((await world.identities.of_key(made.text)).principal)
    await _change(world, key, grace.id, name="G")

    world.now = NOW + timedelta(hours=1)

    for call in _calls(world, key, grace)[2:5]:
        with pytest.raises(Forbidden, match="no longer"):
            await call()


@pytest.mark.asvs("8.3.1")
async def test_a_lower_key_of_an_admin_changes_nothing_even_if_the_edge_says_otherwise(
    world: World, ada: CallContext, grace: User
) -> None:
    made = await world.keys.create("low", Role.VIEWER, None, again(ada))
    principal = (await world.identities.of_key(made.text)).principal.model_copy(update={"role": Role.ADMIN})

    with pytest.raises(Forbidden):
        await world.user_management.remove(grace.id, context(principal))


async def test_an_admin_whose_session_has_ended_does_nothing_more(world: World, ada: CallContext, grace: User) -> None:
    await world.sessions.log_out(ada)

    for call in (*_calls(world, ada, grace)[2:5], _calls(world, ada, grace)[6]):
        with pytest.raises(InvalidSession):
            await call()

    assert await _count(world, users) == 2


# The last admin


async def _attempts(world: World, caller: CallContext, id: str) -> list[Awaitable[object]]:
    return [
        _change(world, caller, id, role=Role.OPERATOR),
        _change(world, caller, id, disabled=True),
        _change(world, caller, id, disabled=True, name="x"),
        world.user_management.remove(id, again(caller)),
    ]


async def test_the_last_admin_stays_what_they_are(world: World, ada: CallContext) -> None:
    await world.add_user("disabled@example.org", Role.ADMIN, is_disabled=True)
    await world.add_user("operator@example.org", Role.OPERATOR)

    for attempt in await _attempts(world, ada, ada.principal.user_id):
        with pytest.raises(LastAdmin) as refused:
            await attempt
        assert (refused.value.code, refused.value.reason) == ("conflict", "last-admin")

    assert await _admins(world) == 1


async def test_one_admin_of_two_may_go_even_by_themselves(world: World, ada: CallContext) -> None:
    await world.add_user("grace@example.org", Role.ADMIN)

    demoted = await _change(world, ada, ada.principal.user_id, role=Role.VIEWER)

    assert demoted.role is Role.VIEWER
    assert await _admins(world) == 1


@pytest.mark.parametrize("wanted", [{"role": Role.VIEWER}, {"disabled": True}, None])
async def test_of_admins_who_put_each_other_down_at_once_one_is_left(
    file: Path, log: Log, wanted: dict[str, Any] | None
) -> None:
    async with open_world(file, log) as one, open_world(file, log) as other:
        admins = [await one.add_user(f"admin-{number}@example.org") for number in range(10)]
        callers = [await one.signed_in(admin.email) for admin in admins]

        def put_down(by: CallContext, whom: User, replica: World) -> Awaitable[object]:
            if wanted is None:
                return replica.user_management.remove(whom.id, again(by))
            return _change(replica, by, whom.id, **wanted)

        results = await asyncio.gather(
            *(
                put_down(callers[index], admins[(index + step) % 10], (one, other)[step % 2])
                for index in range(10)
                for step in range(1, 6)
            ),
            return_exceptions=True,
        )

        expected = (LastAdmin, InvalidSession, UserNotFound)
        assert all(isinstance(result, expected) for result in results if isinstance(result, BaseException))
        assert await _admins(one) >= 1


@pytest.mark.asvs("2.3.4")
async def test_of_two_admins_who_demote_each_other_one_succeeds(file: Path, log: Log) -> None:
    async with open_world(file, log) as one, open_world(file, log) as other:
        ada, grace = await one.add_user(), await one.add_user("grace@example.org")
        by_ada, by_grace = await one.signed_in(), await one.signed_in("grace@example.org")

        results = await asyncio.gather(
            _change(one, by_ada, grace.id, role=Role.VIEWER),
            _change(other, by_grace, ada.id, role=Role.VIEWER),
            return_exceptions=True,
        )

        assert sum(isinstance(result, User) for result in results) == 1
        assert sum(isinstance(result, LastAdmin) for result in results) == 1
        assert await _admins(one) == 1


# Changing


async def test_what_is_left_out_stays(world: World, ada: CallContext, grace: User) -> None:
    changed = await _change(world, ada, grace.id, name="Grace")

    assert (changed.name, changed.email, changed.role) == ("Grace", grace.email, grace.role)
    assert changed.version == grace.version + 1
    assert await world.user_management.get(grace.id, ada) == changed


@pytest.mark.asvs("7.4.2")
@pytest.mark.parametrize(
    ("wanted", "password"),
    [({"role": Role.ADMIN}, None), ({"role": Role.VIEWER}, None), ({"disabled": True}, None), ({}, NEW_PASSWORD)],
)
async def test_another_role_or_password_and_being_disabled_end_all_sessions(
    world: World, ada: CallContext, grace: User, wanted: dict[str, Any], password: str | None
) -> None:
    opened = [await world.log_in("grace@example.org") for _ in range(2)]

    await _change(world, ada, grace.id, password=password, **wanted)

    for each in opened:
        with pytest.raises(InvalidSession):
            await world.identities.of_session(each.token)
    assert world.announced[-1] == (await world.versions.read(), grace.id)
    assert (await world.identities.of_session((await world.log_in()).token)).user.id == ada.principal.user_id


async def test_another_name_or_address_ends_no_session(world: World, ada: CallContext, grace: User) -> None:
    opened = await world.log_in("grace@example.org")

    await _change(world, ada, grace.id, name="G", email="Grace@Other.example", role=Role.OPERATOR, disabled=False)

    assert (await world.identities.of_session(opened.token)).principal.email == "grace@other.example"
    assert world.announced[-1][1] == grace.id


async def test_an_address_that_somebody_has_is_taken(world: World, ada: CallContext, grace: User) -> None:
    with pytest.raises(EmailTaken):
        await _change(world, ada, grace.id, email="ADA@example.org")


async def test_a_disabled_owners_keys_are_dead_and_an_enabled_ones_live_again(
    world: World, ada: CallContext, grace: User
) -> None:
    key = await world.keys.create("ci", Role.OPERATOR, None, await world.signed_in("grace@example.org"))

    await _change(world, ada, grace.id, disabled=True)
    with pytest.raises(InvalidApiKey):
        await world.identities.of_key(key.text)
    with pytest.raises(InvalidCredentials):
        await world.log_in("grace@example.org")
    await _change(world, ada, grace.id, disabled=False)

    assert (await world.identities.of_key(key.text)).role is Role.OPERATOR


async def test_a_lower_role_lowers_the_keys(world: World, ada: CallContext, grace: User) -> None:
    key = await world.keys.create("ci", Role.OPERATOR, None, await world.signed_in("grace@example.org"))

    await _change(world, ada, grace.id, role=Role.VIEWER)

    assert (await world.identities.of_key(key.text)).role is Role.VIEWER


async def test_a_password_set_by_an_admin_has_to_be_changed(world: World, ada: CallContext, grace: User) -> None:
    changed = await _change(world, ada, grace.id, password=NEW_PASSWORD)

    with pytest.raises(InvalidCredentials):
        await world.log_in("grace@example.org", PASSWORD)
    assert changed.must_change_password
    assert (await world.log_in("grace@example.org", NEW_PASSWORD)).user.must_change_password


async def test_the_own_password_needs_the_current_one(world: World, ada: CallContext) -> None:
    with pytest.raises(Forbidden, match="auth/password"):
        await _change(world, ada, ada.principal.user_id, password=NEW_PASSWORD)


async def test_a_change_is_recorded_by_its_fields_and_roles_only(world: World, ada: CallContext, grace: User) -> None:
    await world.log_in("grace@example.org")
    world.log.entries.clear()

    await _change(world, ada, grace.id, role=Role.VIEWER, name="Zaphod", email="z@example.org", password=NEW_PASSWORD)

    assert world.log.told() == [("intent", "user.updated", None), ("outcome", "user.updated", "success")]
    assert world.log.entries[-1].details == {
        "fields": ["email", "name", "role", "password"],
        "role": {"from": "operator", "to": "viewer"},
        "endedSessions": 1,
    }
    assert not {"Zaphod", "z@example.org", NEW_PASSWORD, "scrypt"} & set(repr(world.log.entries).split("'"))


async def test_without_a_receipt_nothing_is_changed(world: World, ada: CallContext, grace: User) -> None:
    world.log.is_down = True

    for wanted in ({"name": "G"}, {"role": Role.VIEWER}, {"disabled": True, "name": "G"}):
        with pytest.raises(AuditUnavailable):
            await _change(world, ada, grace.id, **wanted)

    assert await world.user_management.get(grace.id, ada) == grace


async def test_what_is_so_already_is_no_change(world: World, ada: CallContext, grace: User) -> None:
    world.log.entries.clear()

    same = await _change(world, ada, grace.id, email="GRACE@example.org", name="Ada", role=grace.role, disabled=False)

    assert same == grace
    assert world.log.entries == []


async def test_a_change_of_an_older_version_is_refused(world: World, ada: CallContext, grace: User) -> None:
    await _change(world, ada, grace.id, if_version=grace.version, name="G")

    for wanted in ({"name": "H"}, {"disabled": True}, {}):
        with pytest.raises(UserChangedMeanwhile) as refused:
            await _change(world, ada, grace.id, if_version=grace.version, **wanted)

    assert (refused.value.code, refused.value.reason) == ("precondition_failed", "stale-user")


async def test_of_fifty_changes_of_one_version_one_is_made(file: Path, log: Log) -> None:
    async with open_world(file, log) as one, open_world(file, log) as other:
        await one.add_user()
        grace = await one.add_user("grace@example.org", Role.VIEWER)
        ada = await one.signed_in()

        results = await asyncio.gather(
            *(
                _change(replica, ada, grace.id, if_version=grace.version, name=f"{number}")
                for number in range(25)
                for replica in (one, other)
            ),
            return_exceptions=True,
        )

        assert sum(isinstance(result, User) for result in results) == 1
        assert sum(isinstance(result, UserChangedMeanwhile) for result in results) == 49


# Defence


@pytest.mark.asvs("7.4.2", "7.4.5")
async def test_disabling_deleting_and_ending_sessions_do_not_wait_for_the_audit_log(
    world: World, ada: CallContext, grace: User
) -> None:
    opened = [await world.log_in("grace@example.org") for _ in range(3)]
    world.log.is_down = True

    await world.user_management.end_sessions(grace.id, again(ada))
    await _change(world, ada, grace.id, disabled=True)
    await world.user_management.remove(grace.id, again(ada))

    for each in opened:
        with pytest.raises(InvalidSession):
            await world.identities.of_session(each.token)
    kept = _kept(world)
    for action in ("user.sessions_ended", "user.updated", "user.deleted"):
        assert f'"action":"{action}"' in kept
    assert '"endedSessions":3' in kept
    assert [user_id for _, user_id in world.announced[-3:]] == [grace.id] * 3


@pytest.mark.asvs("7.4.2")
async def test_a_removed_user_takes_sessions_and_keys_along(world: World, ada: CallContext, grace: User) -> None:
    caller = await world.signed_in("grace@example.org")
    key = await world.keys.create("ci", Role.VIEWER, None, again(caller))

    await world.user_management.remove(grace.id, ada)

    with pytest.raises(InvalidApiKey):
        await world.identities.of_key(key.text)
    with pytest.raises(InvalidCredentials):
        await world.log_in("grace@example.org")
    assert (await _count(world, sessions), await _count(world, api_keys)) == (1, 0)


async def test_an_address_is_free_again_after_its_user_was_removed(world: World, ada: CallContext, grace: User) -> None:
    await world.user_management.remove(grace.id, again(ada))

    assert (await _create(world, ada, email="grace@example.org")).user.id != grace.id


async def test_removing_twice_is_not_found_and_recorded_once(world: World, ada: CallContext, grace: User) -> None:
    results = await asyncio.gather(
        *(world.user_management.remove(grace.id, again(ada)) for _ in range(3)), return_exceptions=True
    )

    assert sorted(type(result).__name__ for result in results) == ["NoneType", "UserNotFound", "UserNotFound"]
    assert len(list(world.outbox.glob("*.json"))) == 1


@pytest.mark.parametrize("id", ["", "x", "' OR 1=1 --", pytest.param(new_id(), id="new")])
async def test_who_is_not_there_is_not_found(world: World, ada: CallContext, id: str) -> None:
    nobody = await world.add_user("gone@example.org", Role.VIEWER)
    async with world.database.writing() as connection:
        await connection.execute(delete(users).where(users.c.id == nobody.id))
    calls = _calls(world, ada, nobody)

    for call in (*calls[1:2], *calls[3:]):
        with pytest.raises(UserNotFound):
            await call()
    with pytest.raises(UserNotFound) as refused:
        await world.user_management.get(id, ada)

    assert (refused.value.code, refused.value.reason) == ("not_found", "user-not-found")


# The second factor


async def _give_second_factor(world: World, user: User) -> None:
    row = {"id": new_id(), "user_id": user.id, "sealed_secret": "s", "last_step": 0, "failures": 100, "created_at": 0}
    async with world.database.writing() as connection:
        await connection.execute(second_factors.insert().values(row))


async def test_a_reset_second_factor_is_gone_with_all_sessions(world: World, ada: CallContext, grace: User) -> None:
    opened = await world.log_in("grace@example.org")
    await _give_second_factor(world, grace)
    before = await world.user_management.get(grace.id, ada)
    world.log.entries.clear()

    await world.user_management.reset_totp(grace.id, again(ada))

    with pytest.raises(InvalidSession):
        await world.identities.of_session(opened.token)
    after = await world.user_management.get(grace.id, ada)
    assert (before.totp_enabled, after.totp_enabled) == (True, False)
    assert after.version == before.version + 1
    assert world.log.told() == [("intent", "user.totp_reset", None), ("outcome", "user.totp_reset", "success")]
    assert world.log.entries[-1].details == {"endedSessions": 1}
    assert world.announced[-1] == (await world.versions.read(), grace.id)


async def test_what_is_not_enabled_cannot_be_reset(world: World, ada: CallContext, grace: User) -> None:
    with pytest.raises(TotpNotEnabled):
        await world.user_management.reset_totp(grace.id, again(ada))


async def test_a_second_factor_is_not_reset_unrecorded(world: World, ada: CallContext, grace: User) -> None:
    await _give_second_factor(world, grace)
    world.log.is_down = True

    with pytest.raises(AuditUnavailable):
        await world.user_management.reset_totp(grace.id, again(ada))

    assert (await world.user_management.get(grace.id, ada)).totp_enabled


async def test_nobody_resets_their_own_second_factor(world: World, ada: CallContext) -> None:
    with pytest.raises(Forbidden, match="auth/totp"):
        await world.user_management.reset_totp(ada.principal.user_id, again(ada))


# Listing


async def test_users_are_listed_page_by_page_oldest_first(world: World, ada: CallContext) -> None:
    for number in range(4):
        await world.add_user(f"user-{number}@example.org", Role.VIEWER)
    pages, cursor = [], None

    for _ in range(3):
        page = await world.user_management.list(limit=2, cursor=cursor, context=ada)
        pages.append([user.email.partition("@")[0] for user in page.users])
        cursor = page.next_cursor

    assert pages == [["ada", "user-0"], ["user-1", "user-2"], ["user-3"]]
    assert cursor is None


async def test_a_cursor_of_another_list_is_refused(world: World, ada: CallContext) -> None:
    await world.keys.create("a", Role.VIEWER, None, again(ada))
    await world.keys.create("b", Role.VIEWER, None, again(ada))
    cursor = (await world.keys.list(limit=1, cursor=None, context=ada)).next_cursor

    with pytest.raises(InvalidFields):
        await world.user_management.list(limit=1, cursor=cursor, context=ada)
