"""Turns of stored conversations on two replicas with one database, and what their owners see of them on the bus."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from orchestrator.application import leases
from orchestrator.application.conversations import Conversations, Turn
from orchestrator.application.leases import LEASE, Leases
from orchestrator.domain.conversation import ConversationBusy
from orchestrator.infrastructure.sql_conversations import CONVERSATIONS, SqlConversations
from shared.audit import AuditTrail, open_trail
from shared.bus import NOTHING, Bus, CallContext
from shared.clock import utc_now
from shared.contracts.audit import Phase
from shared.contracts.conversations import (
    DELETE_CONVERSATION,
    GET_CONVERSATION,
    LIST_CONVERSATIONS,
    Conversation,
    ListConversations,
    NamedConversation,
)
from shared.database import open_database
from shared.errors import ErrorCode, InvalidFields, PlatformError, RemoteFailure
from shared.ids import is_id, new_id
from shared.paging import Cursors
from shared.principal import PrincipalKind, Role
from tests.integration.orchestrator.cluster import KEY, AuditLog, by
from tests.unit.shared.audit.logs import FakeLog
from tests.waiting import eventually, until


@pytest.fixture
async def trail(tmp_path: Path) -> AsyncIterator[AuditTrail]:
    async with open_trail(FakeLog().bus, tmp_path / "trail") as opened:
        yield opened


@asynccontextmanager
async def opened(data_dir: Path, trail: AuditTrail) -> AsyncIterator[Conversations]:
    async with open_database(f"sqlite+aiosqlite:///{data_dir}/orchestrator.db") as database:
        store = SqlConversations(database, bytes.fromhex(KEY))
        cursors = Cursors(bytes.fromhex(KEY), "conversations")
        turns = Leases(store, now=utc_now)
        async with turns.renewing():
            yield Conversations(store, turns, trail, cursors, now=utc_now, new_id=new_id)


@pytest.fixture
async def one(data_dir: Path, trail: AuditTrail) -> AsyncIterator[Conversations]:
    async with opened(data_dir, trail) as replica:
        yield replica


@pytest.fixture
async def other(data_dir: Path, trail: AuditTrail) -> AsyncIterator[Conversations]:
    async with opened(data_dir, trail) as replica:
        yield replica


def user(id: str, role: Role = Role.VIEWER, kind: PrincipalKind = PrincipalKind.KEY) -> CallContext:
    context = by(role, kind=kind)
    principal = context.principal.model_copy(update={"user_id": id, "credential_id": new_id()})
    return replace(context, caller=context.caller.model_copy(update={"principal": principal}))


async def say(replica: Conversations, id: str | None, message: str, context: CallContext | None = None) -> Turn:
    async with replica.turn(id, message, context or user("u-1")) as turn:
        turn.answered(f"Re: {message}", agent_id="a-1", model="m")
    return turn


def said(*messages: str) -> list[dict[str, str]]:
    return [
        each
        for message in messages
        for each in ({"role": "user", "content": message}, {"role": "assistant", "content": f"Re: {message}"})
    ]


async def test_a_conversation_goes_on_on_any_replica(one: Conversations, other: Conversations) -> None:
    first = await say(one, "my chat", "Hello")
    second = await say(other, "my chat", "And?")
    third = await say(one, "my chat", "So?")

    assert (first.id, first.history) == ("my chat", [])
    assert second.history == said("Hello")
    assert third.history == said("Hello", "And?")


async def test_new_begins_one_with_an_id_of_its_own(one: Conversations, other: Conversations) -> None:
    first, second = await say(one, "new", "a"), await say(one, "new", "b")
    assert first.id is not None

    again = await say(other, first.id, "c")

    assert is_id(first.id)
    assert first.id != second.id
    assert again.history == said("a")


async def test_without_an_id_nothing_is_stored(one: Conversations) -> None:
    turn = await say(one, None, "Hello")

    assert (turn.id, turn.history) == (None, [])
    assert (await one.list(10, None, user("u-1"))).items == []


async def test_of_turns_at_the_same_time_one_is_taken(one: Conversations, other: Conversations) -> None:
    await say(one, "s", "Hello")
    go = asyncio.Event()

    async def slowly(replica: Conversations) -> str:
        try:
            async with replica.turn("s", "x", user("u-1")) as turn:
                await go.wait()
                turn.answered("y", agent_id="a-1", model="m")
        except ConversationBusy:
            return "busy"
        return "answered"

    turns = [asyncio.create_task(slowly(replica)) for replica in (one, other) * 5]
    await until(lambda: sum(turn.done() for turn in turns) == 9)
    go.set()

    assert sorted(await asyncio.gather(*turns)) == ["answered"] + 9 * ["busy"]
    assert len((await one.get("s", user("u-1")))[1]) == 2


class Broken(Exception):
    pass


async def test_a_turn_that_fails_stores_nothing_and_makes_way(one: Conversations, other: Conversations) -> None:
    for id in ("s", "t"):
        await say(one, "t", "Hello")
        with suppress(Broken):
            async with one.turn(id, "x", user("u-1")) as turn:
                turn.answered("y", agent_id="a-1", model="m")
                raise Broken

    async with other.turn("s", "z", user("u-1")) as unanswered:
        pass
    after = await say(other, "t", "And?")

    assert unanswered.history == []
    assert after.history == said("Hello", "Hello")
    assert [each.id for each in (await one.list(10, None, user("u-1"))).items] == ["t"]


async def test_a_turn_whose_client_leaves_makes_way_wherever_it_is(one: Conversations, other: Conversations) -> None:
    for after in range(25):
        leaving = asyncio.create_task(say(one, "s", "Hello"))
        await asyncio.sleep(after / 2000)
        leaving.cancel()
        await asyncio.wait((leaving,))

        async with other.turn("s", "x", user("u-1")):
            pass


async def test_what_is_deleted_during_a_turn_does_not_come_back(one: Conversations, other: Conversations) -> None:
    await say(one, "known", "Hello")
    for id in ("known", "begun just now"):
        async with one.turn(id, "x", user("u-1")) as turn:
            await other.delete(id, user("u-1"))
            turn.answered("y", agent_id="a-1", model="m")

    assert (await one.list(10, None, user("u-1"))).items == []
    assert (await say(one, "known", "Hello again")).history == []


async def test_two_users_may_use_the_same_id_without_meeting(one: Conversations, other: Conversations) -> None:
    async with one.turn("s", "mine", user("u-1")) as turn:
        theirs = await say(other, "s", "theirs", user("u-2"))
        turn.answered("Re: mine", agent_id="a-1", model="m")

    mine = await say(other, "s", "And?", user("u-1", kind=PrincipalKind.SESSION))

    assert theirs.history == []
    assert mine.history == said("mine")


async def test_pages_follow_each_other(one: Conversations) -> None:
    for number in range(5):
        await say(one, f"s {number}", "Hello")
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = await one.list(2, cursor, user("u-1"))
        seen += [each.id for each in page.items]
        cursor = page.next_cursor

    assert sorted(seen) == [f"s {number}" for number in range(5)]
    assert (seen[0], cursor) == ("s 4", None)
    with pytest.raises(InvalidFields):
        await one.list(2, "made up", user("u-1"))


async def refused(call: Awaitable[object]) -> tuple[ErrorCode, str]:
    with pytest.raises(RemoteFailure) as failure:
        await call
    return failure.value.code, failure.value.reason


async def test_owners_list_read_and_delete_their_own(edge: Bus, one: Conversations, audit: AuditLog) -> None:
    mine, theirs = user("u-1"), user("u-2")
    await say(one, "s", "ü" * 100, mine)
    await say(one, "s", "And?", mine)
    name = NamedConversation(id="s")

    listed = await edge.call(LIST_CONVERSATIONS, ListConversations(), mine)
    whole = await edge.call(GET_CONVERSATION, name, mine)
    of_others = [
        (await edge.call(LIST_CONVERSATIONS, ListConversations(), theirs)).items,
        await refused(edge.call(GET_CONVERSATION, name, theirs)),
        await refused(edge.call(DELETE_CONVERSATION, name, theirs)),
    ]
    deleted = await edge.call(DELETE_CONVERSATION, name, mine)
    again = await refused(edge.call(DELETE_CONVERSATION, name, mine))

    missing = (ErrorCode.NOT_FOUND, "session-not-found")
    (conversation,) = listed.items
    assert (conversation.title, conversation.message_count, conversation.agent_id) == ("ü" * 80, 4, "a-1")
    assert conversation == Conversation.model_validate(whole.model_dump(exclude={"messages"}))
    assert [(each.role, each.content) for each in whole.messages] == [
        (each["role"], each["content"]) for each in said("ü" * 100, "And?")
    ]
    assert whole.created_at <= whole.messages[0].timestamp <= whole.messages[-1].timestamp == whole.updated_at
    assert of_others == [[], missing, missing]
    assert (deleted, again) == (NOTHING, missing)
    entries = [entry for entry in audit.entries if entry.action == "conversation.deleted"]
    assert [(entry.phase, entry.resource_id, entry.user_id) for entry in entries] == [
        (Phase.INTENT, "s", "u-1"),
        (Phase.OUTCOME, "s", "u-1"),
    ]
    assert not any("Re:" in entry.model_dump_json() for entry in entries)


async def test_a_turn_is_kept_alive_while_it_is_answered(
    one: Conversations, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY_S", 0.02)
    async with one.turn("s", "x", user("u-1")), open_database(f"sqlite+aiosqlite:///{data_dir}/orchestrator.db") as db:

        async def busy_until() -> int:
            async with db.reading() as connection:
                return int((await connection.execute(select(CONVERSATIONS.c.busy_until))).scalar_one())

        first = await busy_until()

        async def is_renewed() -> bool:
            return await busy_until() > first

        await eventually(is_renewed, within=5)


@asynccontextmanager
async def turning(data_dir: Path, id: str) -> AsyncIterator[Process]:
    """A replica in a process of its own that answers a message of u-1's as soon as it hears a line."""
    program = ("-m", "tests.integration.orchestrator.turning", str(data_dir), id)
    process = await asyncio.create_subprocess_exec(sys.executable, *program, stdin=PIPE, stdout=PIPE)
    try:
        assert await said_by(process) == "begun"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said_by(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode().strip()


async def says_when_it_may(replica: Conversations, message: str) -> Turn:
    """Says it as soon as no other turn is under way; that takes no longer than a lease, and a machine that is busy."""
    async with asyncio.timeout(LEASE.total_seconds() + 10):
        while True:
            with suppress(ConversationBusy):
                return await say(replica, "s", message)
            await asyncio.sleep(0.1)


async def test_the_turn_of_a_replica_that_was_killed_makes_way(one: Conversations, data_dir: Path) -> None:
    async with turning(data_dir, "s") as process:
        with pytest.raises(ConversationBusy):
            await say(one, "s", "too soon")
        process.kill()
        await process.wait()

        await says_when_it_may(one, "Hello?")

    assert [each.question for each in (await one.get("s", user("u-1")))[1]] == ["Hello?"]


async def test_a_replica_that_was_paused_adds_nothing_to_what_went_on_without_it(
    one: Conversations, data_dir: Path
) -> None:
    async with turning(data_dir, "s") as process:
        process.send_signal(signal.SIGSTOP)
        await says_when_it_may(one, "Hello?")
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.write(b"answer\n")
        outcome = await said_by(process)

    assert outcome == "session-overtaken"
    assert [each.question for each in (await one.get("s", user("u-1")))[1]] == ["Hello?"]


async def test_the_busy_one_is_a_conflict(one: Conversations) -> None:
    async with one.turn("s", "x", user("u-1")):
        with pytest.raises(PlatformError) as busy:
            await say(one, "s", "y")

    assert (busy.value.code, busy.value.reason) == (ErrorCode.CONFLICT, "session-busy")
