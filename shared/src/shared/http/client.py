"""The client: one request, one answer, over a pooled connection."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from shared.http.peer import Peer
from shared.http.pool import Pool
from shared.http.request import Headers, render
from shared.http.response import Response


@asynccontextmanager
async def open_client() -> AsyncIterator["HttpClient"]:
    """A client that trusts the certificates the system trusts; its connections are closed at the end."""
    client = HttpClient(await asyncio.to_thread(ssl.create_default_context))  # reading them takes 5-12 ms
    try:
        yield client
    finally:
        client.close()


class HttpClient:
    """Sends requests to peers: exactly there, exactly once, and without redirects, proxies, cookies or compression."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        tls.set_alpn_protocols(["http/1.1"])
        self._pool = Pool(tls)

    async def send(
        self,
        method: Literal["GET", "POST"],
        peer: Peer,
        target: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        until: float,
    ) -> Response:
        """Returns when the answer's head has arrived. The whole answer has to arrive before `until`, a loop's time.

        `target` is a path with its query, percent-encoded. Raises NotConnected, ConnectionBroken, NoAnswerInTime,
        AnswerMalformed, and ValueError for what cannot be sent.
        """
        request = render(method, peer, target, headers, body)
        # What else is ready goes first: requests are then written one after the other, and wake the server once.
        await asyncio.sleep(0)
        connection = self._pool.take(peer) or await self._pool.open(peer, until)
        response = connection.ask(request, until)
        try:
            await response.head()
        except BaseException:
            response.close()
            raise
        return response

    def close(self) -> None:
        """Closes all connections. Responses that are not whole fail."""
        self._pool.close()
