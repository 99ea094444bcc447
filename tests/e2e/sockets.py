"""Bytes on a socket, where an HTTP client would know better."""

import asyncio
import contextlib

from tests.e2e.platform import Platform


async def exchange(platform: Platform, *writes: bytes, pause: float = 0.0, within: float = 5) -> bytes:
    """What the edge says to these writes until it closes or falls silent."""
    reader, writer = await asyncio.open_connection("localhost", platform.port)
    answer = b""
    try:
        for data in writes:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(within):
            while chunk := await reader.read(65536):
                answer += chunk
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer
