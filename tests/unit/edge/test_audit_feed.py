"""The log as it grows: each operator from where they are, nobody with a gap that is not told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest

from edge import audit_feed
from edge.audit_feed import AuditFeed
from edge.listeners import Listeners
from edge.routes.audit_export import STREAM_PATH, audit_export_routes
from shared.bus import Bus, CallContext, Contract, write
from shared.contracts.audit import Entry
from shared.contracts.audit_export import ENTRIES_COMMITTED, MAX_FOLLOWED, EntriesCommitted, Follow, Followed
from shared.errors import Unavailable
from shared.principal import Role
from tests.unit.edge.bus import FakeBus
from tests.unit.edge.http.serving import Door, edge
from tests.unit.edge.test_live_events import Client
from tests.waiting import until


def entry(index: int) -> Entry:
    texts = dict.fromkeys(set(Entry.model_fields) - {"index", "details", "erased"}, "")
    return Entry.model_validate({**texts, "index": index, "details": {}, "erased": []})


@dataclass
class FakeLog(FakeBus):
    """A bus with an audit service behind it whose log has so many entries."""

    size: int = 0
    is_away: bool = False
    follows: list[int | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    async def call(self, _contract: Contract[Any, Any], request: Follow, _context: CallContext) -> Followed:
        await asyncio.sleep(0)
        self.follows.append(request.after)
        if self.is_away:
            raise Unavailable("The audit log cannot be read.")
        first = self.size if request.after is None else request.after + 1
        entries = [entry(index) for index in range(first, min(self.size, first + MAX_FOLLOWED))]
        return Followed(entries=entries, last_index=self.size - 1)

    async def grow(self, count: int) -> None:
        self.size += count
        await self.heard[ENTRIES_COMMITTED.subject](write(EntriesCommitted(last_index=self.size - 1)))


@dataclass
class World:
    log: FakeLog
    door: Door
    port: int


class Operators(Door):
    """Everybody is an operator, until they are not any more."""

    role = Role.OPERATOR

    async def still(self, shown: Any) -> Any:
        known = await super().still(shown)
        principal = known.identity.principal.model_copy(update={"role": self.role})
        known.identity = known.identity.model_copy(update={"principal": principal})
        return known


@asynccontextmanager
async def world(size: int = 0) -> AsyncIterator[World]:
    log, door = FakeLog(size), Operators()
    identities: Any = door
    listeners = Listeners(identities)
    feed = AuditFeed(cast(Bus, log), listeners)
    await feed.start()
    routes = audit_export_routes(cast(Bus, log), feed)
    async with edge(hot=routes, door=door) as port, listeners.checking():
        yield World(log, door, port)


@asynccontextmanager
async def following(port: int, after: int | None = None, key: str = "key-01") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    place = "" if after is None else f"Last-Event-ID: {after}\r\n"
    writer.write(
        f"GET {STREAM_PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{place}\r\n".encode()
    )
    client = Client(reader, writer)
    client.head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    if b" 200 OK\r\n" in client.head:
        assert await client.event() == {"retry": "2000"}
    try:
        yield client
    finally:
        writer.close()


async def indexes(client: Client, count: int) -> list[int]:
    found = [await client.event() for _ in range(count)]
    assert [event["id"] for event in found] == [str(orjson.loads(event["data"])["index"]) for event in found]
    return [int(event["id"]) for event in found]


async def test_each_entry_is_told_once_and_in_order() -> None:
    async with world(5) as here, following(here.port) as one, following(here.port, key="key-02") as other:
        await here.log.grow(2)
        heard = [await indexes(client, 2) for client in (one, other)]
        await here.log.grow(450)
        heard += [await indexes(client, 450) for client in (one, other)]

    assert heard == [[5, 6], [5, 6], list(range(7, 457)), list(range(7, 457))]


async def test_those_who_stand_at_the_same_place_share_an_answer() -> None:
    async with world(5) as here, following(here.port) as one, following(here.port, key="key-02") as other:
        await until(lambda: here.log.follows.count(None) == 2)
        await here.log.grow(1)
        await asyncio.gather(indexes(one, 1), indexes(other, 1))

    assert here.log.follows.count(4) == 1


async def test_whoever_comes_back_hears_what_was_in_between() -> None:
    async with world(1000) as here, following(here.port, 299) as client:
        before = await indexes(client, 700)
        await here.log.grow(1)
        after = await indexes(client, 1)

    assert [*before, *after] == list(range(300, 1001))


async def test_what_is_too_far_back_is_told_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_feed, "MAX_BEHIND", 100)

    async with world(1000) as here, following(here.port, 199) as client:
        dropped = await client.event()
        heard = await indexes(client, 100)

    assert (dropped["event"], dropped["id"], orjson.loads(dropped["data"])) == ("dropped", "899", {"count": 700})
    assert heard == list(range(900, 1000))


async def test_news_that_were_lost_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_feed, "ASK_EVERY_S", 0.05)

    async with world(3) as here, following(here.port) as client:
        here.log.size = 4
        heard = await indexes(client, 1)

    assert heard == [3]


async def test_a_log_that_cannot_be_read_ends_the_stream() -> None:
    async with world(3) as here, following(here.port) as client:
        here.log.is_away = True
        await here.log.grow(1)
        end = await client.event()

    assert (end["event"], orjson.loads(end["data"])["reason"]) == ("end", "service-unavailable")


@pytest.mark.parametrize("why", ["shut out", "made a viewer"])
async def test_nobody_hears_on_who_may_not(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(3) as here, following(here.port) as client:
        if why == "shut out":
            here.door.shut.add("01")
        else:
            monkeypatch.setattr(here.door, "role", Role.VIEWER)
        end = await client.event()
        await here.log.grow(1)
        with pytest.raises(EOFError):
            await client.event()

    assert orjson.loads(end["data"])["reason"] == ("invalid-api-key" if why == "shut out" else "forbidden")


@pytest.mark.parametrize("given", [3, 10**15])
async def test_nobody_goes_on_from_where_the_log_has_not_been(given: int) -> None:
    async with world(3) as here, following(here.port, given) as client:
        assert b"HTTP/1.1 422 " in client.head
