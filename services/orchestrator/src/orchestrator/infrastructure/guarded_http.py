"""HTTP to agents: pooled connections that go only where the guard has looked, and answers of a bounded size."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import RequestBuilder

from orchestrator.application.upstreams import UpstreamFailure, UpstreamTimeout
from orchestrator.domain.endpoint import Address, Endpoint, EndpointNotAllowed
from orchestrator.infrastructure.endpoint_guard import EndpointGuard, HostNotFound, parse_endpoint

MAX_ANSWER_BYTES = 4 * 1024 * 1024
CONNECT_WITHIN_S = 3.0
MAX_CLIENTS = 256


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status and a whole body."""

    status: int
    body: bytes


@asynccontextmanager
async def open_http(guard: EndpointGuard) -> AsyncIterator["GuardedHttp"]:
    """HTTP to agents; its connections are closed at the end."""
    http = GuardedHttp(guard)
    try:
        yield http
    finally:
        await http.close()


class GuardedHttp:
    """Sends requests to agents' endpoints.

    A name is connected to only at an address that was checked: each (name, address) has a client of its own, which
    knows no other address for it. An address spelt as such needs no client of its own. No redirects, proxies, cookies
    or compression: each would be a way around a check or a bound.
    """

    def __init__(self, guard: EndpointGuard) -> None:
        self._guard = guard
        self._for_literals: Client | None = None
        self._clients: dict[tuple[str, Address], Client] = {}
        self._last_good: dict[str, Address] = {}

    async def close(self) -> None:
        """Closes all connections."""
        clients = [*self._clients.values(), *([self._for_literals] if self._for_literals else [])]
        await asyncio.gather(*(client.close() for client in clients))

    async def send(
        self,
        method: Literal["GET", "POST"],
        base: str,
        path: str,
        *,
        body: bytes = b"",
        bearer: str | None,
        within_s: float,
    ) -> HttpAnswer:
        """Sends a request to the endpoint `base` + `path` and returns the answer; raises UpstreamFailure."""
        until = time.monotonic() + within_s
        endpoint, addresses = await self._checked(base)
        for address in addresses:
            client = self._known(endpoint, address) or await self._built(endpoint, address)
            request = client.request(method, endpoint.url + path)
            if body:
                request = request.header("content-type", "application/json").body_bytes(body)
            if bearer is not None:
                request = request.header("authorization", f"Bearer {bearer}", is_sensitive=True)
            try:
                answer = await _read(request.timeout(timedelta(seconds=max(until - time.monotonic(), 0.001))))
            except PyreqwestError as error:
                if _never_connected(error):
                    continue  # nothing was sent; the host may have another address
                if isinstance(error, RequestTimeoutError):
                    raise UpstreamTimeout("no answer in time") from error
                raise UpstreamFailure("the connection broke before the answer was complete") from error
            if len(addresses) > 1:
                self._last_good[endpoint.host] = address
            return answer
        if time.monotonic() >= until:
            raise UpstreamTimeout("no connection in time")
        raise UpstreamFailure("it cannot be connected to")

    async def _checked(self, base: str) -> tuple[Endpoint, tuple[Address, ...]]:
        try:
            endpoint = parse_endpoint(base)
            addresses = await self._guard.addresses(endpoint)
        except EndpointNotAllowed as error:
            raise UpstreamFailure(f"its endpoint is not allowed, as {error.why}") from error
        except HostNotFound as error:
            raise UpstreamFailure("its host's name cannot be looked up") from error
        return endpoint, self._in_order(endpoint, addresses)

    async def _built(self, endpoint: Endpoint, address: Address) -> Client:
        builder = _builder()
        if endpoint.literal is None:
            builder = builder.resolve(endpoint.host, str(address), 0)
        # It reads the trusted certificates: 5-12 ms that no other call shall wait for.
        return self._remember(endpoint, address, await asyncio.to_thread(builder.build))

    def _in_order(self, endpoint: Endpoint, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        good = self._last_good.get(endpoint.host)
        if len(addresses) == 1 or good is None or good not in addresses:
            return addresses
        return (good, *(address for address in addresses if address != good))

    def _known(self, endpoint: Endpoint, address: Address) -> Client | None:
        if endpoint.literal is not None:
            return self._for_literals
        client = self._clients.pop((endpoint.host, address), None)
        if client is not None:
            self._clients[endpoint.host, address] = client  # used last, forgotten last
        return client

    def _remember(self, endpoint: Endpoint, address: Address, client: Client) -> Client:
        if endpoint.literal is not None:
            self._for_literals = self._for_literals or client
            return self._for_literals
        client = self._clients.setdefault((endpoint.host, address), client)
        if len(self._clients) > MAX_CLIENTS:
            oldest = next(iter(self._clients))
            del self._clients[oldest]  # its connections end with the last request that uses it
            self._last_good.pop(oldest[0], None)
        return client


def _builder() -> ClientBuilder:
    return (
        ClientBuilder()
        .user_agent("PeanutAgent")
        .http1_only()
        .follow_redirects(False)
        .referer(False)
        .no_proxy()
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .connect_timeout(timedelta(seconds=CONNECT_WITHIN_S))
        .pool_idle_timeout(timedelta(seconds=60))
    )


async def _read(request: RequestBuilder) -> HttpAnswer:
    async with request.build_streamed() as response:
        body = await response.body_reader.read(MAX_ANSWER_BYTES + 1)
        if body is None:
            return HttpAnswer(response.status, b"")
        if len(body) > MAX_ANSWER_BYTES:
            raise UpstreamFailure(f"its answer is larger than {MAX_ANSWER_BYTES // 1024 // 1024} MiB")
        return HttpAnswer(response.status, body.to_bytes())


def _never_connected(error: PyreqwestError) -> bool:
    """Whether there was no connection. Its ConnectError says no more than that there is none now."""
    causes = (error.details["causes"] or []) if isinstance(error, DetailedPyreqwestError) else []
    return any(cause["message"] == "client error (Connect)" for cause in causes)
