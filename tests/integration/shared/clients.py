"""Bare NATS clients: what a bus user can do with its identity when it does not use our bus."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus.responder import settle
from tests.integration.bus import Nats


class Refusals:
    """The server's objections, which arrive some time after what they object to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._heard: list[str] = []

    async def hear(self, error: Exception) -> None:
        self._heard.append(str(error))

    async def since_last_time(self) -> list[str]:
        await settle(self._client)
        heard, self._heard = self._heard, []
        return heard


@asynccontextmanager
async def client_as(nats: Nats, user: str) -> AsyncIterator[tuple[Client, Refusals]]:
    client = Client()
    refusals = Refusals(client)
    await client.connect(nats.url, nkeys_seed_str=nats.seed(user), error_cb=refusals.hear)
    try:
        yield client, refusals
    finally:
        await client.close()


async def may_publish(client: Client, refusals: Refusals, subject: str) -> bool:
    await client.publish(subject, b"")
    return not await refusals.since_last_time()


async def may_subscribe(client: Client, refusals: Refusals, subject: str, *, queue: str = "") -> bool:
    async def ignore(_message: Msg) -> None: ...

    subscription = await client.subscribe(subject, queue=queue, cb=ignore)
    refused = await refusals.since_last_time()
    await subscription.unsubscribe()
    return not refused
