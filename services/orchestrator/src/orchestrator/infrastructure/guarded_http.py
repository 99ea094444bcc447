"""HTTP to agents: only where the guard has looked, and answers of a bounded size."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from orchestrator.application.upstreams import UpstreamFailure, UpstreamTimeout
from orchestrator.domain.endpoint import Address, Endpoint, EndpointNotAllowed
from orchestrator.infrastructure.endpoint_guard import EndpointGuard, HostNotFound, parse_endpoint
from shared.http import AnswerTooLarge, HttpClient, HttpFailure, NoAnswerInTime, NotConnected, Peer, open_client

MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status and a whole body."""

    status: int
    body: bytes


@asynccontextmanager
async def open_http(guard: EndpointGuard) -> AsyncIterator["GuardedHttp"]:
    """HTTP to agents; its connections are closed at the end."""
    async with open_client() as client:
        yield GuardedHttp(guard, client)


class GuardedHttp:
    """Sends requests to agents' endpoints, each at an address that was checked."""

    def __init__(self, guard: EndpointGuard, client: HttpClient) -> None:
        self._guard = guard
        self._client = client
        self._last_good: dict[str, Address] = {}

    async def send(
        self,
        method: Literal["GET", "POST"],
        base: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
        within_s: float,
    ) -> HttpAnswer:
        """Sends a request to the endpoint `base` + `path` and returns the answer; raises UpstreamFailure."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        endpoint, addresses = await self._checked(base)
        target = endpoint.path + path
        fields = [*headers, ("content-type", "application/json")] if body else list(headers)
        for address in addresses:
            peer = Peer(endpoint.scheme, endpoint.host, endpoint.port, str(address))
            try:
                with await self._client.send(method, peer, target, headers=fields, body=body, until=until) as response:
                    answer = HttpAnswer(response.status, await response.read(MAX_ANSWER_BYTES))
            except NotConnected:
                continue  # nothing was sent; the host may have another address
            except NoAnswerInTime as error:
                raise UpstreamTimeout("no answer in time") from error
            except AnswerTooLarge as error:
                words = f"its answer is larger than {MAX_ANSWER_BYTES // 1024 // 1024} MiB"
                raise UpstreamFailure(words) from error
            except HttpFailure as error:
                raise UpstreamFailure("the connection broke before the answer was complete") from error
            if len(addresses) > 1:
                self._remember(endpoint.host, address)
            return answer
        if loop.time() >= until:
            raise UpstreamTimeout("no connection in time", is_free=True)
        raise UpstreamFailure("it cannot be connected to", is_free=True)

    async def _checked(self, base: str) -> tuple[Endpoint, tuple[Address, ...]]:
        try:
            endpoint = parse_endpoint(base)
            addresses = await self._guard.addresses(endpoint)
        except EndpointNotAllowed as error:
            raise UpstreamFailure(f"its endpoint is not allowed, as {error.why}", is_free=True) from error
        except HostNotFound as error:
            raise UpstreamFailure("its host's name cannot be looked up", is_free=True) from error
        return endpoint, self._in_order(endpoint, addresses)

    def _in_order(self, endpoint: Endpoint, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        good = self._last_good.get(endpoint.host)
        if len(addresses) == 1 or good is None or good not in addresses:
            return addresses
        return (good, *(address for address in addresses if address != good))

    def _remember(self, host: str, good: Address) -> None:
        self._last_good.pop(host, None)  # used last, forgotten last
        self._last_good[host] = good
        if len(self._last_good) > MAX_REMEMBERED:
            del self._last_good[next(iter(self._last_good))]
