"""Versions instead of caches that guess: who remembers a fact knows at each moment whether it may still be told."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from shared.background import beside
from shared.bus import NOTHING, Bus, Contract, Kind, Message, Nothing, call_context, read, write
from shared.errors import PlatformError, Unavailable

PUBLISH_EVERY_S = 0.5
SILENCE_S = 1.0
ASK_WITHIN_S = 1.0

_log = logging.getLogger(__name__)


class Version(Message):
    """How often a set of facts has changed, as its owner's database says. `changed` names the facts of the last change.

    `changed` is None where it is not known; whoever remembers any of the facts then forgets all.
    """

    number: int
    changed: list[str] | None = None


def version_contract(name: str) -> Contract[Nothing, Version]:
    """The call that reads a version from its owner: `auth.identity` becomes `auth.identity.version`."""
    return Contract(f"{name}.version", Nothing, Version, Kind.READ)


def version_subject(name: str) -> str:
    """Where the owner of `auth.identity` publishes its version: `peanut.version.auth.identity`."""
    return f"peanut.version.{name}"


def asking(bus: Bus, name: str) -> Callable[[], Awaitable[int]]:
    """Asks the owner over the bus; raises Unavailable when it does not answer within a second."""
    contract = version_contract(name)

    async def ask() -> int:
        return (await bus.call(contract, NOTHING, call_context(seconds=ASK_WITHIN_S))).number

    return ask


class VersionPublisher:
    """The owner's side: publishes the version read from the database, every 0.5 s and at each change."""

    def __init__(self, bus: Bus, name: str, read_number: Callable[[], Awaitable[int]]) -> None:
        self._bus = bus
        self._subject = version_subject(name)
        self._read = read_number

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Publishes while the block runs. A database that cannot be read makes it silent, so that readers ask."""
        async with beside(self._repeat):
            yield

    async def changed(self, number: int, *facts: str) -> None:
        """Tells of the change that raised the version to `number`; the periodic one follows if this is lost."""
        try:
            await self._bus.publish(self._subject, write(Version(number=number, changed=list(facts))))
        except Exception:
            _log.exception("version_not_published")  # the change itself is done and has to be answered as done

    async def answer(self, _request: Nothing, _context: object) -> Version:
        """The handler of the version's contract."""
        return Version(number=await self._read())

    async def _repeat(self) -> None:
        failing = False
        while True:
            try:
                await self._bus.publish(self._subject, write(Version(number=await self._read())))
                failing = False
            except Exception:
                if not failing:  # told once, not twice a second
                    _log.exception("version_not_published")
                failing = True
            await asyncio.sleep(PUBLISH_EVERY_S)


class VersionWatch:
    """The reader's side: whether what is remembered is still what the owner would say.

    `ask` reads the number from the owner (see `asking`). `forget` is called with the facts that changed, or with None
    when everything has to be asked again.
    """

    def __init__(
        self,
        bus: Bus,
        name: str,
        *,
        ask: Callable[[], Awaitable[int]],
        forget: Callable[[list[str] | None], None],
    ) -> None:
        self._bus = bus
        self._name = name
        self._ask_owner = ask
        self._forget = forget
        self._heard = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self.number = -1

    async def start(self) -> None:
        """Listens to the owner from now on."""
        self._bus.on_reconnect(self._doubt)
        await self._bus.subscribe(version_subject(self._name), self._receive)

    async def be_current(self) -> None:
        """Returns when what is remembered may be told. Raises Unavailable when the owner does not answer."""
        if time.monotonic() - self._heard <= SILENCE_S:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
            # Each waiter is told; reading it here keeps asyncio from saying that nobody was.
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._asking)

    def knows(self, number: int) -> bool:
        """Whether a reply of that version may be remembered: neither older nor newer than what was heard."""
        return number == self.number

    async def _receive(self, body: bytes) -> None:
        version = read(Version, body)
        if version.number >= self.number:
            self._advance(version)
            self._heard = time.monotonic()

    async def _ask(self) -> None:
        asked = time.monotonic()
        try:
            number = await self._ask_owner()
        except Exception as error:
            if not isinstance(error, PlatformError):
                _log.exception("version_not_read")
            raise Unavailable(f"The owner of {self._name} does not answer.") from error
        if self._heard > asked and number < self.number:
            return  # the owner has said more since
        self._advance(Version(number=number))
        self._heard = asked

    def _advance(self, version: Version) -> None:
        if version.number == self.number:
            return
        follows = version.number == self.number + 1
        self.number = version.number
        self._forget(version.changed if follows else None)

    def _doubt(self) -> None:
        self._heard = float("-inf")
