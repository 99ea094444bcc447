import asyncio

from audit.application.alarms import Alarms
from audit.application.knowledge import Knowledge
from shared.bus import read
from shared.contracts.events import INTEGRITY_CHANGED, IntegrityChanged
from tests.waiting import until


async def test_each_finding_is_told_once() -> None:
    knowledge = Knowledge()
    told: list[tuple[bool, int | None]] = []

    async def publish(subject: str, body: bytes) -> None:
        assert subject == INTEGRITY_CHANGED.subject
        event = read(IntegrityChanged, body)
        told.append((event.valid, event.first_bad_index))

    async with Alarms(knowledge, publish).running():
        for index in (7, 7, 9, 3):
            knowledge.found_bad(index)
            await asyncio.sleep(0.01)
        knowledge.found_whole(began=float("inf"))
        await until(lambda: len(told) == 3)

    assert told == [(False, 7), (False, 3), (True, None)]


async def test_what_cannot_be_told_does_not_end_the_telling() -> None:
    knowledge = Knowledge()
    told: list[bytes] = []

    async def publish(_subject: str, body: bytes) -> None:
        told.append(body)
        if len(told) == 1:
            raise OSError("no way out")

    async with Alarms(knowledge, publish).running():
        knowledge.found_bad(7)
        await until(lambda: len(told) == 1)
        knowledge.found_bad(3)
        await until(lambda: len(told) == 2)
