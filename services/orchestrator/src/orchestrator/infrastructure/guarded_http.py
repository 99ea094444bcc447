"""HTTP to agents: only where the guard has looked, and answers of a bounded size."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from orchestrator.application.upstreams import UpstreamFailure, UpstreamTimeout
from orchestrator.domain.endpoint import Address, Endpoint, EndpointNotAllowed
from orchestrator.infrastructure.endpoint_guard import EndpointGuard, HostNotFound, parse_endpoint
from orchestrator.infrastructure.remembering import remember
from shared.http import (
    AnswerTooLarge,
    HttpClient,
    HttpFailure,
    NoAnswerInTime,
    NotConnected,
    Peer,
    Response,
    open_client,
)

MAX_ANSWER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status and a whole body."""

    status: int
    body: bytes


class LargeAnswer(UpstreamFailure):
    """An answer was larger than is taken."""


class OpenAnswer:
    """An answer whose head is here and whose body may still arrive.

    It must be closed, which leaving a `with` does. All that reads it raises UpstreamFailure.
    """

    __slots__ = ("_response",)

    def __init__(self, response: Response) -> None:
        self._response = response

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()

    @property
    def status(self) -> int:
        """The status code."""
        return self._response.status

    @property
    def media_type(self) -> bytes:
        """What the body says it is, in lower case and without parameters."""
        return self._response.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()

    async def read(self) -> bytes:
        """The rest of the body; raises LargeAnswer beyond MAX_ANSWER_BYTES."""
        try:
            return await self._response.read(MAX_ANSWER_BYTES)
        except HttpFailure as error:
            raise _failure_of(error) from error

    async def read_piece(self) -> bytes:
        """What has arrived of the body since the last call, at least a byte; nothing at its end."""
        try:
            return await self._response.read_piece()
        except HttpFailure as error:
            raise _failure_of(error) from error

    def cut_off(self) -> None:
        """Closes the connection at once, unless the body has arrived; who reads on hears of a time-out."""
        self._response.cut_off(NoAnswerInTime("there was nothing new for too long"))


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
        until = asyncio.get_running_loop().time() + within_s
        with await self.open(method, base, path, body=body, headers=headers, until=until) as answer:
            return HttpAnswer(answer.status, await answer.read())

    async def open(
        self,
        method: Literal["GET", "POST"],
        base: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
        until: float,
    ) -> OpenAnswer:
        """The same when the answer's head is here; all of it has to be before `until` of the loop's clock."""
        endpoint, addresses = await self._checked(base)
        target = endpoint.path + path
        fields = [*headers, ("content-type", "application/json")] if body else list(headers)
        for address in addresses:
            peer = Peer(endpoint.scheme, endpoint.host, endpoint.port, str(address))
            try:
                response = await self._client.send(method, peer, target, headers=fields, body=body, until=until)
            except NotConnected:
                continue  # nothing was sent; the host may have another address
            except HttpFailure as error:
                raise _failure_of(error) from error
            if len(addresses) > 1:
                remember(self._last_good, endpoint.host, address)
            return OpenAnswer(response)
        if asyncio.get_running_loop().time() >= until:
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


def _failure_of(error: HttpFailure) -> UpstreamFailure:
    if isinstance(error, NoAnswerInTime):
        return UpstreamTimeout("no answer in time")
    if isinstance(error, AnswerTooLarge):
        return LargeAnswer(f"its answer is larger than {MAX_ANSWER_BYTES // 1024 // 1024} MiB")
    return UpstreamFailure("the connection broke before the answer was complete")
