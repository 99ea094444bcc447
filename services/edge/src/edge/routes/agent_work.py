"""What the work of agents has in common: it takes long, is for who waits for it, and is streamed to who wants that."""

import re
from contextlib import AbstractAsyncContextManager
from typing import Any

from edge.http.exchange import exchange_of
from edge.http.request import Request
from edge.http.response import LastEvent, Response, Source, Streamed
from edge.routes.idempotency import keyed
from shared.bus import Bus, Contract

# A quote inside a string has a backslash before it. What the pattern finds too often, as in the schema of a tool, is
# answered as it should be: the service reads the body and does not stream.
_WANTS_STREAM = re.compile(rb'(?<!\\)"stream"\s*:\s*true')


class AgentWork:
    """Calls of agents' work on behalf of requests; `Peanut-Timeout` sets their deadline."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def whole(self, request: Request, contract: Contract[Any, Any], body: bytes) -> Response:
        """The answer in one piece."""
        context = keyed(request, contract.kind)
        with exchange_of(request.scope).while_client_waits():
            return Response(200, await self._bus.forward(contract, body, context))

    async def as_wanted(
        self, request: Request, whole: Contract[Any, Any], streamed: Contract[Any, Any], failed: LastEvent
    ) -> Response | Streamed:
        """The answer in one piece or as a stream, as the body says."""
        body = await request.body()
        if not _WANTS_STREAM.search(body):
            return await self.whole(request, whole, body)
        context = keyed(request, streamed.kind)

        def opened() -> AbstractAsyncContextManager[Source]:
            return self._bus.stream(streamed, body, context)

        return Streamed(opened, failed)
