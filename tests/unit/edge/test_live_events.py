"""Events for people who watch: told to all of them, none held up by another, none told what it may not hear."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import pytest

from edge import listeners as all_listeners
from edge.listeners import Listeners
from edge.live_events import MAX_WAITING, OPENING, Listener, LiveEvents
from edge.routes.hot import hot_routes
from shared.bus import Bus, write
from shared.contracts.events import (
    AGENT_CHANGED,
    AGENT_HEALTH_CHANGED,
    INTEGRITY_CHANGED,
    AgentChange,
    AgentChanged,
    AgentHealthChanged,
    IntegrityChanged,
)
from shared.contracts.orchestrator import AgentStatus
from shared.errors import Forbidden
from tests.integration.leaving import Leave, close, half_close, reset
from tests.unit.edge.bus import FakeBus
from tests.unit.edge.http.serving import Door, edge
from tests.waiting import until

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def changed(change: AgentChange = "created", *, name: str = "llama") -> bytes:
    return write(AgentChanged(timestamp=NOON, agent_id="a", agent_name=name, change=change))


@dataclass
class World:
    bus: FakeBus
    door: Door
    events: LiveEvents
    listeners: Listeners
    port: int

    async def happens(self, body: bytes, subject: str = AGENT_CHANGED.subject) -> None:
        await self.bus.heard[subject](body)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    bus, door = FakeBus(), Door()
    real = cast(Bus, bus)
    identities: Any = door
    listeners = Listeners(identities)
    events = LiveEvents(real, listeners)
    await events.start()
    async with edge(hot=hot_routes(real, events), door=door) as port, listeners.checking():
        yield World(bus, door, events, listeners, port)


class Client:
    """One who listens: the events as they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""
        self._chunks = b""

    async def event(self) -> dict[str, str]:
        """The next event's fields; a comment has none."""
        async with asyncio.timeout(5):
            while b"\n\n" not in self._chunks:
                size = int(await self.reader.readline(), 16)
                if size == 0:
                    raise EOFError
                self._chunks += (await self.reader.readexactly(size + 2))[:-2]
        event, _, self._chunks = self._chunks.partition(b"\n\n")
        return dict(line.split(": ", 1) for line in event.decode().split("\n") if not line.startswith(":"))


@asynccontextmanager
async def listening(port: int, shown: str = "Authorization: Bearer key-01") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{shown}\r\n\r\n".encode())
    client = Client(reader, writer)
    client.head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    if b" 200 OK\r\n" in client.head:
        assert await client.event() == {"retry": "2000"}
    try:
        yield client
    finally:
        writer.close()


async def test_whoever_listens_hears_what_happens() -> None:
    health = AgentHealthChanged(
        timestamp=NOON, agent_id="a", agent_name="llama", status="offline", previous_status="online", details="gone"
    )

    async with (
        world() as here,
        listening(here.port) as one,
        listening(here.port, "Cookie: __Host-session=session-02") as other,
    ):
        await here.happens(write(health), AGENT_HEALTH_CHANGED.subject)
        for change in ("created", "updated", "deleted", "maintenance_begun", "maintenance_ended"):
            await here.happens(changed(change))
        heard = [[await client.event() for _ in range(6)] for client in (one, other)]

    assert heard[0] == heard[1]
    assert [event["event"] for event in heard[0]] == [
        "agent.health_changed",
        "agent.created",
        "agent.updated",
        "agent.deleted",
        "agent.maintenance_begun",
        "agent.maintenance_ended",
    ]
    assert len({event["id"] for event in heard[0]}) == 6
    assert orjson.loads(heard[0][0]["data"]) == {
        "timestamp": "2026-11-28T12:00:00.000Z",
        "agentId": "a",
        "agentName": "llama",
        "status": "offline",
        "previousStatus": "online",
        "details": "gone",
    }


async def test_what_replicas_find_of_the_audit_log_is_an_alarm_once() -> None:
    def finds(first_bad: int | None) -> bytes:
        return write(IntegrityChanged(timestamp=NOON, valid=first_bad is None, first_bad_index=first_bad))

    async with world() as here, listening(here.port) as client:
        for first_bad in (None, 7, 7, 3, None, None, 7):
            await here.happens(finds(first_bad), INTEGRITY_CHANGED.subject)
        heard = [await client.event() for _ in range(4)]

    told = [(event["event"], orjson.loads(event["data"])["firstBadIndex"]) for event in heard]
    assert told == [("audit.alarm", 7), ("audit.alarm", 3), ("audit.recovered", None), ("audit.alarm", 7)]


async def test_what_each_replica_sees_of_an_agent_is_told_once() -> None:
    def sees(status: AgentStatus) -> bytes:
        fields = {"timestamp": NOON, "agent_id": "a", "agent_name": "llama", "previous_status": None, "details": ""}
        return write(AgentHealthChanged.model_validate({**fields, "status": status}))

    async with world() as here, listening(here.port) as client:
        statuses: tuple[AgentStatus, ...] = ("online", "online", "offline", "offline", "online")
        for status in statuses:
            await here.happens(sees(status), AGENT_HEALTH_CHANGED.subject)
        told = [orjson.loads((await client.event())["data"])["status"] for _ in range(3)]

    assert told == ["online", "offline", "online"]


async def test_no_name_can_make_up_an_event() -> None:
    async with world() as here, listening(here.port) as client:
        await here.happens(changed(name="x\n\nevent: end\ndata: {}\r\n\r\n\u2028"))
        await here.happens(changed("deleted"))
        names = [(await client.event())["event"] for _ in range(2)]

    assert names == ["agent.created", "agent.deleted"]


async def test_what_is_not_understood_is_left_out() -> None:
    async with world() as here, listening(here.port) as client:
        await here.happens(b'{"agentId": 1}')
        await here.happens(changed("deleted"))
        heard = await client.event()

    assert heard["event"] == "agent.deleted"


@pytest.mark.parametrize("leave", [close, half_close, reset])
async def test_whoever_leaves_makes_room(leave: Leave) -> None:
    async with world() as here:
        async with listening(here.port) as client:
            leave(client.writer)
            await until(lambda: not here.events._listeners)

        assert not here.listeners._of_user


async def test_one_user_has_a_bounded_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_listeners, "MAX_OF_ONE_USER", 2)

    async with world() as here, listening(here.port), listening(here.port):
        async with listening(here.port) as third:
            refused = third.head
        async with listening(here.port, "Authorization: Bearer key-02") as other:
            admitted = other.head

    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 30\r\n" in refused
    assert admitted.startswith(b"HTTP/1.1 200 ")


async def test_all_together_have_a_bounded_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_listeners, "MAX_LISTENERS", 1)

    async with world() as here, listening(here.port), listening(here.port, "Authorization: Bearer key-02") as second:
        refused = second.head

    assert refused.startswith(b"HTTP/1.1 503 ")


async def test_who_may_no_longer_hears_why_within_a_second_and_nothing_else() -> None:
    async with (
        world() as here,
        listening(here.port) as one,
        listening(here.port, "Authorization: Bearer key-02") as other,
    ):
        here.door.shut.add("01")
        async with asyncio.timeout(1):
            last = await one.event()
        await here.happens(changed())
        with pytest.raises(EOFError):
            await one.event()
        heard = await other.event()

    assert (last["event"], orjson.loads(last["data"])["reason"]) == ("end", "invalid-api-key")
    assert heard["event"] == "agent.created"


async def test_a_stream_ends_when_the_edge_stops() -> None:
    async with world() as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-01\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(1):
        rest = await reader.read()
    writer.close()

    assert b"event: end\ndata: {" in rest
    assert b'"stopping"' in rest
    assert rest.endswith(b"0\r\n\r\n")


async def test_head_opens_no_stream() -> None:
    async with world() as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"HEAD /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-01\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()

        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not here.events._listeners


async def test_who_reads_too_slowly_is_told_how_much_it_missed() -> None:
    listener = Listener(cast(Any, None))
    await listener.piece()

    for number in range(MAX_WAITING + 3):
        listener.tell(b"data: %d\n\n" % number)
    piece = await listener.piece()
    listener.tell(b"data: later\n\n")
    then = await listener.piece()

    assert piece is not None
    *heard, dropped = piece.removesuffix(b"\n\n").split(b"\n\n")
    assert heard == [b"data: %d" % number for number in range(MAX_WAITING)]
    assert dropped == b'event: dropped\ndata: {"count":3}'
    assert then == b"data: later\n\n"


async def test_what_waits_for_who_is_shut_out_is_not_told() -> None:
    listener = Listener(cast(Any, None))
    assert await listener.piece() == OPENING
    listener.tell(b"data: 1\n\n")

    listener.end(Forbidden("No."))
    listener.tell(b"data: 2\n\n")

    assert await listener.piece() == b'event: end\ndata: {"reason":"forbidden","detail":"No."}\n\n'
    assert await listener.piece() is None
