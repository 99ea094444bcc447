"""A person's own sessions: seen, ended one by one, or all but this one."""

import asyncio
from datetime import timedelta

import pytest

from auth.domain.session import InvalidSession, SessionNotFound
from shared.bus import CallContext
from shared.clock import from_unix_ms, to_unix_ms
from shared.errors import Forbidden, InvalidFields
from shared.ids import new_id
from shared.principal import Role
from tests.unit.auth.world import NOW, World, again, as_key


@pytest.fixture
async def ada(world: World) -> CallContext:
    await world.add_user(role=Role.VIEWER)
    return await world.signed_in()


async def test_open_sessions_are_listed_newest_first_with_where_and_when(world: World, ada: CallContext) -> None:
    world.now = NOW + timedelta(minutes=5)
    newer = (await world.log_in()).session

    page = await world.devices.list(limit=10, cursor=None, context=ada)

    assert [device.id for device in page.devices] == [newer.id, ada.principal.credential_id]
    device = page.devices[0]
    assert (device.ip_address, device.user_agent) == ("192.0.2.7", "Mozilla/5.0")
    assert (device.created_at, device.last_active_at) == (world.now, world.now)
    assert device.expires_at == world.now + timedelta(hours=8)
    assert page.next_cursor is None


async def test_closed_expired_and_other_peoples_sessions_are_not_listed(world: World, ada: CallContext) -> None:
    await world.sessions.log_out(await world.signed_in())
    await world.add_user("grace@example.org")
    await world.log_in("grace@example.org")
    world.now = NOW + timedelta(hours=8)
    late = await world.signed_in()

    page = await world.devices.list(limit=10, cursor=None, context=late)

    assert [device.id for device in page.devices] == [late.principal.credential_id]


async def test_sessions_come_page_by_page(world: World, ada: CallContext) -> None:
    for _ in range(4):
        await world.log_in()
    found: list[list[str]] = []
    cursor = None

    for _ in range(3):
        page = await world.devices.list(limit=2, cursor=cursor, context=ada)
        found.append([device.id for device in page.devices])
        cursor = page.next_cursor

    assert [len(part) for part in found] == [2, 2, 1]
    assert cursor is None
    ids = [id for part in found for id in part]
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize("cursor", ["", "AAAA", "~", "x" * 100])
async def test_a_made_up_cursor_is_refused(world: World, ada: CallContext, cursor: str) -> None:
    with pytest.raises(InvalidFields):
        await world.devices.list(limit=2, cursor=cursor, context=ada)


@pytest.mark.asvs("7.4.1")
async def test_an_ended_session_opens_nothing_and_the_version_tells(world: World, ada: CallContext) -> None:
    other = await world.log_in()

    await world.devices.revoke(other.session.id, again(ada))

    with pytest.raises(InvalidSession):
        await world.identities.of_session(other.token)
    assert world.announced[-1] == (await world.versions.read(), ada.principal.user_id)


async def test_the_own_session_can_be_ended_too(world: World, ada: CallContext) -> None:
    await world.devices.revoke(ada.principal.credential_id, again(ada))

    with pytest.raises(InvalidSession):
        await world.devices.revoke(ada.principal.credential_id, again(ada))


async def test_all_others_end_and_this_one_stays(world: World, ada: CallContext) -> None:
    mine = await world.log_in()
    await world.add_user("grace@example.org")
    hers = await world.log_in("grace@example.org")
    current = again(ada)

    await world.devices.revoke_others(current)

    page = await world.devices.list(limit=10, cursor=None, context=ada)
    assert [device.id for device in page.devices] == [ada.principal.credential_id]
    with pytest.raises(InvalidSession):
        await world.identities.of_session(mine.token)
    assert (await world.identities.of_session(hers.token)).user.email == "grace@example.org"


async def test_ending_sessions_does_not_wait_for_the_audit_log(world: World, ada: CallContext) -> None:
    one, _, _ = [await world.log_in() for _ in range(3)]
    world.log.is_down = True

    await world.devices.revoke(one.session.id, again(ada))
    await world.devices.revoke_others(again(ada))

    kept = "".join(file.read_text() for file in world.outbox.glob("*.json"))
    assert kept.count('"action":"session.revoked"') == 2
    assert one.session.id in kept
    assert '"endedSessions":2' in kept


async def test_nothing_is_recorded_when_there_are_no_others(world: World, ada: CallContext) -> None:
    announced = list(world.announced)

    await world.devices.revoke_others(again(ada))

    assert world.announced == announced
    assert list(world.outbox.glob("*.json")) == []


async def test_a_session_ends_once(world: World, ada: CallContext) -> None:
    other = await world.log_in()

    results = await asyncio.gather(
        *(world.devices.revoke(other.session.id, again(ada)) for _ in range(5)), return_exceptions=True
    )

    assert sorted(type(result).__name__ for result in results) == ["NoneType", *["SessionNotFound"] * 4]
    assert len(list(world.outbox.glob("*.json"))) == 1


@pytest.mark.parametrize("id", ["", "x", "' OR 1=1 --", pytest.param(new_id(), id="new")])
async def test_a_session_that_is_not_there_is_not_found(world: World, ada: CallContext, id: str) -> None:
    with pytest.raises(SessionNotFound) as refused:
        await world.devices.revoke(id, again(ada))

    assert (refused.value.code, refused.value.reason) == ("not_found", "session-not-found")


@pytest.mark.asvs("8.2.2")
async def test_a_session_of_somebody_else_is_not_found_even_for_an_admin(world: World, ada: CallContext) -> None:
    await world.add_user("root@example.org", Role.ADMIN)
    root = await world.signed_in("root@example.org")

    with pytest.raises(SessionNotFound):
        await world.devices.revoke(ada.principal.credential_id, root)

    assert (await world.devices.list(limit=10, cursor=None, context=ada)).devices != []


async def test_an_ended_session_ends_no_others(world: World, ada: CallContext) -> None:
    thief = await world.signed_in()
    await world.devices.revoke_others(again(ada))

    with pytest.raises(InvalidSession):
        await world.devices.revoke_others(again(thief))
    with pytest.raises(InvalidSession):
        await world.devices.revoke(ada.principal.credential_id, again(thief))


async def test_a_key_has_no_devices(world: World, ada: CallContext) -> None:
    for call in (
        world.devices.list(limit=1, cursor=None, context=as_key(ada)),
        world.devices.revoke(new_id(), as_key(ada)),
        world.devices.revoke_others(as_key(ada)),
    ):
        with pytest.raises(Forbidden):
            await call


async def test_last_uses_only_go_forward_and_never_ahead_of_now(world: World, ada: CallContext) -> None:
    id, told = ada.principal.credential_id, []

    for seconds in (10, 5, -100, 99):
        world.now = NOW + timedelta(seconds=60)
        await world.activity.seen({id: to_unix_ms(NOW + timedelta(seconds=seconds))}, {})
        told.append((await world.devices.list(limit=1, cursor=None, context=ada)).devices[0].last_active_at)

    assert [(at - NOW).total_seconds() for at in told] == [10, 10, 10, 60]


async def test_a_keys_last_use_is_listed_and_raises_no_version(world: World) -> None:
    await world.add_user("op@example.org", Role.OPERATOR)
    caller = await world.signed_in("op@example.org")
    made = await world.keys.create("ci", Role.VIEWER, None, again(caller))
    before = await world.versions.read()
    fresh = (await world.keys.list(limit=1, cursor=None, context=caller)).keys[0].last_used_at

    for milliseconds in (5, 3):
        await world.activity.seen({"unknown": 1}, {made.key.id: milliseconds, "x": 2})

    assert fresh is None
    assert (await world.keys.list(limit=1, cursor=None, context=caller)).keys[0].last_used_at == from_unix_ms(5)
    assert await world.versions.read() == before


async def test_two_thousand_last_uses_are_one_short_write(world: World, ada: CallContext) -> None:
    used = {new_id(): 1 for _ in range(999)} | {ada.principal.credential_id: to_unix_ms(NOW)}

    await asyncio.wait_for(world.activity.seen(used, {new_id(): 1 for _ in range(1000)}), 5)

    assert (await world.devices.list(limit=1, cursor=None, context=ada)).devices != []
