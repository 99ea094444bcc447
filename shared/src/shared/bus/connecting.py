"""How a connection to the bus starts, breaks, heals and ends."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nkeys
from nats.errors import Error as NatsError

from shared.bus.bus import Bus
from shared.bus.client import BusClient
from shared.errors import PlatformError

ERRORS_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class BusUnreachable(PlatformError):
    """The bus could not be reached at the start."""

    reason = "bus-unreachable"


class BusRefused(PlatformError):
    """The bus does not know this identity, or there is none; trying again would change nothing."""

    reason = "bus-refused"


@asynccontextmanager
async def connect(
    url: str,
    *,
    service: str,
    instance: str,
    nkey_file: Path,
    on_lost: Callable[[], None],
    finds_replicas: bool = False,
    within: float = 30.0,
) -> AsyncIterator[Bus]:
    """Connects as the bus user `service`, reconnects for ever, and drains at the end.

    `on_lost` is called when the connection is lost for good, because nats-py gives it up or the server refuses this
    identity from now on: the process should end and be started again. `finds_replicas` says that this user may ask
    which replicas are there, and so find another one for a call of which nothing is heard.

    Raises BusRefused when the server refuses it at once, and BusUnreachable after `within` seconds without a server.
    """
    client = BusClient()
    bus = Bus(client, service, instance, finds_replicas=finds_replicas)
    line = _Line(bus, on_lost)
    seed = _seed_in(nkey_file)
    try:
        await _first_connect(client, line, url, name=instance, seed=seed, within=within)
        line.up = True
        await bus.start()
        yield bus
    finally:
        line.up = False
        await bus.end()


class _Line:
    """What nats-py tells of a connection, said on to the bus and the log. Nothing is lost before it was up."""

    def __init__(self, bus: Bus, on_lost: Callable[[], None]) -> None:
        self.up = False
        self.user = bus.service
        self._bus = bus
        self._on_lost = on_lost
        self._last_error = ""
        self._silent_until = 0.0

    async def on_error(self, error: Exception) -> None:
        text = str(error)
        if "authorization violation" in text.lower():
            if not self.up:
                raise BusRefused("The NATS server does not know this identity.")  # nats-py would try for ever
            self._lost(text)
            return
        now = asyncio.get_running_loop().time()
        if text != self._last_error or now >= self._silent_until:  # a dead server makes ten of them a second
            self._last_error, self._silent_until = text, now + ERRORS_EVERY_S
            _log.error("bus_error", extra={"error": type(error).__name__, "detail": text})

    async def on_disconnect(self) -> None:
        if self.up:
            _log.warning("bus_disconnected")
        self._bus.disconnected()

    async def on_reconnect(self) -> None:
        _log.info("bus_reconnected")
        self._bus.reconnected()

    async def on_closed(self) -> None:
        self._lost(self._bus.last_error)

    def _lost(self, why: str) -> None:
        if self.up:
            self.up = False
            _log.error("bus_lost", extra={"detail": why})
            self._on_lost()


async def _first_connect(client: BusClient, line: _Line, url: str, *, name: str, seed: str, within: float) -> None:
    deadline = asyncio.get_running_loop().time() + within
    while not client.is_connected:
        try:
            await client.connect(
                url,
                name=name,
                nkeys_seed_str=seed,
                inbox_prefix=f"_INBOX_{line.user}",
                error_cb=line.on_error,
                disconnected_cb=line.on_disconnect,
                reconnected_cb=line.on_reconnect,
                closed_cb=line.on_closed,
                # Endless attempts would keep the first connect from ever returning while the server is down, and it
                # cannot be bounded from outside: nats-py's own time-outs can swallow a cancellation (Python 3.11).
                max_reconnect_attempts=1,
                reconnect_time_wait=random.uniform(0.1, 0.25),  # type: ignore[arg-type]  # seconds; floats work
                ping_interval=5,
                max_outstanding_pings=2,
                skip_subject_validation=True,  # all subjects are ours; it costs on every call
                connect_timeout=1,
            )
        except (NatsError, OSError, TimeoutError) as error:
            await client.close()
            if asyncio.get_running_loop().time() > deadline:
                raise BusUnreachable(f"No NATS server answers at {url}.") from error
    client.options["max_reconnect_attempts"] = -1  # from now on for ever


def _seed_in(file: Path) -> str:
    try:
        seed = file.read_text(encoding="ascii").strip()
        nkeys.from_seed(bytearray(seed, "ascii")).wipe()
    except (OSError, ValueError, nkeys.NkeysError) as error:
        raise BusRefused(f"{file} holds no identity for the bus.") from error
    return seed
