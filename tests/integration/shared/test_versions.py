"""Versions between an owner (auth) and a reader (edge) over a real bus."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from shared.bus import Bus, write
from shared.contracts.auth import IDENTITIES
from shared.errors import Unavailable
from shared.versions import Version, VersionPublisher, VersionWatch, asking, version_contract, version_subject
from tests.integration.bus import Nats, bus_as
from tests.waiting import until


@dataclass
class Owner:
    """Facts with a number, and how often that was asked for."""

    number: int = 5
    asked: int = 0
    broken: bool = False
    gate: asyncio.Event | None = None

    async def read(self) -> int:
        self.asked += 1
        number = self.number
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise OSError("the database cannot be read")
        return number


@dataclass
class Reader:
    """A watch, and what it was told to forget."""

    watch: VersionWatch
    forgotten: list[list[str] | None] = field(default_factory=list)

    async def hears(self, owner: Bus, number: int, *changed: str) -> None:
        """Returns when the watch has received this version, whatever it made of it."""
        before = len(self.received)
        await owner.publish(version_subject(IDENTITIES), write(Version(number=number, changed=list(changed) or None)))
        await until(lambda: len(self.received) > before)

    received: list[int] = field(default_factory=list)


@asynccontextmanager
async def reading(edge: Bus, ask: Callable[[], Awaitable[int]]) -> AsyncIterator[Reader]:
    forgotten: list[list[str] | None] = []
    watch = VersionWatch(edge, IDENTITIES, ask=ask, forget=forgotten.append)
    reader = Reader(watch, forgotten)
    await watch.start()

    async def note(body: bytes) -> None:
        reader.received.append(Version.model_validate_json(body).number)

    await edge.subscribe(version_subject(IDENTITIES), note)
    yield reader


async def test_what_was_never_heard_of_is_asked_for_once_by_many(nats: Nats) -> None:
    owner = Owner()
    async with bus_as(nats, "edge") as edge, reading(edge, owner.read) as reader:
        await asyncio.gather(*(reader.watch.be_current() for _ in range(10)))

    assert (owner.asked, reader.watch.number, reader.forgotten) == (1, 5, [None])


async def test_who_has_just_heard_does_not_ask(nats: Nats) -> None:
    owner = Owner()
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth, reading(edge, owner.read) as reader:
        await reader.hears(auth, 7)
        await reader.watch.be_current()

    assert (owner.asked, reader.watch.number) == (0, 7)


async def test_the_next_version_forgets_what_it_names_and_a_gap_everything(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth, reading(edge, Owner().read) as reader:
        await reader.watch.be_current()
        await reader.hears(auth, 6, "a", "b")
        await reader.hears(auth, 8, "c")
        await reader.hears(auth, 9)

    assert reader.forgotten == [None, ["a", "b"], None, None]


async def test_an_older_version_that_comes_late_changes_nothing(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth, reading(edge, Owner().read) as reader:
        await reader.hears(auth, 6)
        await reader.hears(auth, 5, "a")
        await reader.hears(auth, 6, "b")

    assert (reader.watch.number, reader.forgotten) == (6, [None])
    assert (reader.watch.knows(6), reader.watch.knows(5), reader.watch.knows(7)) == (True, False, False)


async def test_an_answer_that_news_has_overtaken_does_not_take_it_back(nats: Nats) -> None:
    owner = Owner(gate=asyncio.Event())
    assert owner.gate is not None
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth, reading(edge, owner.read) as reader:
        asking_now = asyncio.create_task(reader.watch.be_current())
        await asyncio.sleep(0.05)
        await reader.hears(auth, 6, "a")
        owner.gate.set()
        await asking_now

    assert reader.watch.number == 6


async def test_after_a_second_of_silence_the_owner_is_asked_again(nats: Nats) -> None:
    owner = Owner()
    async with bus_as(nats, "edge") as edge, reading(edge, owner.read) as reader:
        await reader.watch.be_current()
        await reader.watch.be_current()
        asked_at_once = owner.asked
        await asyncio.sleep(1.1)
        owner.number = 4  # a backup was restored: the owner's word counts, even backwards
        await reader.watch.be_current()

    assert (asked_at_once, owner.asked, reader.watch.number) == (1, 2, 4)


async def test_an_owner_that_publishes_is_not_asked(nats: Nats) -> None:
    owner, asked = Owner(), Owner()
    async with (
        bus_as(nats, "edge") as edge,
        bus_as(nats, "auth") as auth,
        reading(edge, asked.read) as reader,
        VersionPublisher(auth, IDENTITIES, owner.read).publishing(),
    ):
        await until(lambda: bool(reader.received))
        for _ in range(15):
            await reader.watch.be_current()
            await asyncio.sleep(0.1)

    assert (asked.asked, owner.asked >= 3) == (0, True)


async def test_a_change_is_known_at_once(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth, reading(edge, Owner().read) as reader:
        await reader.watch.be_current()
        await VersionPublisher(auth, IDENTITIES, Owner().read).changed(6, "x")
        await until(lambda: bool(reader.received))

    assert (reader.watch.number, reader.forgotten[1:]) == (6, [["x"]])


async def test_an_owner_that_is_gone_makes_readers_unavailable(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, reading(edge, asking(edge, IDENTITIES)) as reader:
        with pytest.raises(Unavailable):
            await reader.watch.be_current()


async def test_an_owner_answers_who_asks_over_the_bus(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        publisher = VersionPublisher(auth, IDENTITIES, Owner(number=9).read)
        await auth.serve(version_contract(IDENTITIES).answered_by(publisher.answer))
        async with reading(edge, asking(edge, IDENTITIES)) as reader:
            await reader.watch.be_current()

    assert reader.watch.number == 9


async def test_an_owner_that_cannot_read_its_database_is_silent_and_readers_unavailable(
    nats: Nats, caplog: pytest.LogCaptureFixture
) -> None:
    owner = Owner(broken=True)
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        publisher = VersionPublisher(auth, IDENTITIES, owner.read)
        await auth.serve(version_contract(IDENTITIES).answered_by(publisher.answer))
        async with reading(edge, asking(edge, IDENTITIES)) as reader, publisher.publishing():
            await asyncio.sleep(1.1)
            heard = tuple(reader.received)
            with pytest.raises(Unavailable):
                await reader.watch.be_current()
            owner.broken = False
            await reader.watch.be_current()

    assert (heard, reader.watch.number) == ((), 5)
    assert [record.message for record in caplog.records].count("version_not_published") == 1


async def test_a_reader_whose_own_database_fails_is_unavailable(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, reading(edge, Owner(broken=True).read) as reader:
        with pytest.raises(Unavailable):
            await reader.watch.be_current()


async def test_a_slow_owner_makes_readers_unavailable_not_late(nats: Nats) -> None:
    owner = Owner(gate=asyncio.Event())
    assert owner.gate is not None
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        publisher = VersionPublisher(auth, IDENTITIES, owner.read)
        await auth.serve(version_contract(IDENTITIES).answered_by(publisher.answer))
        async with reading(edge, asking(edge, IDENTITIES)) as reader:
            with pytest.raises(Unavailable):
                await asyncio.wait_for(reader.watch.be_current(), 1.5)
            owner.gate.set()


async def test_after_a_reconnect_the_owner_is_asked_again(own_nats: Nats) -> None:
    owner = Owner()
    async with (
        bus_as(own_nats, "edge") as edge,
        bus_as(own_nats, "auth") as auth,
        reading(edge, owner.read) as reader,
    ):
        reconnected = asyncio.Event()
        edge.on_reconnect(reconnected.set)
        await reader.watch.be_current()
        own_nats.kill()
        own_nats.start()
        await reconnected.wait()
        await reader.watch.be_current()
        asked = owner.asked
        await until(lambda: auth.is_connected)
        await reader.hears(auth, 6, "x")

    assert (asked, reader.watch.number) == (2, 6)


async def test_what_is_no_version_is_ignored(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth, reading(edge, Owner().read) as reader:
        await reader.watch.be_current()
        for body in (b"", b"{}", b'{"number": "7"}', b'{"number": 7.5}', b"\xff"):
            await auth.publish(version_subject(IDENTITIES), body)
        await asyncio.sleep(0.1)

    assert reader.watch.number == 5
