"""Conversations in a real SQLite database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.application.conversations import Lease, Place
from orchestrator.application.leases import LEASE
from orchestrator.domain import conversation
from orchestrator.domain.conversation import (
    KEEP,
    MAX_TEXT_BYTES,
    ConversationBusy,
    ConversationOvertaken,
    ConversationUnreadable,
    Exchange,
)
from orchestrator.infrastructure import sql_conversations
from orchestrator.infrastructure.sql_conversations import SqlConversations
from shared.clean_up import clean_up
from shared.database import Database

KEY = bytes(range(32))
NOW = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def store(database: Database) -> SqlConversations:
    return SqlConversations(database, KEY)


def lease(id: str = "s", *, owner: str = "u-1", holder: str = "h", now: datetime = NOW) -> Lease:
    return Lease(owner=owner, id=id, holder=holder, until=now + MINUTE)


def exchange(question: str = "Hello", answer: str = "Good day.", *, at: datetime = NOW) -> Exchange:
    return Exchange(question, answer, at, at)


async def said(store: SqlConversations, one: Exchange, id: str = "s", *, owner: str = "u-1") -> list[Exchange]:
    """Adds an exchange; returns what was said before it."""
    taken = lease(id, owner=owner, now=one.asked_at)
    before = await store.begin(taken, now=one.asked_at)
    await store.keep(taken, one, "a-1", "m")
    return list(before)


async def test_a_conversation_goes_on_with_what_was_said(store: SqlConversations) -> None:
    first, second = exchange("ü\u2028" * 50, '"\\'), exchange("And?", "", at=NOW + MINUTE)

    before = [await said(store, first), await said(store, second), await store.begin(lease(now=NOW + MINUTE), now=NOW)]
    found = await store.get("u-1", "s", now=NOW)

    assert before == [[], [first], [first, second]]
    assert found is not None
    kept, exchanges = found
    assert exchanges == [first, second]
    assert (kept.title, kept.exchanges, kept.agent_id, kept.model) == (first.question[:80], 2, "a-1", "m")
    assert (kept.created_at, kept.updated_at) == (NOW, NOW + MINUTE)
    assert kept.expires_at == NOW + MINUTE + KEEP


async def test_the_oldest_exchanges_make_room(store: SqlConversations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_EXCHANGES", 3)
    for number in range(5):
        await said(store, exchange(str(number)))
    many = await store.get("u-1", "s", now=NOW)
    large = exchange("x" * (MAX_TEXT_BYTES - 20), "y")
    await said(store, large)
    few = await store.get("u-1", "s", now=NOW)

    assert many is not None
    assert few is not None
    assert [each.question for each in many[1]] == ["2", "3", "4"]
    assert many[0].exchanges == 3
    assert [each.question for each in few[1]] == ["4", large.question]
    assert (few[0].exchanges, few[0].title) == (2, "0")


async def test_one_turn_at_a_time(store: SqlConversations) -> None:
    await said(store, exchange())
    taken = lease()
    await store.begin(taken, now=NOW)

    for id in ("s", "new one"):
        other = lease(id, holder="other")
        if id == "new one":
            await store.begin(lease(id), now=NOW)
        with pytest.raises(ConversationBusy):
            await store.begin(other, now=NOW)
    await store.release(taken)

    assert await store.begin(lease(holder="other"), now=NOW) == [exchange()]


async def test_the_turn_of_who_is_gone_lapses_and_who_comes_back_is_refused(store: SqlConversations) -> None:
    gone, later = lease(holder="gone"), NOW + LEASE
    await store.begin(gone, now=NOW)
    with pytest.raises(ConversationBusy):
        await store.begin(lease(holder="next"), now=later - MILLISECOND)
    await store.begin(lease(holder="next", now=later), now=later)

    with pytest.raises(ConversationOvertaken):
        await store.keep(gone, exchange("lost"), "a-1", "m")
    await store.release(gone)
    await store.keep(lease(holder="next"), exchange("kept", at=later), "a-1", "m")
    with pytest.raises(ConversationOvertaken):
        await store.keep(gone, exchange("lost"), "a-1", "m")

    found = await store.get("u-1", "s", now=later)
    assert found is not None
    assert [each.question for each in found[1]] == ["kept"]


async def test_a_turn_that_is_renewed_goes_on(store: SqlConversations) -> None:
    held, halfway = lease(), NOW + LEASE / 2
    await store.begin(held, now=NOW)
    await store.begin(lease("other"), now=NOW)

    await store.renew(["h", "somebody else"], now=halfway)

    for id in ("s", "other"):
        with pytest.raises(ConversationBusy):
            await store.begin(lease(id, holder="next"), now=halfway + LEASE - MILLISECOND)
    assert await store.begin(lease(holder="next"), now=halfway + LEASE) == []


async def test_who_comes_back_renews_nothing_of_others_and_stores_what_nobody_else_has_begun(
    store: SqlConversations,
) -> None:
    gone, later = lease(holder="gone"), NOW + LEASE
    await store.begin(gone, now=NOW)
    await store.begin(lease("alone", holder="gone"), now=NOW)
    await store.begin(lease(holder="next"), now=later)

    await store.renew(["gone"], now=later + LEASE)
    await store.keep(lease("alone", holder="gone"), exchange("late", at=later), "a-1", "m")

    assert await store.begin(lease(holder="third"), now=later + LEASE) == []
    assert [each.title for each in await store.page("u-1", None, 10, now=later)] == ["late"]


async def test_a_turn_that_failed_leaves_nothing_of_a_new_conversation(store: SqlConversations) -> None:
    await store.begin(lease(), now=NOW)
    during = await store.exists("u-1", "s", now=NOW), await store.get("u-1", "s", now=NOW)

    await store.release(lease())

    assert during == (True, None)
    assert not await store.exists("u-1", "s", now=NOW)
    assert await store.page("u-1", None, 10, now=NOW) == []


async def test_what_was_deleted_during_a_turn_stays_deleted(store: SqlConversations) -> None:
    await said(store, exchange())
    taken = lease()
    await store.begin(taken, now=NOW)

    removed = await store.remove("u-1", "s"), await store.remove("u-1", "s")
    await store.keep(taken, exchange("too late"), "a-1", "m")
    await store.begin(lease(holder="new"), now=NOW)
    with pytest.raises(ConversationOvertaken):
        await store.keep(taken, exchange("too late"), "a-1", "m")

    assert removed == (True, False)
    assert await store.get("u-1", "s", now=NOW) is None


async def test_owners_never_meet(store: SqlConversations) -> None:
    await said(store, exchange("mine"))
    before = await said(store, exchange("yours"), owner="u-2")

    removed = await store.remove("u-3", "s")
    await store.remove("u-2", "s")

    assert (before, removed) == ([], False)
    assert [each.title for each in await store.page("u-1", None, 10, now=NOW)] == ["mine"]
    assert await store.page("u-2", None, 10, now=NOW) == []


async def test_pages_begin_with_the_last_used(store: SqlConversations) -> None:
    for id, minutes in (("a", 1), ("b", 3), ("c", 2), ("d", 2)):
        await said(store, exchange(at=NOW + minutes * MINUTE), id)

    first = await store.page("u-1", None, 2, now=NOW)
    rest = await store.page("u-1", Place(first[-1].updated_at, first[-1].id), 10, now=NOW)

    assert [each.id for each in first] == ["b", "d"]
    assert [each.id for each in rest] == ["c", "a"]


async def test_one_more_than_an_owner_may_have_removes_the_one_that_was_not_used_for_longest(
    store: SqlConversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_conversations, "MAX_OF_OWNER", 2)
    await said(store, exchange(), "theirs", owner="u-2")
    for minutes, id in enumerate(("a", "b", "a", "c")):
        await said(store, exchange(at=NOW + minutes * MINUTE), id)

    assert [each.id for each in await store.page("u-1", None, 10, now=NOW)] == ["c", "a"]
    assert len(await store.page("u-2", None, 10, now=NOW)) == 1


async def test_what_has_expired_is_not_there_and_is_removed(store: SqlConversations, database: Database) -> None:
    await said(store, exchange(), "old")
    await said(store, exchange(at=NOW + MINUTE), "young")
    await store.begin(lease("never answered"), now=NOW)
    later = NOW + KEEP

    seen = [each.id for each in await store.page("u-1", None, 10, now=later)], await store.get("u-1", "old", now=later)
    begun = await store.begin(lease("old", now=later), now=later)
    await store.release(lease("old"))
    await clean_up(store, now=later)

    async with database.reading() as connection:
        left = (await connection.execute(sql_conversations.CONVERSATIONS.select())).all()
        texts = (await connection.execute(sql_conversations.EXCHANGES.select())).all()
    assert (seen, begun) == ((["young"], None), [])
    assert [row.id for row in left] == ["young"]
    assert len(texts) == 1


async def test_a_conversation_does_not_expire_during_its_turn(store: SqlConversations) -> None:
    await said(store, exchange())
    end = NOW + KEEP
    taken = lease(now=end)
    await store.begin(taken, now=end - timedelta(milliseconds=1))

    await clean_up(store, now=end)
    await store.keep(taken, exchange("still here", at=end), "a-1", "m")

    found = await store.get("u-1", "s", now=end)
    assert found is not None
    assert found[0].exchanges == 2


async def test_texts_are_sealed_where_they_are(store: SqlConversations, database: Database, tmp_path: Path) -> None:
    await said(store, exchange("the first secret", "the second secret"))
    other_key = SqlConversations(database, bytes(32))

    listed = await other_key.page("u-1", None, 10, now=NOW)
    with pytest.raises(ConversationUnreadable):
        await other_key.get("u-1", "s", now=NOW)
    with pytest.raises(ConversationUnreadable):
        await other_key.begin(lease(holder="other"), now=NOW)

    assert [each.title for each in listed] == [""]
    assert await store.begin(replace(lease(), holder="next"), now=NOW)
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.iterdir())


async def test_what_was_moved_to_another_conversation_opens_nothing(
    store: SqlConversations, database: Database
) -> None:
    await said(store, exchange("mine"), "a")
    await said(store, exchange("yours"), "b", owner="u-2")
    table = sql_conversations.EXCHANGES
    async with database.writing() as connection:
        rows = (await connection.execute(table.select())).all()
        for row, other in zip(rows, reversed(rows), strict=True):
            moved = table.update().where(table.c.conversation == row.conversation).values(sealed=other.sealed)
            await connection.execute(moved)

    with pytest.raises(ConversationUnreadable):
        await store.get("u-1", "a", now=NOW)
